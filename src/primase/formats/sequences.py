"""Sequences from the user's files: finds and opens them, and hands each to the reader of its format.

The only place that knows the suffixes of sequence files. Whatever is wrong with a file leaves here as an InputError.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from primase.errors import InputError, MissingFileError
from primase.formats.fasta import Piece, RecordNames, read_fasta
from primase.formats.fasta_layout import is_fasta
from primase.formats.opening import errors_explained, open_seekable, open_stream, read_whole, require_file
from primase.formats.tables import Cells, csv_cells, parquet_cells, read_csv, read_parquet

PIECE_BASES = 1 << 22

_FORMAT_OF_SUFFIX = {
    **dict.fromkeys((".fa", ".fasta", ".fna", ".ffn", ".fas"), "fasta"),
    ".csv": "csv",
    ".tsv": "tsv",
    **dict.fromkeys((".parquet", ".pq"), "parquet"),
}
_DELIMITERS = {"csv": ",", "tsv": "\t"}
_GZIP_SUFFIXES = (".gz", ".bgz", ".bgzf")
_FORMATS = "FASTA (.fa .fasta .fna .ffn .fas), CSV, TSV and Parquet, also with .gz"


@dataclass(frozen=True, slots=True)
class Record:
    """A whole record; `sequence` is ASCII letters, with case and IUPAC codes as in the file `source`."""

    name: str
    sequence: str
    source: str


def sequence_files(sources: str | Path | Sequence[str | Path]) -> list[Path]:
    """The files behind `sources`, in their order; a folder stands for its sequence files, sorted by name.

    Folders are not searched deeper, and hidden files are left out. Raises MissingFileError for what is not
    there, and InputError for a folder without sequence files, for pipes and for no sources at all.
    """
    if isinstance(sources, str | Path):
        sources = [sources]
    files: list[Path] = []
    for source in map(Path, sources):
        with errors_explained(source):
            if not source.exists():
                raise MissingFileError(f"{source}: no such file or folder; check the path")
            if source.is_file():
                files.append(source)
                continue
            if not source.is_dir():
                raise InputError(f"{source}: a pipe or a device; write the sequences to a file first")
            inside = sorted(file for file in source.iterdir() if file.is_file() and _is_sequence_name(file))
        if not inside:
            raise InputError(f"{source}: no sequence file in this folder; Primase reads {_FORMATS}")
        files.extend(inside)
    if not files:
        raise InputError("no sequence files given; name at least one file or folder")
    return files


def is_table(file: str | Path) -> bool:
    """Whether the file is read as a table and not as FASTA. Raises InputError where it is neither."""
    return _format(Path(file)) != "fasta"


def read_pieces(
    sources: str | Path | Sequence[str | Path], *, column: str | None = None, piece_bases: int = PIECE_BASES
) -> Iterator[Piece]:
    """All records of all sources, streamed in pieces of at most `piece_bases`.

    A record of at most `piece_bases` bases is one piece. In a table the sequences are in `column`, or else in
    `text` or `sequence`. Raises MissingFileError at once for sources that are not there, and InputError, when
    its place is reached, for all else that is wrong; a name used twice in the FASTA sources of one call is
    wrong too.
    """
    if piece_bases < 1:
        raise ValueError(f"piece_bases must be at least 1, not {piece_bases}")
    return _read_files(sequence_files(sources), column, piece_bases)


def read_records(sources: str | Path | Sequence[str | Path], *, column: str | None = None) -> Iterator[Record]:
    """As `read_pieces`, with each record whole; memory holds one record at a time."""
    return _join(read_pieces(sources, column=column))


def table_cells(file: Path, *, column: str | None, labels: Sequence[str]) -> Iterator[Cells]:
    """The rows of one table in batches, with the columns `labels` beside the sequences.

    Raises InputError for all that is wrong with the table.
    """
    if (format_ := _format(file)) == "parquet":
        with open_seekable(file) as stream:
            yield from parquet_cells(stream, str(file), column=column, labels=labels)
        return
    with open_stream(file) as stream:
        yield from csv_cells(stream, str(file), delimiter=_DELIMITERS[format_], column=column, labels=labels)


def read_fasta_text(file: str | Path) -> tuple[bytes, bool]:
    """All bytes of one FASTA file as they are, decompressed where it is gzip, and whether it was.

    Raises MissingFileError where the file is not there, InputError where it is a folder, is no FASTA or cannot be read.
    """
    path = Path(file)
    require_file(path)
    text, is_gzip = read_whole(path)
    if not is_fasta(text):
        raise InputError(f"{file}: does not begin with > as FASTA does; give a FASTA file")
    return text, is_gzip


def _read_files(files: list[Path], column: str | None, piece_bases: int) -> Iterator[Piece]:
    names = RecordNames()
    for file in files:
        source, format_ = str(file), _format(file)
        if format_ == "parquet":
            with open_seekable(file) as stream:
                yield from read_parquet(stream, source, column=column, piece_bases=piece_bases)
            continue
        with open_stream(file) as stream:
            if format_ == "fasta":
                yield from read_fasta(stream, source, names, piece_bases)
            else:
                delimiter = _DELIMITERS[format_]
                yield from read_csv(stream, source, delimiter=delimiter, column=column, piece_bases=piece_bases)


def _join(pieces: Iterator[Piece]) -> Iterator[Record]:
    parts: list[np.ndarray] = []
    for piece in pieces:
        parts.append(piece.bases)
        if piece.last:
            yield Record(piece.record, b"".join(parts).decode("ascii"), piece.source)
            parts = []


def _format_by_name(file: Path) -> str | None:
    name = Path(file.name.lower())
    return _FORMAT_OF_SUFFIX.get((name.with_suffix("") if name.suffix in _GZIP_SUFFIXES else name).suffix)


def _is_sequence_name(file: Path) -> bool:
    return not file.name.startswith(".") and _format_by_name(file) is not None


def _format(file: Path) -> str:
    """fasta, csv, tsv or parquet: by the suffix or, where that says nothing, FASTA by the first letter."""
    format_ = _format_by_name(file)
    if format_ is None:
        with open_stream(file) as stream:
            start = stream.peek(1).lstrip()
        if not start.startswith(b">"):
            raise InputError(
                f"{file}: neither has the suffix of a sequence file nor begins with > as FASTA does; "
                f"Primase reads {_FORMATS}"
            )
        format_ = "fasta"
    return format_
