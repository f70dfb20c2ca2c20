"""Tables of results, written row by row: .tsv, .csv or .parquet by the name of the file."""

import csv
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from primase.errors import InputError

TABLE_SUFFIXES = (".tsv", ".csv", ".parquet")
ROWS_OF_A_GROUP = 1 << 14


def require_table_name(file: Path) -> None:
    """Raises InputError for a name that stands for no table."""
    if file.suffix not in TABLE_SUFFIXES:
        raise InputError(f"{file}: a table is written as {', '.join(TABLE_SUFFIXES)}; choose one of these endings")


class TableWriter:
    """Rows of values in the order of the columns; None is written as an empty cell, in Parquet as null."""

    def __init__(self, file: Path, columns: dict[str, type]) -> None:
        self._columns, self._rows, self._parquet, self._text = columns, [], None, None
        if file.suffix == ".parquet":
            import pyarrow as pa
            import pyarrow.parquet as pq

            kinds = {str: pa.string(), int: pa.int64(), float: pa.float64()}
            self._schema = pa.schema([(name, kinds[kind]) for name, kind in columns.items()])
            self._parquet = pq.ParquetWriter(file, self._schema)
        else:
            self._text = open(file, "w", encoding="utf-8", errors="surrogateescape", newline="")  # noqa: SIM115
            delimiter = "\t" if file.suffix == ".tsv" else ","
            self._writer = csv.writer(self._text, delimiter=delimiter, lineterminator="\n")
            self._writer.writerow(columns)

    def write(self, row: Sequence) -> None:
        if self._text:
            self._writer.writerow([f"{value:.6g}" if isinstance(value, float) else value for value in row])
            return
        self._rows.append(row)
        if len(self._rows) == ROWS_OF_A_GROUP:
            self._write_group()

    def close(self) -> None:
        if self._text:
            self._text.close()
            return
        self._write_group()
        self._parquet.close()

    def _write_group(self) -> None:
        import pyarrow as pa

        columns = list(zip(*self._rows, strict=True)) or [[] for _ in self._columns]
        self._parquet.write_table(
            pa.table(
                [pa.array(column, field.type) for column, field in zip(columns, self._schema, strict=True)],
                self._schema,
            )
        )
        self._rows = []


@contextmanager
def writing_table(file: Path, columns: dict[str, type]) -> Iterator[TableWriter]:
    """A writer to `file`; `columns` are their names, and str, int or float."""
    writer = TableWriter(file, columns)
    try:
        yield writer
    finally:
        writer.close()
