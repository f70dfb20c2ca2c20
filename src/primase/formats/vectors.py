"""Vectors of sequences, as `primase embed` and others write them: .npy, .parquet, or AnnData as .h5ad or .zarr."""

import warnings
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from primase.errors import InputError, MissingExtraError, MissingFileError
from primase.formats.columns import Column
from primase.formats.opening import require_file

VECTOR_SUFFIXES = (".npy", ".parquet", ".h5ad", ".zarr")
VECTOR_COLUMN = "embedding"


@dataclass(frozen=True, eq=False)
class VectorTable:
    """Vectors, and what is known of each."""

    vectors: np.ndarray
    """float32 [rows, dimensions], finite."""
    columns: dict[str, Column]
    """The columns beside them, as text; none in a .npy file."""


def require_vector_libraries(suffix: str) -> None:
    """Raises MissingExtraError where the format's library is not installed."""
    for library in {".h5ad": ("anndata", "h5py"), ".zarr": ("anndata", "zarr")}.get(suffix, ()):
        if find_spec(library) is None:
            raise MissingExtraError(
                f"{suffix} files need {library}, which is not installed: pip install 'primase[anndata]'"
            )


def read_vectors(file: str | Path) -> VectorTable:
    """Read a matrix (.npy), the column `embedding` (.parquet), or X and obs (.h5ad, .zarr).

    Raises MissingFileError, MissingExtraError, and InputError for a file that is damaged, holds no matrix of
    numbers (several layers of vectors, for one), or, with the row, a value that is not finite.
    """
    path = Path(file)
    if path.suffix not in VECTOR_SUFFIXES:
        raise InputError(f"{file}: vectors are read from {', '.join(VECTOR_SUFFIXES)}; give such a file")
    if path.suffix != ".zarr":
        require_file(path)
    elif not path.is_dir():
        raise MissingFileError(f"{file}: no such folder; check the path")
    require_vector_libraries(path.suffix)
    reader = {".npy": _read_npy, ".parquet": _read_parquet}.get(path.suffix, _read_anndata)
    vectors, columns = reader(path)
    return VectorTable(_checked(vectors, file), columns)


def _checked(vectors: np.ndarray, file: str | Path) -> np.ndarray:
    if vectors.ndim == 3:
        raise InputError(f"{file}: vectors of {vectors.shape[1]} layers; embed with one --layer")
    if vectors.ndim != 2 or not np.issubdtype(vectors.dtype, np.number) or np.iscomplexobj(vectors):
        raise InputError(
            f"{file}: holds {vectors.dtype} of shape {list(vectors.shape)}, not a vector of numbers for each row"
        )
    with np.errstate(over="ignore"):  # what is too large becomes infinite, and is told below
        vectors = vectors.astype(np.float32, copy=False)
    wrong = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if len(wrong):
        raise InputError(f"{file}: row {wrong[0] + 1}: a value that is not finite; remove the row, or embed it again")
    return vectors


def _read_npy(file: Path) -> tuple[np.ndarray, dict[str, Column]]:
    try:
        return np.load(file, allow_pickle=False), {}
    except Exception as error:  # a damaged header is read as Python, and fails as Python does, in many ways
        raise _damaged(file, error) from None


def _read_parquet(file: Path) -> tuple[np.ndarray, dict[str, Column]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(file)
        if VECTOR_COLUMN not in table.column_names:
            raise InputError(f"{file}: no column {VECTOR_COLUMN!r}; give a file that primase embed wrote")
        cells = table[VECTOR_COLUMN].combine_chunks()
        columns = {
            name: table[name].cast(pa.string()).to_pylist()
            for name in table.column_names
            if not pa.types.is_nested(table.schema.field(name).type)
        }
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise _damaged(file, error) from None
    shape: list[int] = [len(cells)]
    while pa.types.is_nested(cells.type):
        lengths = set(cells.value_lengths().to_pylist()) if hasattr(cells, "value_lengths") else {None}
        if len(lengths) > 1 or None in lengths:
            raise InputError(f"{file}: column {VECTOR_COLUMN!r} does not hold as many numbers in each row")
        shape.append(lengths.pop() if lengths else 0)
        cells = cells.flatten()
    return cells.to_numpy(zero_copy_only=False).reshape(shape), columns


def _read_anndata(file: Path) -> tuple[np.ndarray, dict[str, Column]]:
    import anndata

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of anndata, on what an older or a damaged file lacks
            data = anndata.read_h5ad(file) if file.suffix == ".h5ad" else anndata.read_zarr(file)
    except Exception as error:  # h5py, zarr and anndata each have their own for a damaged file
        raise _damaged(file, error) from None
    if data.X is None:
        raise InputError(f"{file}: no matrix X in it; give a file that primase embed wrote")
    vectors = data.X.toarray() if hasattr(data.X, "toarray") else np.asarray(data.X)
    missing = {name: data.obs[name].isna() for name in data.obs}
    columns = {
        str(name): [
            None if nothing else str(value) for value, nothing in zip(data.obs[name], missing[name], strict=True)
        ]
        for name in data.obs
    }
    return vectors, columns


def _damaged(file: Path, error: Exception) -> InputError:
    reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
    return InputError(f"{file}: cannot be read as {file.suffix} ({reason}); write it again")
