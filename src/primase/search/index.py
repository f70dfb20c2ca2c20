"""`primase search index`: a genome's windows as vectors in a faiss index.

index.json        what was indexed, by which model; written last
vectors.faiss     exact inner-product index of the windows' directions
windows.parquet   record, start and end of each window, in the index's order
centre.npy        mean vector that was taken off
"""

import os
import shutil
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from primase.codec.fingerprint import model_sha256, tokenizer_sha256
from primase.embedding import embed_stream, load
from primase.errors import InputError, OutputExistsError
from primase.formats import read_records, sequence_files
from primase.scoring import LoadedModel
from primase.search.faiss_library import faiss_library
from primase.search.results import SearchIndex
from primase.search.windows import Window, cut, directions
from primase.whole_files import folder_to_make, refuse_unwritable

LAYER = -1
OWN_NAMES = {"index.json", "vectors.faiss", "windows.parquet", "centre.npy"}


def index(
    model: str | Path | LoadedModel,
    genome: str | Path | Sequence[str | Path],
    output: str | Path,
    *,
    window_bases: int = 200,
    step_bases: int = 100,
    layer: int = LAYER,
    overwrite: bool = False,
    progress: Callable[[str, float], None] = lambda what, share: None,
) -> SearchIndex:
    """Embed all windows of a genome, the mean of both strands, and write them as the folder `output`.

    The search is exact: no window is missed for speed. Takes 4 bytes a dimension and window in memory, three times
    while the index is made (4.6 GB for 2 million windows of 192 dimensions, 200 Mb at a step of 100).

    Raises InputError, OutputExistsError, ModelError, MissingExtraError.
    """
    faiss, output = faiss_library(), folder_to_make(output)
    if not 1 <= step_bases <= window_bases:
        raise InputError(f"windows of {window_bases} bases every {step_bases}: give a step of 1 to the window's bases")
    _refuse(output, overwrite=overwrite)
    files = sequence_files(genome)
    refuse_unwritable(output)
    loaded = load(model, layer)
    loaded.refuse_rounding("search")
    total_bytes = sum(file.stat().st_size for file in files)
    table, counts = _Places(), {"records": 0, "bases": 0, "skipped": 0}

    def sequences() -> Iterator[bytes]:
        for window in cut(_counted(read_records(files), counts), window_bases, step_bases):
            if not window.is_known:
                counts["skipped"] += 1
                continue
            table.add(window)
            yield window.sequence

    parts = []
    for vectors in embed_stream(loaded, sequences(), layer=layer, both_strands=True):
        parts.append(vectors)
        progress("embedding", min(1.0, counts["bases"] / max(1, total_bytes)))
    if not parts:
        raise InputError(f"{files[0]}: no window with A, C, G and T in half of its places; give a genome with bases")
    vectors = np.concatenate(parts)
    del parts  # each of these arrays is as large as the index
    centre = vectors.mean(axis=0, dtype=np.float64).astype(np.float32)
    held = faiss.IndexFlatIP(vectors.shape[1])
    held.add(directions(vectors, centre))
    windows, width = vectors.shape
    del vectors
    description = SearchIndex(
        model="(in memory)" if isinstance(model, LoadedModel) else str(model),
        model_sha256=model_sha256(loaded),
        tokenizer_sha256=tokenizer_sha256(loaded),
        sources=[str(file) for file in files],
        records=counts["records"],
        bases=counts["bases"],
        windows=windows,
        skipped_windows=counts["skipped"],
        window_bases=window_bases,
        step_bases=step_bases,
        layer=layer,
        width=width,
    )
    with _whole_folder(output) as folder:
        # faiss says of a full disk what only its own exceptions say; Python's writer says it as the others do.
        (folder / "vectors.faiss").write_bytes(faiss.serialize_index(held))
        pq.write_table(table.to_arrow(), folder / "windows.parquet")
        np.save(folder / "centre.npy", centre)
        description.write(folder / "index.json")
    return description


class _Places:
    """Record, start and end of each window, 24 bytes."""

    def __init__(self) -> None:
        self._names: list[str] = []
        self._columns = array("q")

    def add(self, window: Window) -> None:
        if not self._names or self._names[-1] != window.record:
            self._names.append(window.record)
        self._columns.extend((len(self._names) - 1, window.start, window.end))

    def to_arrow(self) -> pa.Table:
        record, start, end = np.frombuffer(self._columns, np.int64).reshape(-1, 3).T
        names = pa.DictionaryArray.from_arrays(pa.array(record.astype(np.int32)), pa.array(self._names))
        return pa.table({"record": names, "start": start, "end": end})


def _counted(records: Iterator, counts: dict[str, int]) -> Iterator:
    for record in records:
        counts["records"] += 1
        counts["bases"] += len(record.sequence)
        yield record


def _refuse(output: Path, *, overwrite: bool) -> None:
    if not output.exists() or (output.is_dir() and not any(output.iterdir())):
        return
    names = {entry.name for entry in output.iterdir()} if output.is_dir() else set()
    if "index.json" not in names or not names <= OWN_NAMES:
        raise OutputExistsError(f"{output}: exists and is no index of Primase; choose another output folder")
    if not overwrite:
        raise OutputExistsError(
            f"{output}: already holds an index; pass --overwrite to replace it, or choose another output folder"
        )


@contextmanager
def _whole_folder(output: Path) -> Iterator[Path]:
    """A folder that takes the place of `output` when all is in it; where anything fails it is gone, and what was at
    `output` stays.
    """
    partial = output.with_name(f".{output.name}.{os.getpid()}.partial")
    aside = output.with_name(f".{output.name}.{os.getpid()}.replaced.partial")
    partial.mkdir()
    try:
        yield partial
        if output.exists():
            output.rename(aside)
        partial.rename(output)
    except BaseException:
        if aside.exists() and not output.exists():
            aside.rename(output)
        raise
    else:
        shutil.rmtree(aside, ignore_errors=True)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
