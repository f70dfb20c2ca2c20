"""Values along a genome for a browser, written in order: bigWig (.bw, .bigwig) and bedGraph (.bedgraph, .gz too).

Values are float32; a base without one (NaN) is left out. Format: Kent et al. 2010 for bigWig, UCSC for bedGraph.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import numpy as np

from primase.errors import InputError
from primase.formats.bgzip import no_space, open_to_write

SPARE_BYTES = 2**22
"""What is left free on a disk with a bigWig."""

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
    writer = _BigWig(file, lengths) if track_suffix(file) in BIGWIG_SUFFIXES else _BedGraph(file)
    try:
        yield writer
    finally:
        writer.close()
    writer.check()


class _BigWig:
    def __init__(self, file: Path, lengths: Mapping[str, int]) -> None:
        import pyBigWig

        file.open("wb").close()  # pyBigWig ends the process where it cannot open its file
        self._file = file
        self._out = pyBigWig.open(str(file), "w")
        self._out.addHeader(list(lengths.items()))

    def write(self, record: str, start: int, values: np.ndarray) -> None:
        self._refuse_full_disk()
        for first, end in _stretches(values):
            self._out.addEntries(record, start + first, values=values[first:end].astype(np.float64), span=1, step=1)

    def _refuse_full_disk(self) -> None:
        """Raises OSError before the disk is full: pyBigWig would spoil its memory, or say nothing."""
        disk = os.statvfs(self._file.parent)
        # The index and the summaries for zooming out are written at the end.
        if disk.f_bavail * disk.f_frsize < SPARE_BYTES + self._file.stat().st_size // 2:
            raise no_space(self._file)

    def close(self) -> None:
        self._out.close()

    def check(self) -> None:
        """Raises OSError where the end of the file is missing."""
        with self._file.open("rb") as written:
            begin = written.read(4)
            written.seek(-4, os.SEEK_END)
            if written.read(4) != begin:  # the signature stands at both ends
                raise no_space(self._file)


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

    def close(self) -> None:
        self._out.close()

    def check(self) -> None:
        """Nothing: what cannot be written has been said by then."""


def _stretches(values: np.ndarray) -> list[tuple[int, int]]:
    """Begin and end of each run of values that are numbers."""
    edges = np.diff(np.isfinite(values).astype(np.int8), prepend=0, append=0)
    return list(zip(np.flatnonzero(edges == 1).tolist(), np.flatnonzero(edges == -1).tolist(), strict=True))
