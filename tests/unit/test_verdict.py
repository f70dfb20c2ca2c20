"""The verdict: who wins, by how much, and whether it is certain."""

import re

import numpy as np
import pytest

from primase.evaluation.verdict import ranges, verdict
from primase.results import Ensemble, Estimate, Rival


def rival(kind: str, bits_per_base: float, model_bits: float, half_width: float = 1.0) -> Rival:
    advantage = 1000 * (bits_per_base - model_bits)
    return Rival(
        kind=kind,
        name=kind,
        bits_per_base=bits_per_base,
        model_advantage_millibits=advantage,
        low=advantage - half_width,
        high=advantage + half_width,
    )


def said(model_bits: float, *, copying=None, together=None, orders=(1.98, 1.9, 1.85), blocks: int = 40) -> str:
    rivals = [rival("uniform", 2.0, model_bits)]
    if orders:
        rivals.append(rival("markov", min(orders), model_bits))
    if copying:
        rivals.append(rival("copy-mixture", copying, model_bits, half_width=100.0))
    ensembles = [
        Ensemble(
            kind=kind, name=kind, figure=estimate(bits), rivals=[rival("model", 2.0, bits), rival(other, copying, bits)]
        )
        for kind, other, bits in [("frames", "copy-mixture", 1.7), ("with-copy-mixture", "copy-mixture", together)]
        if together
    ]
    return verdict(estimate(model_bits), rivals, np.array(orders) if orders else None, blocks, ensembles)


def estimate(bits: float) -> Estimate:
    return Estimate(bits_per_base=bits, low=bits, high=bits, bases=1000)


@pytest.mark.parametrize(
    ("model_bits", "expected"),
    [
        (
            1.80,
            r"beats all Markov models of order 0 to 2, the best of them \(order 2\) by 50.0 millibits a base \(.*excl",
        ),
        (
            1.88,
            r"does not beat counting: the best .*is better by 30.0 millibits a base .*; it beats order 0-1",
        ),
        (1.99, "does not beat counting: .* it beats no order"),
    ],
)
def test_the_verdict_says_who_wins_and_by_how_much(model_bits, expected):
    assert re.match(expected, said(model_bits))
    assert "from 3 stretches of the genome, too few" in said(model_bits, blocks=3)


def test_the_copy_mixture_is_told_apart_from_counting():
    both = said(1.80, copying=1.75)
    assert both.startswith("beats all Markov models")
    assert both.endswith(
        "; does not beat the copy mixture, which is better by 50.0 millibits a base (the interval includes zero)"
    )
    assert "; beats the copy mixture by 100.0 millibits" in said(1.70, copying=1.8)


def test_what_the_model_adds_to_the_copy_mixture():
    assert said(1.80, copying=1.75, together=1.72).endswith(
        "; with the copy mixture it reaches 1.7200, better than that mixture by 30.0 millibits a base (the interval "
        "excludes zero)"
    )
    assert "it reaches 1.7600, worse than that mixture by 10.0 millibits" in said(1.80, copying=1.75, together=1.76)


def test_without_anything_to_count_on():
    assert said(1.9, orders=()) == "beats uniform guessing by 100.0 millibits a base (the interval excludes zero)"
    assert said(2.1, orders=()).startswith("does not beat uniform guessing, which is better by 100.0")
    assert said(1.9, orders=(), copying=1.8).startswith("does not beat the copy mixture")


def test_orders_are_told_as_ranges():
    assert ranges([0, 1, 2, 5, 11, 12]) == "order 0-2 and 5 and 11-12"


def test_worse_than_guessing_is_said():
    assert said(2.02).endswith("; it is worse than guessing") and "guessing" not in said(1.99)
    assert said(2.1, orders=(), copying=1.95).endswith("; it is worse than guessing")
    assert said(2.1, orders=()).count("guessing") == 1
