"""How size and reading weigh: the excess of `primase.training.forecast`, fitted to lines of `benchmarks.trials`.

    python -m benchmarks.size_fit trials.jsonl

Each line is a training of some size that read so many bases of one genome. Bits per base are taken to be a limit of the
genome, plus a power of the parameters, plus a power of the bases read, both the same for all genomes; the exponents are
searched on a grid, the rest is least squares.
"""

import argparse
import itertools
from pathlib import Path

import numpy as np

from benchmarks.trials import read
from primase.training.forecast import COUNTED_BASES

EXPONENTS = np.arange(0.05, 1.01, 0.05)


def fit(
    genomes: np.ndarray, parameters: np.ndarray, bases: np.ndarray, bits: np.ndarray
) -> tuple[np.ndarray, tuple[float, float], np.ndarray]:
    """The limits of the genomes in their order, and the two excesses; the exponents of parameters and of bases; what
    the law gives for each trial. `genomes` [trials] are their names. Raises SystemExit where neither excess helps."""
    best = None
    limits = (genomes[:, None] == np.unique(genomes)).astype(float)
    for of_parameters, of_bases in itertools.product(EXPONENTS, EXPONENTS):
        terms = [(parameters / 1e6) ** -of_parameters, (bases / COUNTED_BASES) ** -of_bases]
        matrix = np.column_stack([limits, *terms])
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
    settings = parser.parse_args()
    trials = read(settings.trials)
    genomes = np.array([trial["genome"] for trial in trials])
    constants = len(np.unique(genomes)) + 4
    if len(trials) <= constants:
        raise SystemExit(f"{settings.trials}: {len(trials)} trials; {constants} constants want more")
    columns = ("parameters", "bases", "bits_per_base")
    parameters, bases, bits = (np.array([trial[name] for trial in trials], float) for name in columns)
    weights, exponents, expected = fit(genomes, parameters, bases, bits)
    print("| genome | parameters | bases read | seconds | bits per base | the law | off by |")
    print("|---|---|---|---|---|---|---|")
    for place in np.lexsort((bases, parameters, genomes)):
        trial, law = trials[place], expected[place]
        print(
            f"| {trial['genome']} | {trial['parameters']:,} | {trial['bases']:,} | {trial['seconds']:,.0f} "
            f"| {trial['bits_per_base']:.4f} | {law:.4f} | {trial['bits_per_base'] - law:+.4f} |"
        )
    for genome, limit in zip(np.unique(genomes), weights, strict=False):
        print(f"limit of {genome}: {limit:.4f} bits per base")
    print(f"PARAMETERS_EXCESS_BITS = {weights[-2]:.4f}\nPARAMETERS_EXPONENT = {exponents[0]:.2f}")
    print(f"BASES_EXCESS_BITS = {weights[-1]:.4f}\nBASES_EXPONENT = {exponents[1]:.2f}")


if __name__ == "__main__":
    main()
