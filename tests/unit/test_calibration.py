"""Calibration: bins and error against a brute force, and against predictors whose calibration is known by heart."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from primase.evaluation.calibration import BINS, Calibration

PROBABILITIES = st.one_of(st.floats(0, 1, width=32), st.integers(0, BINS).map(lambda edge: edge / BINS))


def calibration_of(confidence, correct, batches=1) -> Calibration:
    calibration = Calibration()
    for part in np.array_split(np.arange(len(confidence)), batches):
        calibration.add(np.asarray(confidence)[part], np.asarray(correct, bool)[part])
    return calibration


def brute_force(confidence, correct):
    """(tokens, mean confidence, accuracy) of each bin that is not empty, and the error, token by token."""
    bins = []
    for edge in range(BINS):
        low, high = edge / BINS, (edge + 1) / BINS
        inside = [(p, c) for p, c in zip(confidence, correct, strict=True) if low < p <= high or p == low == 0]
        if inside:
            bins.append((len(inside), sum(p for p, _ in inside) / len(inside), sum(c for _, c in inside) / len(inside)))
    error = sum(tokens * abs(mean - accuracy) for tokens, mean, accuracy in bins) / len(confidence)
    return bins, error


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(PROBABILITIES, st.booleans()), min_size=1, max_size=60), st.integers(1, 5))
def test_bins_and_error_agree_with_brute_force_however_they_are_batched(tokens, batches):
    confidence, correct = zip(*tokens, strict=True)
    calibration = calibration_of(confidence, correct, batches)
    bins, error = brute_force(confidence, correct)
    found = [(bin_.tokens, bin_.mean_confidence, bin_.accuracy) for bin_ in calibration.bins()]
    assert np.allclose(found, bins, rtol=0, atol=1e-12)
    assert calibration.error() == pytest.approx(error, abs=1e-12)


def test_an_answer_known_by_heart():
    calibration = calibration_of([0.7, 0.7, 0.7, 0.7, 0.95, 0.95], [True, True, True, False, True, False])
    assert [(bin_.tokens, bin_.accuracy) for bin_ in calibration.bins()] == [(4, 0.75), (2, 0.5)]
    assert calibration.error() == pytest.approx((4 * 0.05 + 2 * 0.45) / 6)


def test_a_predictor_that_means_what_it_says_has_almost_no_error():
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0.25, 1, 200_000)
    honest = calibration_of(confidence, rng.uniform(size=len(confidence)) < confidence, batches=7)
    assert honest.error() < 0.01
    assert len(honest.bins()) == 12 and sum(bin_.tokens for bin_ in honest.bins()) == len(confidence)


@pytest.mark.parametrize("boast", [0.1, 0.2])
def test_overconfidence_shows_as_it_is(boast):
    rng = np.random.default_rng(1)
    truth = rng.uniform(0.25, 0.8, 200_000)
    calibration = calibration_of(truth + boast, rng.uniform(size=len(truth)) < truth)
    assert calibration.error() == pytest.approx(boast, abs=0.01)
    assert all(bin_.mean_confidence > bin_.accuracy for bin_ in calibration.bins())


def test_certainty_has_a_bin_of_its_own_side_and_rounding_is_forgiven():
    calibration = calibration_of(np.array([1.0, 1.0000001, 0.0], np.float32), [True, True, False])
    assert [(bin_.tokens, bin_.mean_confidence) for bin_ in calibration.bins()] == [(1, 0.0), (2, 1.0)]
    assert calibration.error() == 0


@pytest.mark.parametrize("confidence", [[1.1], [-0.1], [float("nan")], [float("inf")]])
def test_what_is_no_probability_is_refused(confidence):
    with pytest.raises(ValueError, match="probability"):
        Calibration().add(np.array(confidence), np.array([True]))


def test_shapes_must_agree():
    with pytest.raises(ValueError, match="tokens"):
        Calibration().add(np.array([0.5, 0.5]), np.array([True]))
    with pytest.raises(ValueError, match="tokens"):
        Calibration().add(np.array([[0.5]]), np.array([[True]]))


def test_nothing_added_is_no_calibration():
    empty = Calibration()
    empty.add(np.array([]), np.array([], bool))
    assert empty.bins() == []
    with pytest.raises(ValueError, match="no token"):
        empty.error()
