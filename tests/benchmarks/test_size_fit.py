"""The law of size and reading, fitted to trials that follow one."""

import numpy as np
import pytest

from benchmarks.size_fit import BALANCES, fit
from primase.training.forecast import BALANCED_BASES


def test_a_law_of_two_genomes_is_found_again():
    genomes = np.array(["yeast"] * 7 + ["ecoli"] * 3)
    parameters = np.array([1e5, 1e5, 3e5, 3e5, 8e5, 8e5, 2e6, 1e5, 2e6, 2e6])
    bases = np.array([2e6, 2e7, 1e6, 2e7, 1e6, 1e7, 3e6, 5e6, 5e6, 3e7])
    limits, scales = np.where(genomes == "yeast", 1.88, 1.84), np.where(genomes == "yeast", 0.5, 2)
    excess = 0.02 * ((parameters / BALANCES[40]) ** (-0.15 * 3) + (bases / BALANCED_BASES) ** (-0.25 * 3)) ** (1 / 3)
    bits = limits + scales * excess
    law = fit(genomes, parameters, bases, bits)
    assert law.limits == pytest.approx({"ecoli": 1.84, "yeast": 1.88})
    assert law.scales == pytest.approx({"ecoli": 2, "yeast": 0.5})
    assert (law.excess_bits, law.balanced_parameters) == pytest.approx((0.02, BALANCES[40]))
    assert (law.parameters_exponent, law.bases_exponent, law.sharpness) == pytest.approx((0.15, 0.25, 3))
    np.testing.assert_allclose(law.expected, bits)


def test_trials_in_which_more_is_worse_have_no_law():
    parameters, bases = np.array([1e5, 2e5, 4e5] * 2), np.repeat([1e6, 4e6], 3)
    with pytest.raises(SystemExit, match="no such law"):
        fit(np.array(["yeast"] * 6), parameters, bases, 1.9 + parameters / 1e7 + bases / 1e9)
