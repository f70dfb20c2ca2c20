"""Bits per base: total nats of the held-out text / ln 2 / number of A, C, G, T bases in it.

The denominator is the same for every tokenizer. Tokens that hold no base (ends, separators, N) cost bits and add no
base. Uniform guessing is 2.0. Intervals resample blocks of neighbouring windows, since neighbours resemble each other.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from primase import dna
from primase.results import Estimate
from primase.scoring import WindowScore

BLOCK_BASES = 10_000
"""Neighbouring windows are resampled together in blocks of about this length."""


@dataclass(frozen=True)
class WindowBits:
    """Bits and bases of each window, the sums that every estimate is made of. All arrays are float64 [windows]."""

    bits: np.ndarray
    bases: np.ndarray
    repeat_bits: np.ndarray
    repeat_bases: np.ndarray

    def non_repeat(self) -> tuple[np.ndarray, np.ndarray]:
        """Bits and bases of tokens outside repeats; tokens without a base belong to neither class."""
        return self.bits - self.repeat_bits, self.bases - self.repeat_bases


def window_bits(
    windows: Iterable[np.ndarray], scores: Iterable[WindowScore], bases_per_token: np.ndarray
) -> WindowBits:
    """Sum token nats to windows; a token that spans the edge of a repeat is shared by its bases."""
    rows = [_one_window(window, score, bases_per_token) for window, score in zip(windows, scores, strict=True)]
    return WindowBits(*np.asarray(rows, np.float64).reshape(-1, 4).T)


def _one_window(window: np.ndarray, score: WindowScore, bases_per_token: np.ndarray) -> tuple[float, ...]:
    bits = score.nats / math.log(2)
    is_acgt = dna.is_acgt(window)
    is_repeat = dna.is_soft_masked(window)[is_acgt]
    if not is_repeat.any():
        return bits.sum(), is_acgt.sum(), 0.0, 0.0
    token_bases = bases_per_token[score.ids].astype(np.int64)
    token_ends = np.minimum(np.cumsum(token_bases), len(is_repeat))
    repeats_before = np.r_[0, np.cumsum(is_repeat)]
    token_repeats = repeats_before[token_ends] - repeats_before[np.maximum(token_ends - token_bases, 0)]
    share = np.divide(token_repeats, token_bases, out=np.zeros(len(bits)), where=token_bases > 0)
    return bits.sum(), is_acgt.sum(), (bits * share).sum(), is_repeat.sum()


class BlockBootstrap:
    """Resamples blocks of neighbouring windows (percentile bootstrap; Efron and Tibshirani 1993, ch. 8 and 13)."""

    def __init__(self, window_bases: np.ndarray, samples: int, seed: int) -> None:
        """`window_bases` [windows]: the length of each window, in genome order."""
        ends = np.cumsum(window_bases)
        block_bases = min(BLOCK_BASES, max(1, int(ends[-1]) // 20)) if len(ends) else 1
        self._block = ((ends - window_bases) // block_bases).astype(np.int64)
        _, self._block = np.unique(self._block, return_inverse=True)
        self.blocks = blocks = int(self._block.max()) + 1 if len(ends) else 0
        rng = np.random.default_rng(seed)
        self._weights = (
            rng.multinomial(blocks, np.full(blocks, 1 / blocks), size=samples) if blocks else np.ones((1, 0))
        )

    def _per_block(self, values: np.ndarray) -> np.ndarray:
        return np.bincount(self._block, weights=values)

    def ratios(self, bits: np.ndarray, bases: np.ndarray) -> np.ndarray:
        """Bits per base of each resample, float64 [samples]."""
        total_bases = self._weights @ self._per_block(bases)
        return (self._weights @ self._per_block(bits)) / np.maximum(total_bases, 1)

    def estimate(self, bits: np.ndarray, bases: np.ndarray) -> Estimate | None:
        """The figure with its 95 % interval, or None where there is no base."""
        if not bases.sum():
            return None
        low, high = np.quantile(self.ratios(bits, bases), (0.025, 0.975))
        return Estimate(bits_per_base=bits.sum() / bases.sum(), low=low, high=high, bases=int(bases.sum()))
