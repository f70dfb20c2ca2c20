"""Regions as biologists write them: `chr2:1,984,785-2,333,275`, counted from 1, both ends included."""

import re
from typing import NamedTuple

from primase.errors import InputError

_REGION = re.compile(r"(?P<record>.+):(?P<first>[\d,]+)-(?P<last>[\d,]+)")


class Region(NamedTuple):
    """A stretch of a record, 0-based and half-open."""

    record: str
    start: int
    end: int


def parse_region(text: str) -> Region:
    """A region in the notation of samtools; the name of the record may hold colons, the numbers may hold commas.

    Raises InputError for anything else.
    """
    found = _REGION.fullmatch(text.strip())
    first, last = (int(found[name].replace(",", "") or 0) for name in ("first", "last")) if found else (0, 0)
    if not 1 <= first <= last:
        raise InputError(f"{text!r} is no region: write NAME:FIRST-LAST, counted from 1, as in chr2:1000001-1500000")
    return Region(found["record"], first - 1, last)
