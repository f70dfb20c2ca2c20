"""Windows of records, and their vectors as an index holds them: mean of both strands, centred, of length one."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from primase import dna
from primase.formats import Record

FEWEST_KNOWN = 0.5
"""Windows with a smaller share of A, C, G and T are left out: their vectors are those of N."""


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of a record, 0-based half-open."""

    record: str
    start: int
    end: int
    sequence: bytes

    @property
    def is_known(self) -> bool:
        return bool(dna.is_acgt(self.sequence).mean() >= FEWEST_KNOWN)


def cut(records: Iterable[Record], window_bases: int, step_bases: int) -> Iterator[Window]:
    """Windows side by side every `step_bases`; the last one ends with its record, a short record is one window."""
    for record in records:
        sequence, bases = record.sequence.encode("ascii"), len(record.sequence)
        last = max(0, bases - window_bases)
        starts = [*range(0, last, step_bases), last]
        for start in starts:
            end = min(start + window_bases, bases)
            yield Window(record.name, start, end, sequence[start:end])


def directions(vectors: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """float32 [windows, width]: less the genome's mean vector, and of length one.

    Mean-pooled vectors of DNA share one large component that says nothing about likeness; without it cosines spread.
    """
    moved = np.ascontiguousarray(vectors - centre, np.float32)
    moved /= np.maximum(np.linalg.norm(moved, axis=1, keepdims=True), 1e-12)
    return moved
