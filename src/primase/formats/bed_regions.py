"""BED as a list of places, in the order of the file: what to cut from a genome, and on which strand."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from primase.errors import InputError
from primase.formats.bed import browser_line, checked_rows, split
from primase.formats.names import name_of
from primase.formats.opening import open_stream, require_file


@dataclass(frozen=True, slots=True)
class BedRegion:
    """A line of a BED file; places are 0-based half-open."""

    line: int
    record: str
    start: int
    end: int
    name: str
    """Column 4, or RECORD:START-END where it has none."""
    strand: str
    """+ where none is given."""


def read_bed_regions(file: str | Path) -> Iterator[BedRegion]:
    """The lines of a BED file, plain or gzip, one at a time. Raises MissingFileError and InputError, with the line."""
    path, source = Path(file), str(file)
    require_file(path)
    with open_stream(path) as stream:
        lines = ((number, line.rstrip(b"\r\n")) for number, line in enumerate(stream, 1))
        features = (row for row in lines if row[1].strip() and not (row[1].startswith(b"#") or browser_line(row[1])))
        rows = ((number, split(line)) for number, line in features)
        number = 0
        for number, start, end, columns in checked_rows(rows, 0, source):
            if start == end:
                raise InputError(f"{source}: line {number}: the region is empty; remove it")
            strand = columns[5].decode("ascii", "replace") if len(columns) > 5 else "+"
            if strand not in ("+", "-", "."):
                raise InputError(f"{source}: line {number}: the strand {strand!r} is not +, - or .; correct column 6")
            record = name_of(columns[0])
            has_name = len(columns) > 3 and columns[3] not in (b"", b".")
            name = name_of(columns[3]) if has_name else f"{record}:{start}-{end}"
            yield BedRegion(number, record, start, end, name, "-" if strand == "-" else "+")
        if not number:
            raise InputError(f"{source}: no region in it; give a BED file with at least one line")
