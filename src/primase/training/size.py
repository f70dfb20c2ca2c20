"""Which size a model has where the recipe leaves it open: the one that gets furthest in the time given.

A larger model learns more from as many bases, and reads fewer of them in the same time. How the two weigh was measured
(`primase.training.forecast`, docs/experiments.md); how many bases each size would read is timed on the machine at hand.
"""

from primase.corpus.store import Corpus
from primase.models.build import count_parameters
from primase.models.presets import AUTO, SIZES
from primase.recipe import Recipe
from primase.training.forecast import excess_bits
from primase.training.plan import bases_read
from primase.training.training_setup import TrainingSetup


def sized_setup(recipe: Recipe, corpus: Corpus, processes: int = 1) -> TrainingSetup:
    """`TrainingSetup.open`, with a preset of SIZES where the recipe says `auto`.

    A model of more parameters than training bases could learn them by heart: of those only the smallest is considered.
    `processes` share the rows of a step. Raises RecipeError and ModelError as `TrainingSetup.open` does.
    """
    if recipe.model.preset != AUTO:
        return TrainingSetup.open(recipe, corpus)
    best, least = None, float("inf")
    for preset in SIZES:
        setup = TrainingSetup.open(recipe.replace({"model.preset": preset}), corpus)
        parameters = count_parameters(setup.config).total
        if best is not None and parameters > corpus.part_bases("train"):
            break
        excess = excess_bits(parameters, bases_read(setup, processes))
        if best is not None and excess >= least:
            break  # larger ones are slower still
        best, least = setup, excess
    return best
