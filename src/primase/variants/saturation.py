"""Saturation mutagenesis in silico: every base of some stretches changed to each of the three others."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from primase import dna, processes
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
    """Score all changes of single bases of the regions and write them in order; letters but A, C, G, T are left out.

    Several processes share the chunks; the main one writes, and its result alone is complete.
    """
    result = Saturation()
    chunks = [
        Region(region.record, begin, min(begin + BASES_OF_A_CHUNK, region.end))
        for region in regions
        for begin in range(region.start, region.end, BASES_OF_A_CHUNK)
    ]
    total = sum(region.end - region.start for region in regions)
    done = 0
    progress("scoring changes", 0.0)
    parts: list[np.ndarray] = []
    scores = processes.shared(chunks, lambda chunk: scorer.nats(_changes(genome, chunk)))
    for chunk, nats in zip(chunks, scores, strict=False):  # the other processes get no scores
        parts.append(_write_chunk(genome, chunk, nats, tables, result))
        done += chunk.end - chunk.start
        progress("scoring changes", done / total)
    if parts:
        last = regions[-1]
        result.letters = genome.bases(*last).tobytes().upper()
        result.nats = np.concatenate(parts)[-(last.end - last.start) :]
    return result


def _letters(genome: Genome, chunk: Region) -> bytes:
    return genome.bases(*chunk).tobytes().upper().replace(b"U", b"T")


def _changes(genome: Genome, chunk: Region) -> list[Change]:
    return [
        Change(chunk.record, place, place + 1, bytes([alt]))
        for place, ref in enumerate(_letters(genome, chunk), chunk.start)
        if ref in dna.ACGT
        for alt in dna.ACGT
        if alt != ref
    ]


def _write_chunk(
    genome: Genome, chunk: Region, scores: np.ndarray, tables: Sequence[TableWriter], result: Saturation
) -> np.ndarray:
    """float64 [bases, 4]: mean of the strands; `scores` float64 [changes, 2]."""
    letters, changes = _letters(genome, chunk), _changes(genome, chunk)
    nats = np.full((len(letters), 4), np.nan)
    for change, both in zip(changes, scores, strict=True):
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
