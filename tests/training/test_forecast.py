"""The forecast of a run: its counting against a dictionary, whom it is for, and what is said at the end."""

from collections import Counter
from math import log2
from types import SimpleNamespace

import numpy as np
import pytest

from primase.cli.plan import print_plan
from primase.cli.pretrain import _print_end
from primase.corpus import kmer_spectrum
from primase.corpus.prepare import prepare
from primase.dna import reverse_complement
from primase.models.build import count_parameters
from primase.recipe import Recipe
from primase.training import forecast as module
from primase.training.forecast import ORDER, Forecast, counted_bits_per_base, excess_bits, forecast, is_fitted
from primase.training.plan import plan_training
from primase.training.run import PretrainingResult, _forecast, pretrain
from primase.training.training_setup import TrainingSetup


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("forecast")
    rng = np.random.default_rng(0)
    unit = "".join(rng.choice(list("ACGT"), 900))
    texts = {f"r{i}": unit[100 * i :] + "N" + "".join(rng.choice(list("acgt"), 600)) for i in range(6)}
    (folder / "g.fa").write_text("".join(f">{name}\n{text}\n" for name, text in texts.items()))
    recipe = Recipe.load("default", {"data.window_bases": 300, "split.strategy": "random"})
    return prepare([folder / "g.fa"], folder / "corpus", recipe), recipe


@pytest.fixture(autouse=True)
def _small_genomes(monkeypatch):
    monkeypatch.setattr(module, "SMALLEST_FITTED_BASES", 100)


def test_counting_is_that_of_a_dictionary(corpus):
    corpus, recipe = corpus
    after: dict[str, Counter] = {}
    for stretch in corpus.iterate_stretches(corpus.part("train")):
        for strand in (stretch, reverse_complement(stretch)):
            text = strand.tobytes().decode().upper()
            for i in range(ORDER, len(text)):
                after.setdefault(text[i - ORDER : i], Counter())[text[i]] += 1
    bits, bases = 0.0, 0
    for window in corpus.iterate(corpus.part("validation")):
        text = window.tobytes().decode().upper()
        for i in range(ORDER, len(text)):
            if "N" not in text[i - ORDER : i + 1]:
                counts = after.get(text[i - ORDER : i], Counter())
                bits -= log2((counts[text[i]] + 0.5) / (sum(counts[base] for base in "ACGT") + 2))
                bases += 1
    assert bases > 250
    assert counted_bits_per_base(corpus, recipe) == pytest.approx(bits / bases)


def test_pieces_change_nothing_and_no_word_is_no_forecast(corpus, tmp_path, monkeypatch):
    corpus, recipe = corpus
    whole = counted_bits_per_base(corpus, recipe)
    monkeypatch.setattr(kmer_spectrum, "PIECE_BASES", 50)
    assert counted_bits_per_base(corpus, recipe) == whole
    assert forecast(recipe, corpus, 100_000, 0) is None
    (tmp_path / "g.fa").write_text("".join(f">r{i}\nACGTA\n" for i in range(40)))
    short = Recipe.load("default", {"data.window_bases": 5, "split.strategy": "random"})
    assert forecast(short, prepare([tmp_path / "g.fa"], tmp_path / "corpus", short), 100_000, 1e6) is None


def test_it_is_for_the_recipe_that_was_fitted_however_long_it_runs():
    fitted = module.FITTED_RECIPE
    assert is_fitted(Recipe.load(fitted, {"training.minutes": 60, "seed": 3, "split.heldout_records": ["IV"]}))
    assert is_fitted(Recipe.load(fitted, {"model.preset": "qwen3-tiny"}))
    assert is_fitted(Recipe.load(fitted, {"training.steps": 9, "training.minutes": None, "training.precision": "fp32"}))
    for change in ({"tokenizer.k": 2}, {"training.muon_learning_rate": 0.01}, {"model.preset": "mistral-small"}):
        assert not is_fitted(Recipe.load(fitted, change))


def test_more_bases_lower_it_and_another_recipe_has_none(corpus):
    corpus, recipe = corpus
    one, two = (forecast(recipe, corpus, 100_000, bases) for bases in (1e7, 2e7))
    gained = excess_bits(100_000, 1e7) - excess_bits(100_000, 2e7)
    assert one.bits_per_base - two.bits_per_base == pytest.approx(gained) and gained > 0
    expected = counted_bits_per_base(corpus, recipe) - module.GAIN_BITS + excess_bits(100_000, 1e7)
    assert one.bits_per_base == pytest.approx(expected)
    assert module.GAIN_BITS > 0 and one.error_bits == module.ERROR_BITS > 0
    assert forecast(Recipe.load("default", {"tokenizer.k": 2}), corpus, 100_000, 1e7) is None


def test_none_for_a_smaller_genome_than_it_was_fitted_to(corpus, monkeypatch, capsys):
    corpus, recipe = corpus
    monkeypatch.setattr(module, "SMALLEST_FITTED_BASES", corpus.part_bases("train") + 1)
    assert forecast(recipe, corpus, 100_000, 1e7) is None
    recipe = recipe.replace({"model.preset": "qwen3-nano", "training.steps": 1, "training.compile": "no"})
    print_plan(plan_training(TrainingSetup.open(recipe, corpus)))
    of_train = f"{corpus.part_bases('train') + 1:,}"
    assert f"  forecast        none: it was fitted to training parts of {of_train} bases" in capsys.readouterr().out
    other = plan_training(TrainingSetup.open(recipe.replace({"training.beta2": 0.9}), corpus))
    assert (other.forecast, other.no_forecast) == (None, "fitted to runs of recipe default alone")


def test_the_plan_and_the_run_forecast_the_same(corpus, tmp_path, capsys):
    corpus, recipe = corpus
    changes = {"model.preset": "qwen3-nano", "training.steps": 4, "training.minutes": None, "training.epochs": None}
    recipe = recipe.replace(changes | {"training.evaluate_every": 2, "training.compile": "no"})
    setup = TrainingSetup.open(recipe, corpus)
    plan = plan_training(setup)
    expected = forecast(recipe, corpus, count_parameters(setup.config).total, 3 * plan.tokens)
    assert plan.forecast.bits_per_base == pytest.approx(expected.bits_per_base, abs=1e-3)  # N is read, and is no base
    print_plan(plan)
    assert f"  forecast        {plan.forecast} on the validation part" in capsys.readouterr().out
    result = pretrain(corpus.folder, tmp_path / "run", recipe)
    # Rows of so small a genome are of unlike length, and four steps read more or less than the mean.
    assert result.forecast.bits_per_base == pytest.approx(plan.forecast.bits_per_base, abs=5e-3)
    shortened = SimpleNamespace(progress=SimpleNamespace(bases=10_000), state=SimpleNamespace(global_step=2))
    parameters = count_parameters(setup.config).total
    assert _forecast(setup, shortened) == forecast(recipe, corpus, parameters, 20_000), "as the run began"


def test_the_run_says_how_far_it_was_off(tmp_path, capsys):
    result = PretrainingResult(tmp_path, 5, 5, 5, 1.8842, None, (), Forecast(1.871, 0.02), ("future",))
    _print_end(result)
    assert "The forecast was 1.871 bits per base, give or take 0.020: 0.0132 too low." in capsys.readouterr().out
