"""Which size a model has where the recipe leaves it open: the one that gets furthest in the time given.

A larger model learns more from as many bases, and reads fewer of them in the same time. How the two weigh was measured
(`primase.training.forecast`, docs/experiments.md); how many bases each size would read is timed on the machine at hand.
"""

from collections.abc import Callable
from functools import partial

from primase.corpus.store import Corpus
from primase.models.build import count_parameters
from primase.models.presets import AUTO, SIZES
from primase.recipe import Recipe
from primase.training.forecast import excess_bits
from primase.training.plan import Reading, compiles, time_reading
from primase.training.training_setup import TrainingSetup


def sized_setup(recipe: Recipe, corpus: Corpus, processes: int = 1) -> TrainingSetup:
    """`TrainingSetup.open`, with a preset of SIZES where the recipe says `auto`.

    A model of more parameters than training bases could learn them by heart: of those only the smallest is considered.
    Where layers are compiled, the size that is best without is compared with larger ones, all compiled.
    `processes` share the rows of a step. Raises RecipeError and ModelError as `TrainingSetup.open` does.
    """
    if recipe.model.preset != AUTO:
        return TrainingSetup.open(recipe, corpus)
    setups = [TrainingSetup.open(recipe.replace({"model.preset": preset}), corpus) for preset in SIZES]
    sizes = [setup for setup in setups if setup is setups[0] or _parameters(setup) <= corpus.part_bases("train")]
    best, reading = _least_excess(sizes, partial(time_reading, processes=processes))
    if compiles(sizes[best], reading.seconds):  # which takes time itself, and makes room for a larger one
        larger, _ = _least_excess(sizes[best:], partial(time_reading, processes=processes, is_compiled=True))
        best += larger
    return sizes[best]


def _parameters(setup: TrainingSetup) -> int:
    return count_parameters(setup.config).total


def _least_excess(sizes: list[TrainingSetup], read: Callable[[TrainingSetup], Reading]) -> tuple[int, Reading]:
    """Place of the best of `sizes`, from small to large, and how far it would get."""
    best, least = (0, read(sizes[0])), float("inf")
    for place, setup in enumerate(sizes):
        reading = read(setup) if place else best[1]
        excess = excess_bits(_parameters(setup), reading.bases)
        if excess >= least:
            break  # larger ones are slower still
        best, least = (place, reading), excess
    return best
