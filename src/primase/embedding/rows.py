"""What is embedded, one row at a time: records of files, or the regions of a BED file cut from a genome."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from primase import dna
from primase.errors import InputError
from primase.formats import Genome, read_bed_regions, read_records, sequence_files


class Row(NamedTuple):
    """Where a sequence comes from; places are 0-based half-open in the record."""

    name: str
    record: str
    start: int
    end: int
    strand: str


class Source:
    """Rows with their sequences, in order, any number of times: no more than one record is held."""

    def __init__(
        self,
        files: list[Path],
        rows: Callable[[], Iterator[tuple[Row, bytes]]],
        *,
        total: int | None = None,
        renamed: dict[str, str] | None = None,
    ) -> None:
        self.files, self.rows = files, rows
        self.total = total
        """Rows in all, where that is known beforehand."""
        self.renamed = {} if renamed is None else renamed
        """Records that the genome has by another name, their names and those of the genome, of the rows so far."""


def of_files(sources: Sequence[str | Path], column: str | None) -> Source:
    """Every record of the files. Raises as `sequence_files` at once, and as `read_records` when a place is reached."""
    files = sequence_files(sources)

    def rows() -> Iterator[tuple[Row, bytes]]:
        for record in read_records(files, column=column):
            place = Row(record.name, record.name, 0, len(record.sequence), "+")
            yield place, record.sequence.encode("ascii", "replace")

    return Source(files, rows)


def of_regions(regions: str | Path, genome: str | Path) -> Source:
    """The regions of a BED file in its order; those on the - strand are reverse-complemented.

    Raises InputError, with the line, at once for what is no BED, and for a place that the genome does not have.
    """
    genome_files = sequence_files([genome])
    total = sum(1 for _ in read_bed_regions(regions))
    renamed: dict[str, str] = {}

    def rows() -> Iterator[tuple[Row, bytes]]:
        with Genome(genome_files) as letters:
            for region in read_bed_regions(regions):
                record = letters.named(region.record)
                known = letters.lengths.get(record, 0)
                if region.end > known:
                    reason = f"has {known:,} bases" if known else "is not there"
                    raise InputError(
                        f"{regions}: line {region.line}: {region.record}:{region.start}-{region.end} is not in "
                        f"{genome}, where {region.record} {reason}; give the assembly that the regions are from"
                    )
                if record != region.record:
                    renamed[region.record] = record
                bases = letters.bases(record, region.start, region.end)
                sequence = dna.reverse_complement(bases) if region.strand == "-" else bases
                yield Row(region.name, region.record, region.start, region.end, region.strand), bytes(sequence)

    return Source([Path(regions), *genome_files], rows, total=total, renamed=renamed)


def to_columns(rows: Sequence[Row]) -> dict[str, list | np.ndarray]:
    """Columns name, record, start, end, strand."""
    names, records, starts, ends, strands = zip(*rows, strict=True)
    places = {"start": np.array(starts, np.int64), "end": np.array(ends, np.int64)}
    return {"name": list(names), "record": list(records), **places, "strand": list(strands)}
