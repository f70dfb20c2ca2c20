"""Bits per base: denominators, classes, intervals, on models whose figure is known by heart."""

import re

import numpy as np
import pytest

from primase.evaluation.bits_per_base import BlockBootstrap, window_bits
from primase.evaluation.evaluate import _ranges, _verdict
from primase.results import Estimate, Rival
from primase.scoring import WindowScore, score_windows
from tests.models import uniform_model


def ascii_bases(text: str) -> np.ndarray:
    return np.frombuffer(text.encode(), np.uint8)


@pytest.mark.parametrize("k", [1, 2, 3])
def test_uniform_guessing_costs_log2_of_the_vocabulary_a_token(k):
    loaded = uniform_model(k)
    windows = [ascii_bases("ACGTAC" * 10)] * 3
    bits = window_bits(windows, score_windows(loaded, windows), loaded.encoder.bases_per_token)
    expected = np.log2(len(loaded.tokenizer)) / k
    assert bits.bits.sum() / bits.bases.sum() == pytest.approx(expected, rel=1e-6)


def test_tokens_without_a_base_cost_bits_and_add_no_base():
    loaded = uniform_model()
    windows = [ascii_bases("ACGTNNNNAC")]
    bits = window_bits(windows, score_windows(loaded, windows), loaded.encoder.bases_per_token)
    assert bits.bases.tolist() == [6]
    assert bits.bits[0] == pytest.approx(10 * np.log2(len(loaded.tokenizer)), rel=1e-6)


def test_a_token_across_the_edge_of_a_repeat_is_shared_by_its_bases():
    score = WindowScore(ids=np.array([0, 1, 2]), nats=np.log(2) * np.array([3.0, 6.0, 9.0]))
    bases_per_token = np.array([3, 3, 3])
    bits = window_bits([ascii_bases("ACGTacgtA")], [score], bases_per_token)
    assert bits.repeat_bases.tolist() == [4]
    assert bits.repeat_bits[0] == pytest.approx(6 * 2 / 3 + 9 * 2 / 3)
    outside_bits, outside_bases = bits.non_repeat()
    assert outside_bits[0] == pytest.approx(18 - bits.repeat_bits[0]) and outside_bases.tolist() == [5]


def test_n_between_tokens_does_not_shift_the_classes():
    score = WindowScore(ids=np.array([0, 1, 0]), nats=np.log(2) * np.array([1.0, 5.0, 2.0]))
    bits = window_bits([ascii_bases("ACNgt")], [score], np.array([2, 0]))
    assert bits.repeat_bits[0] == pytest.approx(2.0) and bits.repeat_bases.tolist() == [2]


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    covered = 0
    for trial in range(200):
        bases = np.full(100, 10_000.0)
        bits = bases * rng.normal(1.9, 0.1, 100)
        estimate = BlockBootstrap(bases, 300, seed=trial).estimate(bits, bases)
        covered += estimate.low <= 1.9 <= estimate.high
    assert 0.88 <= covered / 200 <= 0.99


def test_neighbouring_windows_are_resampled_together():
    """Fifty copies of each of 40 blocks: taken as independent, they would make the interval seven times too narrow."""
    rng = np.random.default_rng(0)
    bases = np.full(2000, 200.0)
    bits = bases * np.repeat(rng.normal(1.9, 0.1, 40), 50)
    estimate = BlockBootstrap(bases, 500, seed=0).estimate(bits, bases)
    assert estimate.high - estimate.low == pytest.approx(2 * 1.96 * 0.1 / np.sqrt(40), rel=0.3)


def test_a_class_without_bases_has_no_estimate():
    assert BlockBootstrap(np.array([100.0]), 10, 0).estimate(np.zeros(1), np.zeros(1)) is None


def test_orders_are_told_as_ranges():
    assert _ranges([0, 1, 2, 5, 11, 12]) == "order 0-2 and 5 and 11-12"


@pytest.mark.parametrize(
    ("model_bits", "expected"),
    [
        (1.80, "beats all Markov models of order 0 to 2, the best of them by 50.0 millibits a base"),
        (
            1.88,
            "does not beat counting: the best Markov model is better by 30.0 millibits a base .*; it beats order 0-1",
        ),
        (1.99, "does not beat counting: .* it beats no order"),
    ],
)
def test_the_verdict_says_who_wins_and_by_how_much(model_bits, expected):
    by_order = np.array([1.98, 1.9, 1.85])
    advantage = 1000 * (1.85 - model_bits)
    rival = Rival(
        name="Markov", bits_per_base=1.85, model_advantage_millibits=advantage, low=advantage - 1, high=advantage + 1
    )
    headline = Estimate(bits_per_base=model_bits, low=model_bits, high=model_bits, bases=1000)
    assert re.match(expected, _verdict(headline, rival, by_order, blocks=40))
    assert "from 3 stretches of the genome, too few" in _verdict(headline, rival, by_order, blocks=3)
