"""Windows side by side in each record, and the table that lists them."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from primase.errors import InputError
from primase.recipe import DataSettings

WINDOW_DTYPE = np.dtype([("start", "<i8"), ("length", "<i4"), ("record", "<i4"), ("part", "u1")])
"""A window: its first base in the corpus, its length in bases, the index of its record, its part."""

TRAIN, VALIDATION, HELDOUT, UNUSED = 0, 1, 2, 3
PARTS = {"train": TRAIN, "validation": VALIDATION, "heldout": HELDOUT}

CHUNK_WINDOWS = 1 << 16
"""Windows handled at once. A genome has millions; a few arrays over all of them would outgrow the bases themselves."""


@dataclass(frozen=True)
class Stretches:
    """Half-open stretches of the corpus, in order: int64 [stretches] each."""

    starts: np.ndarray
    ends: np.ndarray


def chunks(windows: np.ndarray) -> Iterator[np.ndarray]:
    """Views of a table of windows, CHUNK_WINDOWS at a time."""
    for first in range(0, len(windows), CHUNK_WINDOWS):
        yield windows[first : first + CHUNK_WINDOWS]


def cut_windows(records: Stretches, unknown: Stretches, data: DataSettings) -> np.ndarray:
    """The windows of all records, structured array [windows] of WINDOW_DTYPE in genome order, part 0.

    `records` lie one after another; `unknown` are the runs of anything but A, C, G, T. Raises InputError where no
    window is left.
    """
    lengths = records.ends - records.starts
    whole = lengths // data.window_bases
    rest = lengths - whole * data.window_bases
    windows_of_record = whole + ((rest > 0) & (data.short_records == "keep"))
    last_of_record = np.cumsum(windows_of_record)
    windows = np.zeros(int(last_of_record[-1]) if len(last_of_record) else 0, WINDOW_DTYPE)
    kept = 0
    for first in range(0, len(windows), CHUNK_WINDOWS):
        number = np.arange(first, min(first + CHUNK_WINDOWS, len(windows)))
        record = np.searchsorted(last_of_record, number, side="right")
        index_in_record = number - (last_of_record[record] - windows_of_record[record])
        start = records.starts[record] + index_in_record * data.window_bases
        length = np.where(index_in_record == whole[record], rest[record], data.window_bases)
        if data.unknown_bases == "drop":
            clean = ~_touches(unknown, start, start + length)
            start, length, record = start[clean], length[clean], record[clean]
        chunk = windows[kept : kept + len(start)]
        chunk["start"], chunk["length"], chunk["record"] = start, length, record
        kept += len(start)
    if not kept:
        raise InputError(
            f"no window of {data.window_bases:,} bases is free of N; set data.window_bases lower or "
            "data.unknown_bases=keep"
        )
    return windows[:kept]


def _touches(runs: Stretches, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Whether each stretch starts:ends overlaps a run, bool [stretches]."""
    if not len(runs.starts):
        return np.zeros(len(starts), bool)
    next_run = np.searchsorted(runs.ends, starts, side="right")
    next_start = np.append(runs.starts, np.iinfo(np.int64).max)[next_run]
    return next_start < ends
