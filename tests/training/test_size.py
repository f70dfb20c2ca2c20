"""The size of a model that a recipe leaves open: what weighs, what is refused, and that a run keeps what was chosen."""

import numpy as np
import pytest

from primase.corpus.prepare import prepare
from primase.models.build import configuration, count_parameters
from primase.models.presets import AUTO, SIZES
from primase.recipe import ModelSettings, Recipe
from primase.run_folder import RunFolder
from primase.tokenizers import kmer_tokenizer
from primase.training import size
from primase.training.forecast import excess_bits
from primase.training.plan import Reading
from primase.training.run import pretrain
from primase.training.size import sized_setup

PARAMETERS = [count_parameters(configuration(ModelSettings(preset=name), kmer_tokenizer(3))).total for name in SIZES]
SHORT = {"training.steps": 2, "training.minutes": None, "training.epochs": None, "data.window_bases": 1000}


@pytest.fixture(scope="module")
def genome(tmp_path_factory):
    file = tmp_path_factory.mktemp("size") / "g.fa"
    text = "".join(np.random.default_rng(0).choice(list("ACGT"), 500_000))
    file.write_text("".join(f">r{i}\n{text[i : i + 5000]}\n" for i in range(0, len(text), 5000)))
    return file


@pytest.fixture(scope="module")
def corpus(genome, tmp_path_factory):
    recipe = Recipe.load("default", SHORT)
    return prepare([genome], tmp_path_factory.mktemp("size") / "corpus", recipe)


def test_the_sizes_go_from_small_to_large():
    assert sorted(PARAMETERS) == PARAMETERS and PARAMETERS[0] < 120_000 and 1.7e6 < PARAMETERS[-1] < 1.9e6


def test_parameters_and_bases_both_take_off_the_excess():
    for parameters in PARAMETERS:
        assert excess_bits(2 * parameters, 1e7) < excess_bits(parameters, 1e7)
        assert excess_bits(parameters, 2e7) < excess_bits(parameters, 1e7) < excess_bits(parameters, 0) == float("inf")


@pytest.mark.parametrize(("bases_a_second", "chosen"), [(1e2, 0), (1e9, 2)])
def test_a_quick_machine_takes_a_larger_one_up_to_the_bases_there_are(corpus, monkeypatch, bases_a_second, chosen):
    """Half an hour of a machine whose time goes with the parameters."""
    by_size = dict(zip(SIZES, PARAMETERS, strict=True))

    def read(setup, processes):
        return Reading(1800 * bases_a_second * 1e6 / by_size[setup.recipe.model.preset], 100)

    monkeypatch.setattr(size, "time_reading", read)
    monkeypatch.setattr(type(corpus), "part_bases", lambda self, part: PARAMETERS[2] + 1)
    assert sized_setup(Recipe.load("default", SHORT), corpus).recipe.model.preset == SIZES[chosen]


@pytest.mark.parametrize(("seconds", "chosen"), [(100, 0), (1000, 1)])
def test_what_compiling_brings_goes_into_the_size(corpus, monkeypatch, seconds, chosen):
    """Twenty million bases of the smallest, ten times as many where it is compiled; the next is half as quick."""
    timed = []

    def read(setup, processes, is_compiled=False):
        place = SIZES.index(setup.recipe.model.preset)
        timed.append((place, is_compiled))
        return Reading(2e7 * (1 + is_compiled * 9) / 2**place / (1 if place < 2 else 1e3), seconds)

    monkeypatch.setattr(size, "time_reading", read)
    monkeypatch.setattr(size, "compiles", lambda setup, seconds: seconds > 240)
    monkeypatch.setattr(type(corpus), "part_bases", lambda self, part: PARAMETERS[-1])
    assert SIZES.index(sized_setup(Recipe.load("default", SHORT), corpus).recipe.model.preset) == chosen
    uncompiled = [(0, False), (1, False)]
    assert timed == uncompiled + [(0, True), (1, True), (2, True)] * chosen


def test_a_model_that_is_named_is_kept(corpus):
    recipe = Recipe.load("default", SHORT | {"model.preset": "mistral-small"})
    assert sized_setup(recipe, corpus).recipe == recipe


def test_the_run_says_what_was_chosen(genome, tmp_path):
    recipe = Recipe.load("default", SHORT)
    assert recipe.model.preset == AUTO
    run = RunFolder(pretrain(genome, tmp_path / "run", recipe).run)
    assert run.recipe().model.preset in SIZES
    assert recipe.resolved_like(run.recipe()).model == run.recipe().model
