"""How much of a user's sequences stands in the training bases: a model is not measured on what it has read."""

import numpy as np

from primase import dna
from primase.corpus.kmers import LARGEST_K, HashTable, Segments, kmer_hashes
from primase.evaluation.rivals import TrainingBases, evenly
from primase.evaluation.sample import Sample

LOOKED_AT_BASES = 2**20
PIECE_BASES = 2**20


def share_in_training(sample: Sample, training: TrainingBases) -> float | None:
    """Share of the 31-mers of the sample (of pieces drawn evenly) that the training bases have on either strand.

    None where no stretch has 31 bases.
    """
    hashes = np.concatenate([_hashes(piece) for piece in evenly(sample.stretches, LOOKED_AT_BASES)])
    if not hashes.size:
        return None
    table = HashTable.of(hashes.copy())
    seen = np.zeros(len(table.hashes), np.uint8)
    for stretch in training.read():
        for start in range(0, len(stretch), PIECE_BASES):
            table.tally(_hashes(stretch[start : start + PIECE_BASES + LARGEST_K - 1]), seen)
    return float((seen[table.places(hashes)] > 0).mean())


def _hashes(bases: np.ndarray) -> np.ndarray:
    return kmer_hashes(Segments(dna.codes(bases), np.zeros(1, np.int64), np.array([len(bases)])), LARGEST_K)
