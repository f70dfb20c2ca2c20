"""What a run will reach, before it starts: a line fitted to finished runs, for the recipe that they were made with.

A genome that short words predict badly is hard for a network as well, and more bases read take millibits off. So the
forecast is what counting words of six bases reaches on the validation part,
less a gain that grows with the logarithm of the bases read. `python -m benchmarks.forecast_fit` makes the constants.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from primase import dna
from primase.corpus.store import Corpus, draw_runs, draw_windows
from primase.recipe import Recipe

ORDER = 6
COUNTED_BASES = 2**24
"""Of the training part; more would change the last digit."""
PSEUDOCOUNT = 0.5
PIECE_BASES = 2**20

FITTED_RECIPE = "default"
GAIN_BITS = 0.0615
"""Of a run that reads 2^24 bases."""
GAIN_BITS_A_DOUBLING = 0.0102
ERROR_BITS = 0.0397
"""Largest error of the four runs that it was fitted to, each forecast from those of the other genomes."""

DURATION = ("epochs", "steps", "minutes", "evaluate_every", "save_every", "log_every", "validation_bases", "patience")
NUMBERS = ("keep_best", "keep_checkpoints", "precision", "compile", "sharding", "report_to")
"""Settings of the training that leave what a step learns as it is."""


@dataclass(frozen=True)
class Forecast:
    """Bits per base of the validation part at the end of a run, as `PretrainingResult` gives them."""

    bits_per_base: float
    error_bits: float
    """Largest of the few runs that it was fitted to."""

    def __str__(self) -> str:
        return f"{self.bits_per_base:.3f} bits per base, give or take {self.error_bits:.3f}"


def forecast(recipe: Recipe, corpus: Corpus, bases_read: float) -> Forecast | None:
    """`bases_read` counts a base at each reading. None where no runs of such a recipe were fitted."""
    if not is_fitted(recipe) or bases_read <= 0:
        return None
    counted = counted_bits_per_base(corpus, recipe)
    if counted is None:
        return None
    gain = GAIN_BITS + GAIN_BITS_A_DOUBLING * np.log2(bases_read / COUNTED_BASES)
    return Forecast(float(counted - gain), ERROR_BITS)


def is_fitted(recipe: Recipe) -> bool:
    """Whether the recipe is the fitted one but for how long it runs and on what."""
    fitted = Recipe.load(FITTED_RECIPE)
    changeable = {*DURATION, *NUMBERS}
    return (recipe.model, recipe.tokenizer) == (fitted.model, fitted.tokenizer) and (
        recipe.training.model_dump(exclude=changeable) == fitted.training.model_dump(exclude=changeable)
    )


def counted_bits_per_base(corpus: Corpus, recipe: Recipe) -> float | None:
    """Of the validation windows that the training measures, under counts of both strands of the training part.

    None where they hold no word.
    """
    training = corpus.iterate_stretches(draw_runs(corpus, "train", COUNTED_BASES, recipe.seed))
    windows = draw_windows(corpus, "validation", recipe.training.validation_bases, recipe.seed)
    counts = _word_counts(training)
    both = (counts + counts[_reverse_complements(ORDER + 1)]).reshape(-1, 4) + PSEUDOCOUNT
    bits = -np.log2(both / both.sum(axis=1, keepdims=True)).reshape(-1)
    seen = _word_counts(corpus.iterate(windows))
    return float((bits * seen).sum() / seen.sum()) if seen.any() else None


def _word_counts(sequences: Iterable[np.ndarray]) -> np.ndarray:
    """Occurrences of each word of seven bases, int64 [4^7], first base most significant."""
    counts = np.zeros(4 ** (ORDER + 1), np.int64)
    pieces = (
        sequence[at : at + PIECE_BASES + ORDER] for sequence in sequences for at in range(0, len(sequence), PIECE_BASES)
    )
    for piece in pieces:
        codes = dna.codes(piece).astype(np.int64)
        places = len(codes) - ORDER
        if places <= 0:
            continue
        words, is_word = np.zeros(places, np.int64), np.ones(places, bool)
        for offset in range(ORDER + 1):
            base = codes[offset : offset + places]
            words, is_word = 4 * words + base, is_word & (base < dna.UNKNOWN_CODE)
        counts += np.bincount(words[is_word], minlength=len(counts))
    return counts


def _reverse_complements(bases: int) -> np.ndarray:
    """int64 [4^bases]: the number of each word's reverse complement."""
    words, reverse = np.arange(4**bases), np.zeros(4**bases, np.int64)
    for _ in range(bases):
        words, base = np.divmod(words, 4)
        reverse = 4 * reverse + 3 - base
    return reverse
