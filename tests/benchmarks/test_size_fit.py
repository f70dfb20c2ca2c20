"""The law of size and reading, fitted to trials that follow one."""

import numpy as np
import pytest

from benchmarks.size_fit import fit
from primase.training.forecast import COUNTED_BASES


def test_a_law_of_two_genomes_is_found_again():
    genomes = np.array(["yeast"] * 7 + ["ecoli"] * 2)
    parameters = np.array([1e5, 1e5, 3e5, 3e5, 8e5, 8e5, 2e6, 1e5, 2e6])
    bases = np.array([2e6, 2e7, 1e6, 2e7, 1e6, 1e7, 3e6, 5e6, 5e6])
    limits = np.where(genomes == "yeast", 1.88, 1.84)
    bits = limits + 0.004 * (parameters / 1e6) ** -0.5 + 0.02 * (bases / COUNTED_BASES) ** -0.3
    weights, exponents, expected = fit(genomes, parameters, bases, bits)
    np.testing.assert_allclose(weights, [1.84, 1.88, 0.004, 0.02], rtol=1e-6)
    assert exponents == pytest.approx((0.5, 0.3))
    np.testing.assert_allclose(expected, bits)


def test_trials_in_which_more_is_worse_have_no_law():
    parameters, bases = np.array([1e5, 2e5, 4e5] * 2), np.repeat([1e6, 4e6], 3)
    with pytest.raises(SystemExit, match="no such law"):
        fit(np.array(["yeast"] * 6), parameters, bases, 1.9 + parameters / 1e7 + bases / 1e9)
