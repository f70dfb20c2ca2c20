"""Saturation mutagenesis in silico: every base of some stretches changed to each of the three others."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from primase import dna
from primase.formats import Genome, Region
from primase.formats.output_tables import TableWriter
from primase.variants.changes import Change
from primase.variants.strands import StrandScorer

BASES_OF_A_CHUNK = 512

SATURATION_COLUMNS = {
    "record": str,
    "position": int,
    "ref": str,
    "alt": str,
    "llr_nats": float,
    "llr_forward_nats": float,
    "llr_reverse_nats": float,
}


@dataclass
class Saturation:
    """What was scored; `nats` float64 [bases of the last stretch, 4], mean of the strands, NaN for the reference."""

    bases: int = 0
    alternatives: int = 0
    scored: int = 0
    total_nats: float = 0.0
    letters: bytes = b""
    nats: np.ndarray = field(default_factory=lambda: np.empty((0, 4)))


def saturate(
    genome: Genome,
    scorer: StrandScorer,
    regions: Sequence[Region],
    *,
    tables: Sequence[TableWriter],
    progress: Callable[[str, float], None],
) -> Saturation:
    """Score all changes of single bases of the regions and write them in order; letters but A, C, G, T are left out."""
    result = Saturation()
    total = sum(region.end - region.start for region in regions)
    done = 0
    progress("scoring changes", 0.0)
    for region in regions:
        parts, result.letters = [], genome.bases(*region).tobytes().upper()
        for begin in range(region.start, region.end, BASES_OF_A_CHUNK):
            chunk = Region(region.record, begin, min(begin + BASES_OF_A_CHUNK, region.end))
            parts.append(_saturate_chunk(genome, scorer, chunk, tables, result))
            done += chunk.end - chunk.start
            progress("scoring changes", done / total)
        result.nats = np.concatenate(parts)
    return result


def _saturate_chunk(
    genome: Genome, scorer: StrandScorer, chunk: Region, tables: Sequence[TableWriter], result: Saturation
) -> np.ndarray:
    """float64 [bases, 4]: mean of the strands."""
    letters = genome.bases(*chunk).tobytes().upper().replace(b"U", b"T")
    changes = [
        Change(chunk.record, place, place + 1, bytes([alt]))
        for place, ref in enumerate(letters, chunk.start)
        if ref in dna.ACGT
        for alt in dna.ACGT
        if alt != ref
    ]
    nats = np.full((len(letters), 4), np.nan)
    for change, both in zip(changes, scorer.nats(changes), strict=True):
        place = change.start - chunk.start
        values = (float(both.mean()), *both.tolist()) if np.isfinite(both).all() else (None, None, None)
        for table in tables:
            table.write((chunk.record, change.start + 1, chr(letters[place]), change.letters.decode(), *values))
        if values[0] is not None:
            nats[place, dna.ACGT.index(change.letters)] = values[0]
            result.scored += 1
            result.total_nats += values[0]
    result.bases += len(changes) // 3
    result.alternatives += len(changes)
    return nats
