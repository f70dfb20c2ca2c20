"""The one pass over the sources: all records into bases.bin and records.parquet, with notes of where N lies."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from primase import dna
from primase.corpus.cut import Stretches
from primase.errors import InputError
from primase.formats import is_table, read_pieces
from primase.recipe import DataSettings

Progress = Callable[[str, float], None]
"""Called with what is being done and the share done so far, 0 to 1."""

_UNKNOWN = np.frombuffer(b"Nn", np.uint8)


@dataclass
class Records:
    """What one pass over the sources leaves in memory: 16 bytes a record and 16 bytes a run of non-ACGT."""

    places: Stretches
    unknown: Stretches
    """Runs of anything but A, C, G, T."""
    base_counts: dict[str, int]
    bases_sha256: str
    from_table: bool


class _RecordWriter:
    """Appends finished records to records.parquet in batches."""

    SCHEMA = pa.schema([("name", pa.string()), ("source", pa.string()), ("start", pa.int64()), ("length", pa.int64())])

    def __init__(self, file: Path) -> None:
        self._file = file
        self._rows: list[dict[str, str | int]] = []

    def __enter__(self) -> "_RecordWriter":
        self._writer = pq.ParquetWriter(self._file, self.SCHEMA)
        return self

    def __exit__(self, *_: object) -> None:
        self._flush()
        self._writer.close()

    def add(self, name: str, source: str, start: int, length: int) -> None:
        self._rows.append({"name": name, "source": source, "start": start, "length": length})
        if len(self._rows) >= 100_000:
            self._flush()

    def _flush(self) -> None:
        self._writer.write_table(pa.Table.from_pylist(self._rows, schema=self.SCHEMA))
        self._rows.clear()


def write_bases(files: list[Path], folder: Path, data: DataSettings, progress: Progress) -> Records:
    """Stream all records into bases.bin and records.parquet, noting where anything but A, C, G, T lies."""
    from primase.corpus.letters import count_letters  # numba: only where it is needed

    starts, ends = _Growing(), _Growing()
    unknown_starts, unknown_ends = _Growing(), _Growing()
    counts, checksum = np.zeros(256, np.int64), hashlib.sha256()
    position = record_start = 0
    expected_bases = max(1, sum(_expected_bases(file) for file in files))
    with open(folder / "bases.bin", "wb") as out, _RecordWriter(folder / "records.parquet") as records:
        for piece in read_pieces(files, column=data.column):
            if piece.start == 0:
                record_start = position
            bases = dna.to_acgtn(piece.bases)
            counts_of_piece = count_letters(bases)
            counts += counts_of_piece
            if counts_of_piece[_UNKNOWN].any():
                _note_unknown(bases, position, unknown_starts, unknown_ends)
            checksum.update(bases)
            out.write(bases)
            position += len(bases)
            if piece.last:
                length = position - record_start
                if length < data.window_bases and data.short_records == "error":
                    raise InputError(
                        f"{piece.source}: record {piece.record} has {length:,} bases, fewer than a window of "
                        f"{data.window_bases:,}; leave such records out with --set data.short_records=skip, keep them "
                        "with --set data.short_records=keep, or set data.window_bases lower"
                    )
                records.add(piece.record, Path(piece.source).name, record_start, length)
                starts.append(record_start)
                ends.append(position)
            progress("reading sequences", min(position / expected_bases, 0.99))
    progress("reading sequences", 1.0)
    letters = {letter: int(counts[ord(letter)] + counts[ord(letter.lower())]) for letter in "ACGTN"}
    letters["soft_masked"] = int(counts[ord("a") : ord("z") + 1].sum())
    if not sum(letters[base] for base in "ACGT"):
        raise InputError(
            f"{names_of(files)}: no A, C, G or T in it, only N; give an assembly that is not masked with N"
        )
    return Records(
        places=Stretches(starts.array(), ends.array()),
        unknown=Stretches(unknown_starts.array(), unknown_ends.array()),
        base_counts=letters,
        bases_sha256=checksum.hexdigest(),
        from_table=any(is_table(file) for file in files),
    )


def _expected_bases(file: Path) -> int:
    """From the file's size, for the progress display alone; gzip packs DNA text about 3.5 times."""
    return int(file.stat().st_size * (3.5 if file.suffix in (".gz", ".bgz") else 1))


class _Growing:
    """An int64 array that doubles as it grows: a list of Python integers would take 4 times the memory."""

    def __init__(self) -> None:
        self._values, self._used = np.empty(1024, np.int64), 0

    def append(self, value: int) -> None:
        self.extend(np.asarray([value]))

    def extend(self, values: np.ndarray) -> None:
        while self._used + len(values) > len(self._values):
            self._values = np.concatenate([self._values, np.empty_like(self._values)])
        self._values[self._used : self._used + len(values)] = values
        self._used += len(values)

    def array(self) -> np.ndarray:
        return self._values[: self._used].copy()


def _note_unknown(bases: np.ndarray, offset: int, starts: _Growing, ends: _Growing) -> None:
    """Runs of N in a piece, as half-open intervals of the corpus; touching runs of two pieces may stay apart."""
    is_unknown = ~dna.is_acgt(bases)
    edges = np.flatnonzero(np.diff(np.r_[False, is_unknown, False]))
    starts.extend(edges[::2] + offset)
    ends.extend(edges[1::2] + offset)


def names_of(files: list[Path]) -> str:
    """The first few files, for a message about all of them."""
    return ", ".join(map(str, files[:3])) + (", ..." if len(files) > 3 else "")
