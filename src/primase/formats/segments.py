"""Intervals of several layers on a record, painted into one row of segments that is fast to read anywhere.

All places are 0-based and half-open.
"""

from array import array
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

MAX_DIGITS = 12
"""Of a place in a file; the longest chromosomes that are known have eleven digits."""


class Intervals:
    """Stretches start:end of a record, in any order; they may overlap. 16 bytes each."""

    __slots__ = ("ends", "starts")

    def __init__(self) -> None:
        self.starts = array("q")
        self.ends = array("q")

    def add(self, start: int, end: int) -> None:
        self.starts.append(start)
        self.ends.append(end)

    def extend(self, other: "Intervals") -> None:
        self.starts.extend(other.starts)
        self.ends.extend(other.ends)


@dataclass(frozen=True, eq=False)
class Segments:
    """A record cut where the code changes: segment i reaches from starts[i] to starts[i + 1], the last one to the end.

    `starts` is int64 [segments], from 0, ascending; `codes` uint8 [segments].
    """

    starts: np.ndarray
    codes: np.ndarray

    def labels(self, start: int, length: int) -> np.ndarray:
        """The code of each base of start:start+length, uint8 [length]."""
        end = start + length
        first = np.searchsorted(self.starts, start, side="right") - 1
        after = np.searchsorted(self.starts, end, side="left")
        edges = np.append(np.maximum(self.starts[first:after], start), end)
        return np.repeat(self.codes[first:after], np.diff(edges))


def paint(layers: Sequence[Intervals]) -> Segments:
    """Each base gets the number of the first layer that covers it, or the number of layers where none does."""
    # What lies before the record shrinks to nothing at its start.
    sides = [np.maximum(np.asarray(side), 0) for layer in layers for side in (layer.starts, layer.ends)]
    cuts = np.unique(np.concatenate([np.zeros(1, np.int64), *sides]))
    codes = np.full(len(cuts), len(layers), np.uint8)
    for code in reversed(range(len(layers))):
        opened, closed = (
            np.bincount(np.searchsorted(cuts, side), minlength=len(cuts)) for side in sides[2 * code : 2 * code + 2]
        )
        codes[np.cumsum(opened - closed) > 0] = code
    changes = np.flatnonzero(np.diff(codes, prepend=255))
    return Segments(cuts[changes], codes[changes])
