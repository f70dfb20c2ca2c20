"""The whole measurement on a small simulated genome, each of its figures got a second time by another way."""

import json

import numpy as np
import pytest

from primase.corpus.prepare import prepare
from primase.dna import reverse_complement
from primase.evaluation.evaluate import evaluate_on_corpus
from primase.evaluation.markov import MarkovModels
from primase.recipe import Recipe
from primase.results import Evaluation
from primase.scoring import score_windows
from primase.simulate import read_simulation, simulate_to_file, simulation_file
from tests.models import TINY, tiny_model


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluate")
    genome = folder / "genome.fa"
    simulate_to_file(genome, bases=60_000, records=6)
    overrides = {
        "data.window_bases": 500,
        "split.heldout_records": ["sim2"],
        "evaluation.markov_max_order": 6,
        "evaluation.bootstrap_samples": 200,
        "model.settings": TINY,
    }
    recipe = Recipe.load("small", overrides)
    corpus = prepare([genome], folder / "corpus", recipe)
    loaded = tiny_model(k=3, context_tokens=64)
    source = read_simulation(simulation_file(genome))
    evaluation = evaluate_on_corpus(
        loaded, recipe, corpus, name="tiny", entropy=source.window_bits, max_bases=None, progress=lambda *_: None
    )
    return evaluation, loaded, corpus, source


def held_out(corpus) -> list[np.ndarray]:
    return list(corpus.iterate(corpus.part("heldout")))


def test_the_held_out_record_and_nothing_else_is_measured(measured):
    evaluation, _, corpus, _ = measured
    assert {corpus.place(int(window))[0] for window in corpus.part("heldout")} == {"sim2"}
    assert (evaluation.part, evaluation.split_strategy) == ("heldout", "records")
    assert evaluation.forward.bases == 10_000 and evaluation.windows == 20


def test_forward_and_reverse_figures_are_sums_of_token_nats(measured):
    evaluation, loaded, corpus, _ = measured
    windows = held_out(corpus)
    for estimate, texts in (
        (evaluation.forward, windows),
        (evaluation.reverse_complement, [reverse_complement(window) for window in windows]),
    ):
        nats = sum(score.nats.sum() for score in score_windows(loaded, texts))
        assert estimate.bits_per_base == pytest.approx(nats / np.log(2) / 10_000)
        assert estimate.low < estimate.bits_per_base < estimate.high
    mean = (evaluation.forward.bits_per_base + evaluation.reverse_complement.bits_per_base) / 2
    assert evaluation.both_strands_mean.bits_per_base == pytest.approx(mean)


def test_repeats_and_the_rest_make_up_the_whole(measured):
    evaluation = measured[0]
    parts = (evaluation.repeat, evaluation.non_repeat)
    bits = sum(part.bits_per_base * part.bases for part in parts)
    assert sum(part.bases for part in parts) == evaluation.forward.bases
    assert bits == pytest.approx(evaluation.forward.bits_per_base * evaluation.forward.bases)


def test_the_rivals_are_trained_on_the_training_part(measured):
    evaluation, _, corpus, source = measured
    markov = MarkovModels.fit(corpus.iterate(corpus.part("train")), max_order=6)
    expected = markov.score(held_out(corpus)).bits_per_base
    np.testing.assert_allclose(evaluation.markov_bits_per_base, expected)
    assert evaluation.best_markov_order == int(np.argmin(expected))
    truth = source.window_bits(held_out(corpus)).sum() / 10_000
    assert evaluation.true_entropy_bits_per_base == pytest.approx(truth)
    assert truth < min(expected) < 2.0


def test_each_advantage_is_the_difference_of_two_figures(measured):
    evaluation = measured[0]
    for rival in evaluation.rivals:
        difference = 1000 * (rival.bits_per_base - evaluation.forward.bits_per_base)
        assert rival.model_advantage_millibits == pytest.approx(difference)
        assert rival.low <= difference <= rival.high or rival.name == "untrained twin"


def test_the_file_reads_back(measured, tmp_path):
    evaluation = measured[0]
    evaluation.write(tmp_path / "evaluation.json")
    assert Evaluation.model_validate_json((tmp_path / "evaluation.json").read_text()) == evaluation
    assert json.loads((tmp_path / "evaluation.json").read_text())["schema_version"] == 1
