"""BED, line by line: 3 to 12 columns separated by tabs or blanks, 0-based half-open places.

With 12 columns a line is a transcript: blocks are exons, and coding between thickStart and thickEnd. With fewer, the
name in column 4 is the class. Format: UCSC Genome Browser FAQ, Data File Formats.
"""

import re
from collections.abc import Iterable, Iterator
from itertools import chain

from primase.errors import InputError
from primase.formats.genes import CLASSES
from primase.formats.names import name_of
from primase.formats.segments import MAX_DIGITS, Intervals

MAX_NAMES = 8
"""With more names than these, names are of single features and not of classes."""

ANNOTATED, ELSEWHERE = "annotated", "elsewhere"

browser_line = re.compile(rb"(track|browser)(\s|$)").match
"""Whether a line is for a genome browser; a record may be called track1."""

Layers = dict[str, list[Intervals]]
Row = tuple[int, int, int, list[bytes]]
"""Number of the line, start, end, and all columns."""


def read_bed(lines: Iterable[tuple[int, bytes]], source: str) -> tuple[tuple[str, ...], Layers]:
    """The classes, and for each record the intervals of each class but the last, from numbered lines without ends.

    Raises InputError, with the line, for what is no BED.
    """
    numbered = ((number, split(line)) for number, line in lines if not line.startswith(b"#"))
    first = next(numbered)
    rows = checked_rows(chain([first], numbered), len(first[1]), source)
    if _has_blocks(first[1]):
        return CLASSES, _transcripts(rows, source)
    return _named(rows)


def split(line: bytes) -> list[bytes]:
    """Columns; a line without a tab is separated by blanks."""
    return line.split(b"\t") if b"\t" in line else line.split()


def _has_blocks(columns: list[bytes]) -> bool:
    return len(columns) >= 12 and all(column.replace(b",", b"").isdigit() for column in columns[9:12])


def checked_rows(rows: Iterable[tuple[int, list[bytes]]], width: int, source: str) -> Iterator[Row]:
    for number, columns in rows:
        if len(columns) < max(width, 3):
            expected = f"the first line has {width}" if width >= 3 else "BED has at least 3"
            raise InputError(
                f"{source}: line {number}: {len(columns)} column{'s' * (len(columns) > 1)} where {expected}; complete "
                "the line or remove it"
            )
        start, end = (
            _place(text, name, number, source) for text, name in zip(columns[1:3], ("start", "end"), strict=True)
        )
        if start > end:
            raise InputError(
                f"{source}: line {number}: the start {start} is behind the end {end}; swap them, and write "
                "the strand in column 6"
            )
        yield number, start, end, columns


def _place(text: bytes, name: str, number: int, source: str) -> int:
    if text.isdigit() and len(text) <= MAX_DIGITS:
        return int(text)
    shown = repr(text[:40].decode("utf-8", errors="backslashreplace"))
    if text.startswith(b"-") and text[1:].isdigit():
        raise InputError(f"{source}: line {number}: the {name} {shown} is negative; BED counts bases from 0")
    raise InputError(
        f"{source}: line {number}: the {name} {shown} is no base number; write a whole number from 0, and # before a "
        "line of headings"
    )


def _named(rows: Iterable[Row]) -> tuple[tuple[str, ...], Layers]:
    """Classes by name, in order of first appearance, which is also the order of precedence."""
    code_of: dict[bytes, int] = {}
    layers: dict[bytes, list[Intervals]] = {}
    for _, start, end, columns in rows:
        name = columns[3] if len(columns) > 3 and columns[3] not in (b"", b".") else ANNOTATED.encode()
        record = layers.setdefault(columns[0], [])
        if name == ELSEWHERE.encode():
            continue
        code = code_of.get(name)
        if code is None:
            # One name too many is remembered; all further ones share its layer.
            code = code_of.setdefault(name, len(code_of)) if len(code_of) <= MAX_NAMES else MAX_NAMES
        while len(record) <= code:
            record.append(Intervals())
        record[code].add(start, end)
    if len(code_of) <= MAX_NAMES:
        classes = (*map(_text, code_of), ELSEWHERE)
        for record in layers.values():
            record.extend(Intervals() for _ in range(len(code_of) - len(record)))
    else:
        classes = (ANNOTATED, ELSEWHERE)
        layers = {name: [_joined(record)] for name, record in layers.items()}
    return classes, {_text(name): record for name, record in layers.items()}


def _joined(layers: list[Intervals]) -> Intervals:
    together = Intervals()
    for layer in layers:
        together.extend(layer)
    return together


def _transcripts(rows: Iterable[Row], source: str) -> Layers:
    layers: dict[bytes, list[Intervals]] = {}
    for number, start, end, columns in rows:
        thick_start, thick_end = (
            _place(text, name, number, source)
            for text, name in zip(columns[6:8], ("thickStart", "thickEnd"), strict=True)
        )
        coding, exons, spans = layers.setdefault(columns[0], [Intervals(), Intervals(), Intervals()])
        spans.add(start, end)
        for block_start, block_end in _blocks(number, start, end, columns, source):
            exons.add(block_start, block_end)
            coding_start, coding_end = max(block_start, thick_start), min(block_end, thick_end)
            if coding_start < coding_end:
                coding.add(coding_start, coding_end)
    return {_text(name): record for name, record in layers.items()}


def _blocks(number: int, start: int, end: int, columns: list[bytes], source: str) -> list[tuple[int, int]]:
    count = _place(columns[9], "blockCount", number, source)
    sizes, starts = (
        [_place(text, name, number, source) for text in column.rstrip(b",").split(b",")]
        for column, name in zip(columns[10:12], ("block size", "block start"), strict=True)
    )
    if not len(sizes) == len(starts) == count:
        raise InputError(
            f"{source}: line {number}: {len(sizes)} block sizes and {len(starts)} block starts where blockCount says "
            f"{count}; write this file again with the program that made it"
        )
    blocks = [(start + first, start + first + size) for first, size in zip(starts, sizes, strict=True)]
    if any(block_end > end for _, block_end in blocks):
        raise InputError(
            f"{source}: line {number}: a block reaches beyond the end {end}; block starts count from the line's start"
        )
    return blocks


def _text(name: bytes) -> str:
    return name_of(name)
