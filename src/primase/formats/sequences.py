"""Sequences from the user's files: finds and opens them, and hands each to the reader of its format.

The only place that knows suffixes and gzip. Whatever is wrong with a file leaves here as an InputError.
"""

import gzip
import io
import shutil
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from primase.errors import InputError, MissingFileError
from primase.formats.fasta import Piece, RecordNames, read_fasta
from primase.formats.fasta_layout import is_fasta
from primase.formats.tables import read_csv, read_parquet

PIECE_BASES = 1 << 22

_FORMAT_OF_SUFFIX = {
    **dict.fromkeys((".fa", ".fasta", ".fna", ".ffn", ".fas"), "fasta"),
    ".csv": "csv",
    ".tsv": "tsv",
    **dict.fromkeys((".parquet", ".pq"), "parquet"),
}
_GZIP_SUFFIXES = (".gz", ".bgz", ".bgzf")
_FORMATS = "FASTA (.fa .fasta .fna .ffn .fas), CSV, TSV and Parquet, also with .gz"

_GZIP_MAGIC = b"\x1f\x8b"
_UNREADABLE_STARTS = {
    b"BZh": "compressed with bzip2",
    b"\xfd7zXZ": "compressed with xz",
    b"\x28\xb5\x2f\xfd": "compressed with zstd",
    b"PK\x03\x04": "a zip archive",
    b"\xff\xfe": "UTF-16 text",
    b"\xfe\xff": "UTF-16 text",
}
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_BUFFER_BYTES = 1 << 16


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
        with _errors_explained(source):
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


def read_fasta_text(file: str | Path) -> tuple[bytes, bool]:
    """All bytes of one FASTA file as they are, decompressed where it is gzip, and whether it was.

    Raises MissingFileError where the file is not there, InputError where it is a folder, is no FASTA or cannot be read.
    """
    path = Path(file)
    if path.is_dir():
        raise InputError(f"{file}: a folder; give one FASTA file")
    (path,) = sequence_files(path)
    with _open(path) as stream:  # for what it says of formats that cannot be read
        stream.peek(1)
    with io.BufferedReader(_UserFile(path), _BUFFER_BYTES) as stream:
        text, is_gzip = stream.read(), stream.raw.is_gzip
    if not is_fasta(text):
        raise InputError(f"{file}: does not begin with > as FASTA does; give a FASTA file")
    return text, is_gzip


def _read_files(files: list[Path], column: str | None, piece_bases: int) -> Iterator[Piece]:
    names = RecordNames()
    for file in files:
        source, format_ = str(file), _format(file)
        if format_ == "parquet":
            with _open_seekable(file) as stream:
                yield from read_parquet(stream, source, column=column, piece_bases=piece_bases)
            continue
        with _open(file) as stream:
            if format_ == "fasta":
                yield from read_fasta(stream, source, names, piece_bases)
            else:
                delimiter = "\t" if format_ == "tsv" else ","
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
        with _open(file) as stream:
            start = stream.peek(1).lstrip()
        if not start.startswith(b">"):
            raise InputError(
                f"{file}: neither has the suffix of a sequence file nor begins with > as FASTA does; "
                f"Primase reads {_FORMATS}"
            )
        format_ = "fasta"
    return format_


def _open(file: Path) -> io.BufferedReader:
    """The content, decompressed if gzip and without a byte order mark; any trouble is an InputError."""
    stream = io.BufferedReader(_UserFile(file), _BUFFER_BYTES)
    try:
        start = stream.peek(len(_BYTE_ORDER_MARK))
        for magic, kind in _UNREADABLE_STARTS.items():
            if start.startswith(magic):
                raise InputError(f"{file}: {kind}; convert it to plain UTF-8 text, or to gzip of it")
        if start.startswith(_BYTE_ORDER_MARK):
            stream.read(len(_BYTE_ORDER_MARK))
    except BaseException:
        stream.close()
        raise
    return stream


@contextmanager
def _open_seekable(file: Path) -> Iterator[BinaryIO]:
    """As `_open`, for a reader that jumps: what is compressed goes into a temporary file first."""
    with _open(file) as stream:
        if not stream.raw.is_gzip:
            stream.raw.file.seek(0)
            yield stream.raw.file
            return
        with tempfile.TemporaryFile() as copy:
            try:
                shutil.copyfileobj(stream, copy, _BUFFER_BYTES)
            except OSError as error:
                raise InputError(
                    f"{file}: cannot be decompressed ({error.strerror}); set TMPDIR to a roomier folder"
                ) from None
            copy.seek(0)
            yield copy


class _UserFile(io.RawIOBase):
    """Bytes of a file, decompressed where it is gzip (told by its first bytes, of any number of members)."""

    def __init__(self, file: Path) -> None:
        self._name = file
        with _errors_explained(file):
            self.file = open(file, "rb", buffering=_BUFFER_BYTES)  # noqa: SIM115 (closed by close)
            self.is_gzip = self.file.peek(2).startswith(_GZIP_MAGIC)
        self._stream = gzip.GzipFile(fileobj=self.file, mode="rb") if self.is_gzip else self.file

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:
        with _errors_explained(self._name):
            return self._stream.readinto(buffer)

    def close(self) -> None:
        if not self.closed:
            self.file.close()
        super().close()


@contextmanager
def _errors_explained(file: Path) -> Iterator[None]:
    try:
        yield
    except InputError:
        raise
    except EOFError:
        raise InputError(f"{file}: truncated: the gzip data stop before their end; download or copy it again") from None
    except (zlib.error, gzip.BadGzipFile) as error:
        raise InputError(f"{file}: corrupt gzip data ({error}); download or copy it again") from None
    except PermissionError:
        raise InputError(f"{file}: no permission to read it; change its mode or its owner") from None
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror or error}); check the path and the disk") from None
