"""A genome for reading anywhere in it: its records, as letters in a temporary file, whatever the format they came in.

Reading goes through `read_pieces`, so whatever is wrong with the file is said as for every other command; memory holds
the pages that are looked at and not the genome.
"""

import tempfile
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from primase.errors import InputError
from primase.formats.annotations import bare_name
from primase.formats.regions import Region
from primase.formats.sequences import read_pieces


class Genome:
    """Open with `with`: the temporary file is gone afterwards.

    Attributes:
        lengths: bases of each record, by name, in the order of the file.
    """

    def __init__(self, sources: str | Path | Sequence[str | Path], *, progress: Callable[[int], None] | None = None):
        """`progress` is called with the number of bases read. Raises as `read_pieces` does, and InputError without room
        for the temporary file."""
        self._sources = sources
        self._progress = progress or (lambda bases: None)
        self._start: dict[str, int] = {}
        self.lengths: dict[str, int] = {}

    def __enter__(self) -> "Genome":
        self._file = tempfile.TemporaryFile()
        try:
            self._fill()
            self._letters = np.memmap(self._file, np.uint8, mode="r")
        except BaseException:
            self._file.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._letters = None
        self._file.close()

    def _fill(self) -> None:
        end = 0
        for piece in read_pieces(self._sources):
            if piece.start == 0 and piece.record in self.lengths:
                raise InputError(
                    f"{piece.source}: a second record is named {piece.record}; rename one, or leave one out"
                )
            self._start.setdefault(piece.record, end)
            try:
                self._file.write(piece.bases.tobytes())
            except OSError as error:
                raise InputError(
                    f"{piece.source}: no room for a temporary copy ({error.strerror}); set TMPDIR to a roomier folder"
                ) from None
            end += len(piece.bases)
            self.lengths[piece.record] = self.lengths.get(piece.record, 0) + len(piece.bases)
            self._progress(end)
        self._file.flush()

    def bases(self, record: str, start: int, end: int) -> np.ndarray:
        """uint8 ASCII of a stretch, cut off at the record's ends; letters and case as in the file."""
        first = self._start[record]
        start, end = max(start, 0), min(end, self.lengths[record])
        return np.array(self._letters[first + start : first + max(start, end)])

    def place(self, region: Region) -> Region:
        """The region by the record's own name. Raises InputError for one that the genome does not have."""
        name = self.named(region.record)
        if name is None:
            names = ", ".join(list(self.lengths)[:3])
            raise InputError(f"region {region}: no record {region.record} in the genome ({names}); check the name")
        if region.end > self.lengths[name]:
            raise InputError(f"region {region}: record {name} has {self.lengths[name]:,} bases; correct the region")
        return Region(name, region.start, region.end)

    def named(self, name: str) -> str | None:
        """The record that another file calls `name`: itself, or with or without chr; M, MT, chrM and chrMT are one."""
        return name if name in self.lengths else self._by_bare_name.get(bare_name(name))

    @cached_property
    def _by_bare_name(self) -> dict[str, str]:
        names: dict[str, str] = {}
        for name in self.lengths:
            names.setdefault(bare_name(name), name)
        return names
