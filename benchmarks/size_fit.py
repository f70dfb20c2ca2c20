"""How size and reading weigh: the excess of `primase.training.forecast`, fitted to lines of `benchmarks.trials`.

    python -m benchmarks.size_fit trials.jsonl [--genome yeast]

Each line is a training of some size that read so many bases of one genome. Bits per base are taken to be a limit, plus
a power of the parameters, plus a power of the bases read; the exponents are searched on a grid, the rest is least
squares.
"""

import argparse
import itertools
from pathlib import Path

import numpy as np

from benchmarks.trials import read
from primase.training.forecast import COUNTED_BASES

EXPONENTS = np.arange(0.1, 1.01, 0.05)


def fit(
    parameters: np.ndarray, bases: np.ndarray, bits: np.ndarray
) -> tuple[np.ndarray, tuple[float, float], np.ndarray]:
    """The limit and the two excesses; the exponents of parameters and of bases; what the law gives for each trial."""
    best = None
    for of_parameters, of_bases in itertools.product(EXPONENTS, EXPONENTS):
        terms = [np.ones_like(bits), (parameters / 1e6) ** -of_parameters, (bases / COUNTED_BASES) ** -of_bases]
        matrix = np.stack(terms, axis=1)
        weights = np.linalg.lstsq(matrix, bits, rcond=None)[0]
        error = float(np.square(matrix @ weights - bits).sum())
        if weights.min() > 0 and (best is None or error < best[0]):
            best = error, weights, (float(of_parameters), float(of_bases)), matrix @ weights
    if best is None:
        raise SystemExit("no such law: neither size nor reading helps in these trials; give more of them")
    return best[1:]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trials", type=Path)
    parser.add_argument("--genome", default="yeast")
    settings = parser.parse_args()
    trials = [trial for trial in read(settings.trials) if trial["genome"] == settings.genome]
    if len(trials) < 6:
        raise SystemExit(
            f"{settings.trials}: {len(trials)} trials of {settings.genome}; five constants want six or more"
        )
    columns = ("parameters", "bases", "bits_per_base")
    parameters, bases, bits = (np.array([trial[name] for trial in trials], float) for name in columns)
    weights, exponents, expected = fit(parameters, bases, bits)
    print("| parameters | bases read | seconds | bits per base | the law | off by |")
    print("|---|---|---|---|---|---|")
    for place in np.lexsort((bases, parameters)):
        trial, law = trials[place], expected[place]
        print(
            f"| {trial['parameters']:,} | {trial['bases']:,} | {trial['seconds']:,.0f} | {trial['bits_per_base']:.4f} "
            f"| {law:.4f} | {trial['bits_per_base'] - law:+.4f} |"
        )
    print(f"\nlimit of {settings.genome}: {weights[0]:.4f} bits per base")
    print(f"PARAMETERS_EXCESS_BITS = {weights[1]:.4f}\nPARAMETERS_EXPONENT = {exponents[0]:.2f}")
    print(f"BASES_EXCESS_BITS = {weights[2]:.4f}\nBASES_EXPONENT = {exponents[1]:.2f}")


if __name__ == "__main__":
    main()
