"""Bits per base: total nats of the held-out text / ln 2 / number of A, C, G, T bases in it.

The denominator is the same for every tokenizer. Tokens that hold no base (ends, separators, N) cost bits and add no
base. Uniform guessing is 2.0. Intervals resample blocks of neighbouring cells, since neighbours resemble each other.
"""

import math

import numpy as np

from primase import dna
from primase.errors import ModelError
from primase.results import Estimate
from primase.scoring import WindowScore

BLOCK_BASES = 10_000
"""Neighbouring cells are resampled together in blocks of about this length, or longer where they would be too many."""

MOST_BLOCKS = 10_000
"""More would make no interval better, and their weights take 8 bytes a block and resample."""


def base_bits(bases: np.ndarray, score: WindowScore, bases_per_token: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Bits of each base of a stretch, float64 [bases] twice: of tokens with bases, and of tokens without.

    A token's bits are shared out evenly to its bases. Those of a token without a base (N, an end) stand at the base
    before it, in the second array: they belong to the stretch, and to no class of bases.
    Raises ModelError where the tokens hold other bases than the stretch (the tokenizer cannot spell it), and where a
    price is not finite.
    """
    if not np.isfinite(score.nats).all():
        raise ModelError(
            "the model gives probabilities that are not finite (NaN or zero) on this sequence; train it again, or load "
            "a sound copy"
        )
    token_bits = score.nats / math.log(2)
    token_bases = bases_per_token[score.ids].astype(np.int64)
    places = np.flatnonzero(dna.is_acgt(bases))
    if token_bases.sum() != len(places):
        raise ModelError(
            f"the tokenizer cannot spell this sequence: its tokens hold {token_bases.sum():,} of {len(places):,} "
            "bases; measure a model whose tokenizer has a token for each of A, C, G and T"
        )
    with_bases, without = np.zeros(len(bases)), np.zeros(len(bases))
    share = np.divide(token_bits, token_bases, out=np.zeros(len(token_bits)), where=token_bases > 0)
    with_bases[places] = np.repeat(share, token_bases)
    empty = np.flatnonzero(token_bases == 0)
    if empty.size:
        before = np.maximum(np.cumsum(token_bases)[empty] - 1, 0)
        place = places[before] if len(places) else np.zeros(len(empty), np.int64)
        np.add.at(without, place, token_bits[empty])
    return with_bases, without


class BlockBootstrap:
    """Resamples blocks of neighbouring cells (percentile bootstrap; Efron and Tibshirani 1993, ch. 8 and 13)."""

    def __init__(self, cell_bases: np.ndarray, samples: int, seed: int) -> None:
        """`cell_bases` [cells]: the length of each cell, in genome order."""
        ends = np.cumsum(cell_bases)
        bases = int(ends[-1]) if len(ends) else 0
        block_bases = max(1, min(BLOCK_BASES, bases // 20), -(-bases // MOST_BLOCKS))
        self._block = ((ends - cell_bases) // block_bases).astype(np.int64)
        _, self._block = np.unique(self._block, return_inverse=True)
        self.blocks = blocks = int(self._block.max()) + 1 if len(ends) else 0
        rng = np.random.default_rng(seed)
        self._weights = (
            rng.multinomial(blocks, np.full(blocks, 1 / blocks), size=samples) if blocks else np.ones((1, 0))
        )

    def _per_block(self, values: np.ndarray) -> np.ndarray:
        return np.bincount(self._block, weights=values)

    def ratios(self, bits: np.ndarray, bases: np.ndarray) -> np.ndarray:
        """Bits per base of each resample, float64 [samples]; a resample without a base is left out."""
        total_bases = self._weights @ self._per_block(bases)
        return (self._weights @ self._per_block(bits))[total_bases > 0] / total_bases[total_bases > 0]

    def estimate(self, bits: np.ndarray, bases: np.ndarray) -> Estimate | None:
        """The figure with its 95 % interval from bits and bases of each cell, or None where there is no base."""
        if not bases.sum():
            return None
        low, high = np.quantile(self.ratios(bits, bases), (0.025, 0.975))
        return Estimate(
            bits_per_base=bits.sum() / bases.sum(),
            low=low,
            high=high,
            bases=int(bases.sum()),
            blocks=int(np.count_nonzero(self._per_block(bases))),
        )
