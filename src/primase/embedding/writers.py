"""The finished vectors as .npy, .parquet, .h5ad or .zarr, streamed from the working folder."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from primase.embedding.progress import Progress
from primase.embedding.rows import to_columns


def write(progress: Progress, shape: tuple[int, ...], place: Path) -> None:
    """Write all rows of `progress`, vectors of `shape`, in the format of the suffix of `place`."""
    writer = {".npy": _write_npy, ".parquet": _write_parquet, ".h5ad": _write_h5ad, ".zarr": _write_zarr}[place.suffix]
    writer(progress, shape, place)


def _write_npy(progress: Progress, shape: tuple[int, ...], place: Path) -> None:
    header = {"descr": "<f4", "fortran_order": False, "shape": (progress.done_rows, *shape)}
    with open(place, "wb") as out:
        np.lib.format.write_array_header_1_0(out, header)
        for _, vectors in progress.chunks(shape):
            out.write(vectors.tobytes())


def _write_parquet(progress: Progress, shape: tuple[int, ...], place: Path) -> None:
    kind = pa.float32()
    for size in reversed(shape):
        kind = pa.list_(kind, size)
    texts = {name: pa.string() for name in ("name", "record", "strand")}
    fields = {"name": texts["name"], "embedding": kind, "record": texts["record"], "start": pa.int64()}
    schema = pa.schema(fields | {"end": pa.int64(), "strand": texts["strand"]})
    with pq.ParquetWriter(place, schema) as out:
        for rows, vectors in progress.chunks(shape):
            array = pa.array(vectors.reshape(-1))
            for size in reversed(shape):
                array = pa.FixedSizeListArray.from_arrays(array, size)
            columns = to_columns(rows) | {"embedding": array}
            out.write_table(pa.table([columns[name] for name in schema.names], schema=schema))


def _write_h5ad(progress: Progress, shape: tuple[int, ...], place: Path) -> None:
    import h5py

    with h5py.File(place, "w") as file:
        _write_anndata(progress, shape, file, file.create_dataset)


def _write_zarr(progress: Progress, shape: tuple[int, ...], place: Path) -> None:
    import zarr

    group = zarr.open_group(str(place), mode="w", zarr_format=2)
    _write_anndata(progress, shape, group, group.create_array)


def _write_anndata(progress: Progress, shape: tuple[int, ...], store: Any, create: Any) -> None:
    """AnnData's own format (encoding 0.2.0 of arrays): anndata writes the frame, the numbers are streamed into it.

    With all layers, X is the last one and obsm holds each as layer_0, layer_1, …
    """
    import anndata
    import pandas as pd

    obs: dict[str, list] = {}
    for rows, _ in progress.chunks(shape):
        for name, values in to_columns(rows).items():
            obs.setdefault(name, []).extend(values)
    index = pd.Index(np.arange(progress.done_rows).astype(str))
    frame = anndata.AnnData(
        obs=pd.DataFrame(obs, index=index), var=pd.DataFrame(index=pd.Index(np.arange(shape[-1]).astype(str)))
    )
    anndata.io.write_elem(store, "/", frame)
    if "X" in store:
        del store["X"]
    size, chunks = (progress.done_rows, shape[-1]), (min(1024, progress.done_rows), shape[-1])
    names = {"X": -1} | ({f"obsm/layer_{layer}": layer for layer in range(shape[0])} if len(shape) > 1 else {})
    arrays = {name: create(name, shape=size, chunks=chunks, dtype="<f4") for name in names}
    for array in arrays.values():
        array.attrs["encoding-type"], array.attrs["encoding-version"] = "array", "0.2.0"
    for first, vectors in _numbered(progress, shape):
        for name, layer in names.items():
            arrays[name][first : first + len(vectors)] = vectors if len(shape) == 1 else vectors[:, layer]


def _numbered(progress: Progress, shape: tuple[int, ...]) -> Iterator[tuple[int, np.ndarray]]:
    first = 0
    for _, vectors in progress.chunks(shape):
        yield first, vectors
        first += len(vectors)
