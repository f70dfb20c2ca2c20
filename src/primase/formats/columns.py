"""Some columns of a user's table, as text: of CSV or TSV (plain or gzip) with a header line, or of Parquet."""

import csv
import io
import re
from collections.abc import Sequence
from pathlib import Path

from primase.errors import InputError
from primase.formats.opening import open_seekable, open_stream, require_file

LONGEST_CELL = 2**31 - 1
"""Letters of a cell that csv takes: a table may hold whole sequences."""

DELIMITERS = {".csv": ",", ".tsv": "\t", ".txt": "\t"}

Column = list[str | None]
"""One value a row; None where nothing is in the cell."""

_NUMBER = re.compile(r"[+-]?((\d+\.?\d*|\.\d+)(e[+-]?\d+)?|nan|inf|infinity)", re.ASCII | re.IGNORECASE)


def read_columns(file: str | Path, wanted: Sequence[str], optional: Sequence[str] = ()) -> dict[str, Column]:
    """The columns `wanted`, and those of `optional` that are there.

    Raises MissingFileError or InputError, with the row, for a file that is no table or has no such column.
    """
    path = Path(file)
    require_file(path)
    suffix = Path(path.name.removesuffix(".gz")).suffix.lower()
    if suffix == ".parquet":
        return _of_parquet(path, wanted, optional)
    if suffix not in DELIMITERS:
        raise InputError(f"{file}: not a table by its name; give a .csv, .tsv or .parquet file")
    csv.field_size_limit(LONGEST_CELL)
    with open_stream(path) as stream, io.TextIOWrapper(stream, "utf-8", newline="") as text:
        try:
            return _of_text(csv.reader(text, delimiter=DELIMITERS[suffix], strict=True), path, wanted, optional)
        except UnicodeDecodeError:
            raise InputError(f"{file}: not a table of UTF-8 text; save it as UTF-8") from None


def as_number(text: str) -> float | None:
    """The number that a cell holds, NaN and infinity too; None for any other text.

    Not all that Python takes for a number: to it the name 1_1 is 11.
    """
    return float(text) if _NUMBER.fullmatch(text.strip()) else None


def require_column(name: str, there: Sequence[str], source: str | Path) -> None:
    """Raises InputError, with the columns that are there, for one that is missing or there twice."""
    if name not in there:
        shown = ", ".join(repr(one) for one in there[:20]) + (", ..." if len(there) > 20 else "")
        raise InputError(f"{source}: no column {name!r}; choose from {shown or 'none: it has no columns'}")
    if list(there).count(name) > 1:
        raise InputError(f"{source}: column {name!r} is there more than once; rename all but one")


def _of_text(rows, file: Path, wanted: Sequence[str], optional: Sequence[str]) -> dict[str, Column]:
    header = _next(rows, file)
    if header is None:
        raise InputError(f"{file}: the file is empty; give a table with a header line")
    for name in wanted:
        require_column(name, header, file)
    places = {name: header.index(name) for name in (*wanted, *optional) if name in header}
    columns: dict[str, Column] = {name: [] for name in places}
    number = 0
    while (row := _next(rows, file)) is not None:
        if not row:  # a blank line
            continue
        number += 1
        if len(row) != len(header):
            raise InputError(
                f"{file}: row {number}: {len(row)} values where the header has {len(header)}; correct the row"
            )
        for name, place in places.items():
            columns[name].append(row[place].strip() or None)
    return columns


def _next(rows, file: Path) -> list[str] | None:
    try:
        return next(rows, None)
    except csv.Error as error:
        raise InputError(f"{file}: line {rows.line_num}: {error}; correct or export it again") from None


def _of_parquet(file: Path, wanted: Sequence[str], optional: Sequence[str]) -> dict[str, Column]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with open_seekable(file) as stream:
        try:
            table = pq.ParquetFile(stream)
            names = table.schema_arrow.names
            for name in wanted:
                require_column(name, names, file)
            present = [name for name in dict.fromkeys((*wanted, *optional)) if name in names]
            columns = table.read(columns=present)
            return {name: columns[name].cast(pa.string()).to_pylist() for name in present}
        except (pa.ArrowException, OSError) as error:
            reason = str(error).splitlines()[0][:200]
            raise InputError(f"{file}: not a whole Parquet file of plain columns ({reason}); export it again") from None
