"""What a run will reach, before it starts: a line fitted to finished runs, for the recipe that they were made with.

A genome that short words predict badly is hard for a network as well, and more bases read take millibits off. So the
forecast is what counting (order 6) reaches on the validation part, less a gain that grows with the logarithm of the
bases read. `python -m benchmarks.forecast_fit` makes the constants.
"""

from dataclasses import dataclass

import numpy as np

from primase.corpus.kmer_spectrum import both_strands, kmer_counts
from primase.corpus.store import Corpus, draw_runs, draw_windows
from primase.recipe import Recipe

ORDER = 6
COUNTED_BASES = 2**24
"""Of the training part; more would change the last digit."""
PSEUDOCOUNT = 0.5

FITTED_RECIPE = "default"
GAIN_BITS = 0.0615
"""Of a run that reads 2^24 bases."""
GAIN_BITS_A_DOUBLING = 0.0102
ERROR_BITS = 0.0397
"""Largest error of the four runs that it was fitted to, each forecast from those of the other genomes."""

WITHOUT_EFFECT = {
    *("epochs", "steps", "minutes", "evaluate_every", "save_every", "log_every", "validation_bases", "patience"),
    *("keep_best", "keep_checkpoints", "precision", "compile", "sharding", "report_to"),
}
"""Settings of the training that leave what a step learns as it is: how long, how often measured, how computed."""


@dataclass(frozen=True)
class Forecast:
    """Bits per base of the validation part at the end of a run, as `PretrainingResult` gives them."""

    bits_per_base: float
    error_bits: float
    """Largest error of the runs that the line was fitted to."""

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
    ours, theirs = (one.training.model_dump(exclude=WITHOUT_EFFECT) for one in (recipe, fitted))
    return (recipe.model, recipe.tokenizer, ours) == (fitted.model, fitted.tokenizer, theirs)


def counted_bits_per_base(corpus: Corpus, recipe: Recipe) -> float | None:
    """Of the validation windows that the training measures, under counts of both strands of the training part.

    None where they hold no word.
    """
    training = corpus.iterate_stretches(draw_runs(corpus, "train", COUNTED_BASES, recipe.seed))
    windows = draw_windows(corpus, "validation", recipe.training.validation_bases, recipe.seed)
    counts = both_strands(kmer_counts(training, ORDER + 1)).reshape(-1, 4) + PSEUDOCOUNT
    bits = -np.log2(counts / counts.sum(axis=1, keepdims=True)).reshape(-1)
    seen = kmer_counts(corpus.iterate(windows), ORDER + 1)
    return float((bits * seen).sum() / seen.sum()) if seen.any() else None
