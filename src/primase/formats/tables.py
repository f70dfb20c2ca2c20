"""CSV, TSV and Parquet, streamed: each row of a table is a record, its bases lie in one column.

pyarrow does the reading, in batches; its errors end here. Rows are counted from 1, the header left out.
"""

import csv
import io
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import BinaryIO, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from primase import dna
from primase.errors import InputError
from primase.formats.fasta import Piece, wrong_letter
from primase.formats.names import name_of

SEQUENCE_COLUMNS = ("text", "sequence")
NAME_COLUMNS = ("name", "id")
CSV_BLOCK_BYTES = 1 << 22
PARQUET_BATCH_BYTES = 1 << 22
PARQUET_BUFFER_BYTES = 1 << 20
MAX_BATCH_ROWS = 1 << 16

_MISSING_VALUES = frozenset((b"na", b"nan"))
"""What R and pandas write for a missing value; each would pass for a sequence, N, A and N again."""

# pyarrow can hand over malformed rows in a callback, but leaves out those that are not UTF-8.
_MALFORMED_ROW = re.compile(r"Row #(\d+): Expected (\d+) columns, got (\d+)")


def read_csv(
    stream: io.BufferedReader, source: str, *, delimiter: str, column: str | None, piece_bases: int
) -> Iterator[Piece]:
    """The rows of a delimited text with a header line, double quotes and UTF-8, as pieces of `piece_bases`.

    The bases are in `column`, or else in `text` or `sequence`; a row is named by its `name` or `id`, or else
    by its number. Raises InputError, with the row, where the table or a sequence in it cannot be used.
    """
    yield from _pieces(csv_cells(stream, source, delimiter=delimiter, column=column), source, piece_bases)


def csv_cells(
    stream: io.BufferedReader, source: str, *, delimiter: str, column: str | None, labels: Sequence[str] = ()
) -> Iterator["Cells"]:
    """The rows of a delimited text in batches, with the columns `labels` beside; raises as `read_csv` does."""
    header = _header(stream, source, delimiter)
    columns = _choose_columns(header, column, labels, source)
    text = _QuoteCountingStream(stream)
    types = dict.fromkeys(columns.read, pa.string()) | {columns.sequence: pa.large_binary()}

    def batches() -> Iterable[pa.RecordBatch]:
        if not stream.peek(1):
            return []
        return pyarrow.csv.open_csv(
            text,
            # One thread, because only then malformed rows are numbered.
            pyarrow.csv.ReadOptions(use_threads=False, block_size=CSV_BLOCK_BYTES, column_names=header),
            pyarrow.csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
            pyarrow.csv.ConvertOptions(column_types=types, include_columns=list(types)),
        )

    yield from _cells(batches, _explain_csv, source, columns)
    if text.quotes % 2:
        raise InputError(
            f"{source}: a double quote is never closed, which hides the rows behind it; close or remove it"
        )


def read_parquet(file: BinaryIO, source: str, *, column: str | None, piece_bases: int) -> Iterator[Piece]:
    """The rows of a Parquet file, which must be seekable, as `read_csv` gives them."""
    yield from _pieces(parquet_cells(file, source, column=column), source, piece_bases)


def parquet_cells(file: BinaryIO, source: str, *, column: str | None, labels: Sequence[str] = ()) -> Iterator["Cells"]:
    """The rows of a Parquet file in batches, as `csv_cells` gives them; numbers among the labels become text."""
    try:
        table = pq.ParquetFile(file, pre_buffer=False, buffer_size=PARQUET_BUFFER_BYTES)
        schema, metadata = table.schema_arrow, table.metadata
    except (pa.ArrowException, OSError, ValueError) as error:
        raise InputError(
            f"{source}: not a whole Parquet file ({_first_line(error)}); download or export it again"
        ) from None
    columns = _choose_columns(schema.names, column, labels, source)
    for name in labels:
        if pa.types.is_nested(schema.field(name).type):
            raise InputError(f"{source}: column {name!r} holds {schema.field(name).type}, not one label a row")
    type_of_sequences = schema.field(columns.sequence).type
    if not _is_text(type_of_sequences):
        raise InputError(f"{source}: column {columns.sequence!r} holds {type_of_sequences}, not text; choose another")
    table_bytes = sum(metadata.row_group(group).total_byte_size for group in range(metadata.num_row_groups))
    batch_rows = min(MAX_BATCH_ROWS, max(1, PARQUET_BATCH_BYTES * metadata.num_rows // max(1, table_bytes)))

    yield from _cells(
        lambda: table.iter_batches(batch_rows, columns=list(columns.read)),
        lambda error: f"damaged Parquet file ({_first_line(error)}); download or export it again",
        source,
        columns,
    )


class Cells(NamedTuple):
    """A batch of rows."""

    letters: np.ndarray
    """uint8: the sequences end to end."""
    offsets: np.ndarray
    """int64 [rows + 1]: where each begins in them."""
    names: list[str]
    labels: list[tuple[str | None, ...]]
    """One a row, in the order of the columns that were asked for; None where nothing is in the cell."""


class _Columns(NamedTuple):
    sequence: str
    name: str | None
    labels: tuple[str, ...]

    @property
    def read(self) -> tuple[str, ...]:
        """All columns to read, each once."""
        return tuple(dict.fromkeys((self.sequence, *((self.name,) if self.name else ()), *self.labels)))


def _header(stream: io.BufferedReader, source: str, delimiter: str) -> list[str]:
    line = b""
    while not line.strip():
        line = stream.readline(CSV_BLOCK_BYTES)
        if not line:
            raise InputError(f"{source}: the file is empty; give a table with a header line")
    try:
        return next(csv.reader([line.decode("utf-8").rstrip("\r\n")], delimiter=delimiter))
    except (UnicodeDecodeError, csv.Error):
        raise InputError(
            f"{source}: line 1: the header is not a line of UTF-8 text; is it a table? Save it as UTF-8"
        ) from None


def _choose_columns(columns: list[str], wanted: str | None, labels: Sequence[str], source: str) -> _Columns:
    candidates = SEQUENCE_COLUMNS if wanted is None else (wanted,)
    sequence = next((name for name in candidates if name in columns), None)
    there = ", ".join(repr(name) for name in columns[:20]) + (", ..." if len(columns) > 20 else "")
    if sequence is None:
        missing = " or ".join(repr(name) for name in candidates)
        raise InputError(f"{source}: no column {missing}; choose the column of the sequences from {there}")
    for label in labels:
        if label not in columns:
            raise InputError(f"{source}: no column {label!r}; choose the column of the labels from {there}")
        if label == sequence:
            raise InputError(f"{source}: column {label!r} holds the sequences; choose another for the labels")
    name = next((name for name in NAME_COLUMNS if name in columns and name != sequence), None)
    for used in (sequence, name, *labels):
        if columns.count(used) > 1:
            raise InputError(f"{source}: column {used!r} is there {columns.count(used)} times; rename all but one")
    return _Columns(sequence, name, tuple(labels))


def _pieces(batches: Iterable[Cells], source: str, piece_bases: int) -> Iterator[Piece]:
    """Pieces of all rows."""
    for cells in batches:
        places = cells.offsets.tolist()
        for row, record in enumerate(cells.names):
            first, end = places[row], places[row + 1]
            for start in range(first, end, piece_bases):
                piece_end = min(start + piece_bases, end)
                yield Piece(source, record, start - first, cells.letters[start:piece_end], piece_end == end)


def _cells(
    batches: Callable[[], Iterable[pa.RecordBatch]],
    explain: Callable[[Exception], str],
    source: str,
    columns: _Columns,
) -> Iterator[Cells]:
    """The rows of each batch, checked; an error of pyarrow becomes an InputError with the text of `explain`."""
    rows_before = 0
    try:
        for batch in batches():
            letters, offsets = _letters_and_offsets(batch.column(columns.sequence))
            _check_cells(letters, offsets, rows_before, columns.sequence, source)
            names = _texts(batch, columns.name) if columns.name else [None] * batch.num_rows
            names = [name_of(name) if name else str(rows_before + row + 1) for row, name in enumerate(names)]
            labels = [_texts(batch, label) for label in columns.labels]
            yield Cells(letters, offsets, names, list(zip(*labels, strict=True)) or [()] * batch.num_rows)
            rows_before += batch.num_rows
    except InputError:
        raise
    except (pa.ArrowException, OSError, ValueError) as error:
        raise InputError(f"{source}: {explain(error)}") from None
    if not rows_before:
        raise InputError(f"{source}: the table has no rows; give one with a row for each sequence")


def _texts(batch: pa.RecordBatch, column: str) -> list[str | None]:
    return batch.column(column).cast(pa.string()).to_pylist()


def _letters_and_offsets(column: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """The cells without the blanks round them: letters end to end, and rows + 1 places where cells begin."""
    cells = pc.fill_null(column.cast(pa.large_binary()), b"")
    trimmed = pc.ascii_trim_whitespace(cells.view(pa.large_string()))
    _, offset_buffer, letter_buffer = trimmed.buffers()
    offsets = np.frombuffer(offset_buffer, np.int64)[trimmed.offset : trimmed.offset + len(trimmed) + 1]
    letters = np.frombuffer(letter_buffer, np.uint8) if letter_buffer else np.empty(0, np.uint8)
    return letters, offsets


def _check_cells(letters: np.ndarray, offsets: np.ndarray, rows_before: int, column: str, source: str) -> None:
    """Raises InputError for the first cell that is empty, or else the first that has a wrong letter."""
    place = f"column {column!r}"
    for row in np.flatnonzero(np.diff(offsets) <= 3).tolist():
        cell = letters[offsets[row] : offsets[row + 1]].tobytes()
        if not cell or cell.lower() in _MISSING_VALUES:
            raise InputError(f"{source}: row {rows_before + row + 1}: {place} is empty; fill it in or remove the row")
    used = letters[offsets[0] : offsets[-1]]
    complaint = wrong_letter(used.tobytes())
    if complaint:
        first_wrong = offsets[0] + np.flatnonzero(~dna.is_iupac(used))[0]
        row = np.searchsorted(offsets, first_wrong, side="right")
        raise InputError(f"{source}: row {rows_before + row}: {place}: {complaint}")


def _is_text(type_: pa.DataType) -> bool:
    if pa.types.is_dictionary(type_):
        type_ = type_.value_type
    return any(
        is_a(type_)
        for is_a in (
            pa.types.is_string,
            pa.types.is_large_string,
            pa.types.is_string_view,
            pa.types.is_binary,
            pa.types.is_large_binary,
        )
    )


def _explain_csv(error: Exception) -> str:
    malformed = _MALFORMED_ROW.search(str(error))
    if malformed:
        row, expected, found = malformed.groups()
        return (
            f"row {row}: {found} values where the header has {expected}; "
            "correct the row, or put quotes round values that hold the delimiter"
        )
    if "straddl" in str(error):
        return (
            f"a row of more than {CSV_BLOCK_BYTES >> 20} MiB, or a double quote that is never closed; "
            "write long sequences as FASTA"
        )
    return f"cannot be read as a table of UTF-8 text ({_first_line(error)}); correct or export it again"


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


class _QuoteCountingStream(io.RawIOBase):
    """Counts double quotes: where their number is odd, pyarrow has swallowed rows without a word."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.quotes = 0

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        block = self._stream.read(size)
        self.quotes += block.count(b'"')
        return block
