"""Surprisal, entropy and information of every base, anywhere on a strand of a genome, for tracks and pictures.

Each strand of a record is read in windows that the context has room for, each half a window farther than the one before
it, and giving the values of the half that the one before did not reach. So each base has at least half a window before
it (less at the record's begin), and its value depends neither on the stretch that is asked for nor on batch mates.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from primase import dna
from primase.base_predictions import predict_bases, surprisal
from primase.formats import Genome
from primase.scoring import LoadedModel

MOST_WINDOW_BASES = 1 << 13
QUANTITIES = ("surprisal", "entropy", "information")


def values_of(quantity: str, predictions: np.ndarray, bases: np.ndarray) -> np.ndarray:
    """float32 [bases] in bits of `predictions` [bases, 4]; NaN for letters other than A, C, G and T."""
    if quantity == "surprisal":
        return surprisal(predictions, bases)
    probabilities = np.maximum(predictions.astype(np.float64), 1e-38)
    entropy = -(probabilities * np.log2(probabilities)).sum(axis=1)
    return (entropy if quantity == "entropy" else 2 - entropy).astype(np.float32)


class BaseValues:
    """Values of a model's predictions, in bits.

    Attributes:
        window_bases: bases that are read at once; each base has at least half of them before it.
    """

    def __init__(self, loaded: LoadedModel, genome: Genome) -> None:
        # A k-mer model spells the last bases of a window, too few for a k-mer, with one token more.
        room = (loaded.row_tokens - 1) * loaded.least_bases_of_a_token
        self._loaded, self._genome = loaded, genome
        self._step = max(1, min(room, MOST_WINDOW_BASES) // 2)
        self.window_bases = 2 * self._step

    def values(self, record: str, strand: int, start: int, end: int, what: Sequence[str]) -> dict[str, np.ndarray]:
        """For each quantity float32 [end - start], on the forward strand (0) or, in its places, the reverse (1)."""
        length = self._genome.lengths[record]
        if strand:
            start, end = length - end, length - start
        windows = list(self._windows(length, start, end))
        texts = [self._bases(record, strand, begin, stop) for begin, _, stop in windows]
        values = {name: np.full(end - start, np.nan, np.float32) for name in what}
        for (begin, first, stop), text, predictions in zip(
            windows, texts, predict_bases(self._loaded, texts), strict=True
        ):
            low, high = max(first, start), min(stop, end)
            kept = slice(low - begin, high - begin)
            for name in what:
                values[name][low - start : high - start] = values_of(name, predictions[kept], text[kept])
        return {name: part[::-1] if strand else part for name, part in values.items()}

    def _windows(self, length: int, start: int, end: int) -> Iterator[tuple[int, int, int]]:
        """Begin of each window that gives values between `start` and `end`, first base that it gives, and its end."""
        for number in range(max(0, start // self._step - 1), max(1, -(-end // self._step) - 1)):
            begin = number * self._step
            yield begin, begin + self._step if number else 0, min(begin + self.window_bases, length)

    def _bases(self, record: str, strand: int, begin: int, end: int) -> np.ndarray:
        length = self._genome.lengths[record]
        if strand == 0:
            return self._genome.bases(record, begin, end)
        return dna.reverse_complement(self._genome.bases(record, length - end, length - begin))
