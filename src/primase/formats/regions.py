"""Regions as biologists write them: `chr2:1,984,785-2,333,275`, counted from 1, both ends included; or a BED file."""

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from primase.errors import InputError
from primase.formats.bed_regions import read_bed_regions

_REGION = re.compile(r"(?P<record>.+):(?P<first>[\d,]{1,18})-(?P<last>[\d,]{1,18})")


class Region(NamedTuple):
    """A stretch of a record, 0-based and half-open."""

    record: str
    start: int
    end: int

    def __str__(self) -> str:
        """In the notation of samtools."""
        return f"{self.record}:{self.start + 1}-{self.end}"


def parse_region(text: str) -> Region:
    """A region in the notation of samtools; the name of the record may hold colons, the numbers may hold commas.

    Raises InputError for anything else.
    """
    found = _REGION.fullmatch(text.strip())
    first, last = (int(found[name].replace(",", "") or 0) for name in ("first", "last")) if found else (0, 0)
    if not 1 <= first <= last:
        raise InputError(f"{text!r} is no region: write NAME:FIRST-LAST, counted from 1, as in chr2:1000001-1500000")
    return Region(found["record"], first - 1, last)


def read_regions(sources: Sequence[str | Path]) -> list[Region]:
    """Regions in the notation of samtools, and those of BED files (plain or gzip), in order.

    Raises InputError for what is neither, and for a line of a BED file that is no stretch of at least one base.
    """
    regions: list[Region] = []
    for source in sources:
        if _REGION.fullmatch(str(source).strip()):
            regions.append(parse_region(str(source)))
            continue
        file = Path(source)
        if not os.path.exists(file):  # Path.exists raises OSError for a name that is too long
            raise InputError(
                f"{source}: neither a region nor a BED file; write NAME:FIRST-LAST, counted from 1, as in "
                "chr2:1000001-1500000, or check the path"
            )
        regions += [Region(region.record, region.start, region.end) for region in read_bed_regions(file)]
    return regions
