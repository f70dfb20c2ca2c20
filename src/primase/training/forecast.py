"""What a run will reach, before it starts: a law fitted to finished runs, for the recipe that they were made with.

A genome that short words predict badly is hard for a network as well. So a network without bounds is taken to come to
what counting (order 6) reaches on the validation part, less a gain; and a run to stay above that by an excess, which
falls with its parameters and with the bases it reads, each by a power, as long as the other is not what lacks (in the
manner of Kaplan et al., 2020, "Scaling laws for neural language models", equation 1.5). `benchmarks.size_fit` makes the
constants of the excess from trials and runs, `benchmarks.forecast_fit` the gain and the error from runs.
"""

from dataclasses import dataclass

import numpy as np

from primase.corpus.kmer_spectrum import both_strands, kmer_counts
from primase.corpus.store import Corpus, draw_runs, draw_windows
from primase.models.presets import AUTO, SIZES
from primase.recipe import Recipe

ORDER = 6
COUNTED_BASES = 2**24
"""Of the training part; more would change the last digit."""
PSEUDOCOUNT = 0.5

FITTED_RECIPE = "default"
EXCESS_BITS = 0.1443
"""The scale of the excess, a mean of genomes: its part for BALANCED_PARAMETERS, and that for BALANCED_BASES read."""
BALANCED_PARAMETERS, BALANCED_BASES = 15_849, 2**24
PARAMETERS_EXPONENT, BASES_EXPONENT = 0.05, 0.10
"""The powers by which the two parts fall with more of each."""
SHARPNESS = 3
"""How far the larger of the two parts decides alone: 1 adds them up, infinity takes the larger."""
GAIN_BITS = 0.2259
ERROR_BITS = 0.0373
"""Largest error of the runs that the gain was fitted to, each forecast from those of the other genomes."""
SMALLEST_FITTED_BASES = 700_000
"""Of a training part; the smallest of those runs had 737,000. Of two phages a forecast was 63 millibits too high."""

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
    """Largest error of the runs that the gain was fitted to."""

    def __str__(self) -> str:
        return f"{self.bits_per_base:.3f} bits per base, give or take {self.error_bits:.3f}"


def excess_bits(parameters: int, bases_read: float) -> float:
    """Bits per base by which a run stays above what an unbounded one comes to; infinite where nothing is read."""
    if bases_read <= 0:
        return float("inf")
    of_parameters = (parameters / BALANCED_PARAMETERS) ** (-PARAMETERS_EXPONENT * SHARPNESS)
    of_bases = (bases_read / BALANCED_BASES) ** (-BASES_EXPONENT * SHARPNESS)
    return EXCESS_BITS * (of_parameters + of_bases) ** (1 / SHARPNESS)


def forecast(recipe: Recipe, corpus: Corpus, parameters: int, bases_read: float) -> Forecast | None:
    """`bases_read` counts a base at each reading. None where `why_none` says why, and where nothing is read."""
    if why_none(recipe, corpus) or bases_read <= 0:
        return None
    counted = counted_bits_per_base(corpus, recipe)
    if counted is None:
        return None
    return Forecast(counted - GAIN_BITS + excess_bits(parameters, bases_read), ERROR_BITS)


def why_none(recipe: Recipe, corpus: Corpus) -> str | None:
    """What about the recipe or the corpus is unlike all that the law was fitted to, in a few words; None if nothing."""
    if not is_fitted(recipe):
        return f"fitted to runs of recipe {FITTED_RECIPE} alone"
    if corpus.part_bases("train") < SMALLEST_FITTED_BASES:
        return f"fitted to training parts of {SMALLEST_FITTED_BASES:,} bases and more"
    return None


def is_fitted(recipe: Recipe) -> bool:
    """Whether the recipe is the fitted one but for the model's size, for how long it runs and on what."""
    fitted = Recipe.load(FITTED_RECIPE)
    ours, theirs = (one.training.model_dump(exclude=WITHOUT_EFFECT) for one in (recipe, fitted))
    is_of_family = recipe.model.preset in (AUTO, *SIZES)
    model = fitted.model.model_copy(update={"preset": recipe.model.preset})
    return is_of_family and (recipe.model, recipe.tokenizer, ours) == (model, fitted.tokenizer, theirs)


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
