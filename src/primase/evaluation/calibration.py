"""Whether a model's confidence is worth its word: of tokens that are given 70 %, 7 in 10 should come true.

Reliability diagram and expected calibration error of Guo et al. 2017, On Calibration of Modern Neural Networks.
"""

import numpy as np

from primase.results import CalibrationBin

BINS = 15
"""As in Guo et al. 2017."""

ROUNDING = 1e-4
"""How far a softmax may overshoot 1 without being wrong."""


class Calibration:
    """Tokens by the probability of the likeliest token, in 15 bins of equal width; bin i is i/15 < p <= (i + 1)/15."""

    def __init__(self) -> None:
        self._edges = np.arange(1, BINS) / BINS
        self._tokens = np.zeros(BINS, np.int64)
        self._confidence = np.zeros(BINS)
        self._correct = np.zeros(BINS)

    def add(self, confidence: np.ndarray, correct: np.ndarray) -> None:
        """Take in a batch of any size.

        `confidence`, float [tokens], is the probability of the likeliest token, and `correct`, bool [tokens], whether
        it was the one that came. Raises ValueError where the shapes differ, or a probability is not from 0 to 1.
        """
        confidence, correct = np.asarray(confidence, np.float64), np.asarray(correct, bool)
        if confidence.ndim != 1 or confidence.shape != correct.shape:
            raise ValueError(f"confidence and correct must be [tokens] each, not {confidence.shape}, {correct.shape}")
        if not ((confidence >= -ROUNDING) & (confidence <= 1 + ROUNDING)).all():
            raise ValueError("confidence must be a probability, 0 to 1")
        confidence = confidence.clip(0, 1)
        bin_of = np.searchsorted(self._edges, confidence, side="left")
        self._tokens += np.bincount(bin_of, minlength=BINS)
        self._confidence += np.bincount(bin_of, confidence, BINS)
        self._correct += np.bincount(bin_of, correct, BINS)

    def bins(self) -> list[CalibrationBin]:
        """The bins that hold a token, by rising confidence."""
        return [
            CalibrationBin(tokens=tokens, mean_confidence=confidence / tokens, accuracy=correct / tokens)
            for tokens, confidence, correct in zip(
                self._tokens.tolist(), self._confidence.tolist(), self._correct.tolist(), strict=True
            )
            if tokens
        ]

    def error(self) -> float:
        """Expected calibration error, 0 to 1: distance of confidence and accuracy, averaged over tokens bin by bin.

        Raises ValueError where no token was added.
        """
        tokens = self._tokens.sum()
        if not tokens:
            raise ValueError("no token was added")
        return float(np.abs(self._confidence - self._correct).sum() / tokens)
