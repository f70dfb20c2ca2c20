"""Values along a genome for a browser, written in order: bigWig (.bw, .bigwig) and bedGraph (.bedgraph, .gz too).

Values are float32; a base without one (NaN) is left out. bigWig is written by `formats.bigwig`; bedGraph is UCSC's.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import numpy as np

from primase.errors import InputError
from primase.formats.bgzip import open_to_write
from primase.formats.bigwig import BigWig

BIGWIG_SUFFIXES = (".bw", ".bigwig", ".bigWig")
BEDGRAPH_SUFFIXES = (".bedgraph", ".bedGraph", ".bedgraph.gz", ".bedGraph.gz")


class TrackWriter(Protocol):
    """Takes stretches of values in the order of `in_track_order`, from left to right."""

    def write(self, record: str, start: int, values: np.ndarray) -> None:
        """float32 [bases] from `start` (0-based) on."""


def track_suffix(file: Path) -> str:
    """The suffix of a track's file. Raises InputError for a name that is none."""
    suffixes = (*BIGWIG_SUFFIXES, *BEDGRAPH_SUFFIXES)
    found = next((suffix for suffix in suffixes if file.name.endswith(suffix) and file.name != suffix), None)
    if found is None:
        raise InputError(f"{file}: a track is written as .bw, .bedgraph or .bedgraph.gz; choose one of these endings")
    return found


def in_track_order(lengths: Mapping[str, int]) -> dict[str, int]:
    """The records sorted by name, as browsers look them up."""
    return dict(sorted(lengths.items(), key=lambda item: item[0].encode()))


@contextmanager
def writing_track(file: Path, lengths: Mapping[str, int]) -> Iterator[TrackWriter]:
    """A writer to `file` for records of these lengths, in bases, in track order."""
    writer = BigWig(file, lengths) if track_suffix(file) in BIGWIG_SUFFIXES else _BedGraph(file)
    try:
        yield writer
        writer.finish()
    finally:
        writer.close()


class _BedGraph:
    def __init__(self, file: Path) -> None:
        self._out = open_to_write(file)

    def write(self, record: str, start: int, values: np.ndarray) -> None:
        for first, end in _stretches(values):
            lines = (
                f"{record}\t{place}\t{place + 1}\t{value:.6g}\n"
                for place, value in enumerate(values[first:end].tolist(), start + first)
            )
            self._out.write("".join(lines).encode())

    def finish(self) -> None:
        """Nothing: the last line is the last byte."""

    def close(self) -> None:
        self._out.close()


def _stretches(values: np.ndarray) -> list[tuple[int, int]]:
    """Begin and end of each run of values that are numbers."""
    edges = np.diff(np.isfinite(values).astype(np.int8), prepend=0, append=0)
    return list(zip(np.flatnonzero(edges == 1).tolist(), np.flatnonzero(edges == -1).tolist(), strict=True))
