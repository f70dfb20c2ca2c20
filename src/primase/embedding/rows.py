"""What is embedded, one row at a time: records of files, or the regions of a BED file cut from a genome."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from primase import dna
from primase.errors import InputError
from primase.formats import read_pieces, read_records, read_regions, sequence_files


class Row(NamedTuple):
    """Where a sequence comes from; places are 0-based half-open in the record."""

    name: str
    record: str
    start: int
    end: int
    strand: str


class Source:
    """Rows with their sequences, in order, any number of times: no more than one record is held."""

    def __init__(self, files: list[Path], rows: Callable[[Path], Iterator[tuple[Row, bytes]]], total: int | None):
        self.files, self._rows = files, rows
        self.total = total
        """Rows in all, where that is known beforehand."""

    def rows(self, folder: Path) -> Iterator[tuple[Row, bytes]]:
        """`folder` takes what has to lie on disk meanwhile."""
        return self._rows(folder)


def of_files(sources: Sequence[str | Path], column: str | None) -> Source:
    """Every record of the files. Raises as `sequence_files` at once, and as `read_records` when a place is reached."""
    files = sequence_files(sources)

    def rows(_: Path) -> Iterator[tuple[Row, bytes]]:
        for record in read_records(files, column=column):
            place = Row(record.name, record.name, 0, len(record.sequence), "+")
            yield place, record.sequence.encode("ascii", "replace")

    return Source(files, rows, None)


def of_regions(regions: str | Path, genome: str | Path) -> Source:
    """The regions of a BED file in its order; those on the - strand are reverse-complemented.

    Raises InputError, with the line, at once for what is no BED, and for a place that the genome does not have.
    """
    genome_files = sequence_files([genome])
    total = sum(1 for _ in read_regions(regions))

    def rows(folder: Path) -> Iterator[tuple[Row, bytes]]:
        lengths, starts = {}, {}
        with open(folder / "genome.bin", "w+b") as bases:
            for piece in read_pieces(genome_files):
                starts.setdefault(piece.record, bases.tell() - piece.start)
                lengths[piece.record] = piece.start + len(piece.bases)
                bases.write(piece.bases.tobytes())
            for region in read_regions(regions):
                if region.end > lengths.get(region.record, 0):
                    known = lengths.get(region.record)
                    reason = f"has {known:,} bases" if known else "is not there"
                    raise InputError(
                        f"{regions}: line {region.line}: {region.record}:{region.start}-{region.end} is not in "
                        f"{genome}, where {region.record} {reason}; give the assembly that the regions are from"
                    )
                bases.seek(starts[region.record] + region.start)
                letters = bases.read(region.end - region.start)
                sequence = dna.reverse_complement(letters) if region.strand == "-" else letters
                yield Row(region.name, region.record, region.start, region.end, region.strand), sequence

    return Source([Path(regions), *genome_files], rows, total)


def to_columns(rows: Sequence[Row]) -> dict[str, list | np.ndarray]:
    """Columns name, record, start, end, strand."""
    names, records, starts, ends, strands = zip(*rows, strict=True)
    places = {"start": np.array(starts, np.int64), "end": np.array(ends, np.int64)}
    return {"name": list(names), "record": list(records), **places, "strand": list(strands)}
