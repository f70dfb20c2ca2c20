"""Bits per base: who pays for what, classes, intervals, on models whose figure is known by heart."""

import numpy as np
import pytest

from primase.errors import ModelError
from primase.evaluation.bits_per_base import BlockBootstrap, base_bits
from primase.scoring import WindowScore, score_windows
from tests.models import uniform_model


def ascii_bases(text: str) -> np.ndarray:
    return np.frombuffer(text.encode(), np.uint8)


def scored(ids: list[int], bits: list[float]) -> WindowScore:
    return WindowScore(np.array(ids), np.log(2) * np.array(bits), np.ones(len(ids)), np.ones(len(ids), bool))


@pytest.mark.parametrize("k", [1, 2, 3])
def test_uniform_guessing_costs_log2_of_the_vocabulary_a_token(k):
    loaded = uniform_model(k)
    windows = [ascii_bases("ACGTAC" * 10)] * 3
    for window, score in zip(windows, score_windows(loaded, windows), strict=True):
        bits, without = base_bits(window, score, loaded.encoder.bases_per_token)
        np.testing.assert_allclose(bits, np.log2(len(loaded.tokenizer)) / k, rtol=1e-6)
        assert not without.any()


def test_tokens_without_a_base_cost_bits_and_add_no_base():
    loaded = uniform_model()
    window = ascii_bases("ACGTNNNNAC")
    (score,) = score_windows(loaded, [window])
    bits, without = base_bits(window, score, loaded.encoder.bases_per_token)
    token = np.log2(len(loaded.tokenizer))
    np.testing.assert_allclose(bits, [token] * 4 + [0] * 4 + [token] * 2, rtol=1e-6)
    np.testing.assert_allclose(without, [0, 0, 0, 4 * token] + [0] * 6, rtol=1e-6)


def test_a_token_shares_its_bits_with_its_bases():
    bits, without = base_bits(ascii_bases("ACGTacgtA"), scored([0, 1, 2], [3.0, 6.0, 9.0]), np.array([3, 3, 3]))
    assert bits.tolist() == pytest.approx([1, 1, 1, 2, 2, 2, 3, 3, 3]) and not without.any()


def test_n_between_tokens_does_not_shift_the_places():
    bits, without = base_bits(ascii_bases("ACNgt"), scored([0, 1, 0], [1.0, 5.0, 2.0]), np.array([2, 0]))
    assert bits.tolist() == pytest.approx([0.5, 0.5, 0, 1, 1])
    assert without.tolist() == pytest.approx([0, 5, 0, 0, 0])


def test_a_stretch_without_bases_still_costs():
    bits, without = base_bits(ascii_bases("NN"), scored([0, 0], [1.0, 2.0]), np.array([0]))
    assert not bits.any() and without.sum() == pytest.approx(3)


def test_a_tokenizer_that_cannot_spell_the_bases_is_refused():
    with pytest.raises(ModelError, match="cannot spell this sequence: its tokens hold 2 of 4 bases"):
        base_bits(ascii_bases("ACGT"), scored([0, 1], [1.0, 5.0]), np.array([2, 0]))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_model_whose_probabilities_are_not_finite_is_refused(bad):
    with pytest.raises(ModelError, match="not finite"):
        base_bits(ascii_bases("ACGT"), scored([0, 0], [1.0, bad]), np.array([2]))


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


def test_a_class_in_few_places_has_no_interval():
    """Its resamples would all be alike, and look like certainty."""
    bootstrap, everywhere = BlockBootstrap(np.full(40, 10_000), 100, 0), np.full(40, 10_000.0)
    in_three = np.where(np.arange(40) % 15 == 0, 500.0, 0.0)
    assert bootstrap.estimate(1.9 * everywhere, everywhere).blocks == 40
    rare = bootstrap.estimate(1.9 * in_three, in_three)
    assert rare.blocks == 3 and not rare.has_interval
    assert bootstrap.estimate(1.9 * everywhere, everywhere).has_interval


def test_a_large_genome_takes_longer_blocks():
    """Weights of a block for every 10 kb of the human genome would take gigabytes."""
    assert BlockBootstrap(np.full(50_000, 10_000), 10, 0).blocks == 10_000
    assert BlockBootstrap(np.full(500, 10_000), 10, 0).blocks == 500
