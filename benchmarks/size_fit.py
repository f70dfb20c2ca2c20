"""How size and reading weigh: the excess of `primase.training.forecast`, fitted to trials and finished runs.

    python -m benchmarks.size_fit trials.jsonl [--run ecoli RUN ...]

Each line of `benchmarks.trials`, and each finished run, is a training of some size that read so many bases of one
genome and was measured on one validation part. Bits per base are taken to be a limit of the genome, plus the excess
times a scale of the genome; the excess is the same for all genomes, whose scales have the mean 1 (of their logarithms,
0). Its exponents, sharpness and balance are searched on a grid, the rest is least squares.
"""

import argparse
import itertools
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.forecast_fit import read_point
from benchmarks.trials import read
from primase.training.forecast import BALANCED_BASES

PARAMETERS_EXPONENTS = np.concatenate([[0.02], np.arange(0.05, 0.51, 0.05)])
BASES_EXPONENTS = np.arange(0.1, 0.61, 0.05)
SHARPNESSES = (1, 2, 3, 5, 8)
BALANCES = np.geomspace(1e3, 1e9, 121)
"""Parameters whose part of the excess is that of 2^24 bases read."""


@dataclass(frozen=True)
class Law:
    """bits = limit + scale * excess_bits * ((parameters / balance)^-ap + (bases / 2^24)^-bp)^(1/p)."""

    limits: dict[str, float]
    scales: dict[str, float]
    excess_bits: float
    balanced_parameters: float
    parameters_exponent: float
    bases_exponent: float
    sharpness: int
    expected: np.ndarray
    """float64 [trials]: what it gives for each."""


def fit(genomes: np.ndarray, parameters: np.ndarray, bases: np.ndarray, bits: np.ndarray) -> Law:
    """`genomes` [trials] are their names. Raises SystemExit where less of both is never worse."""
    names = np.unique(genomes)
    best, least = None, np.inf
    for a, b, p in itertools.product(PARAMETERS_EXPONENTS, BASES_EXPONENTS, SHARPNESSES):
        excess = ((parameters / BALANCES[:, None]) ** (-a * p) + (bases / BALANCED_BASES) ** (-b * p)) ** (1 / p)
        scales, expected = np.empty((len(BALANCES), len(names))), np.empty_like(excess)
        for place, name in enumerate(names):
            of_genome = genomes == name
            scales[:, place], expected[:, of_genome] = _lines(excess[:, of_genome], bits[of_genome])
        errors = np.where(scales.min(axis=1) > 0, np.square(expected - bits).sum(axis=1), np.inf)
        place = int(errors.argmin())
        if errors[place] < least:
            best, least = (a, b, p, BALANCES[place], scales[place], excess[place], expected[place]), errors[place]
    if best is None:
        raise SystemExit("no such law: neither size nor reading helps in these trials; give more of them")
    a, b, p, balance, scales, excess, expected = best
    limits = [(expected - scale * excess)[genomes == name][0] for name, scale in zip(names, scales, strict=True)]
    unit = float(np.exp(np.log(scales).mean()))
    return Law(
        limits=dict(zip(names.tolist(), map(float, limits), strict=True)),
        scales=dict(zip(names.tolist(), (scales / unit).tolist(), strict=True)),
        excess_bits=unit,
        balanced_parameters=float(balance),
        parameters_exponent=float(a),
        bases_exponent=float(b),
        sharpness=p,
        expected=expected,
    )


def _lines(excess: np.ndarray, bits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Least squares of `bits` [trials] on each row of `excess` [laws, trials]: slopes, and what they give."""
    off = excess - excess.mean(axis=1, keepdims=True)
    slopes = off @ (bits - bits.mean()) / np.square(off).sum(axis=1)
    return slopes, bits.mean() + slopes[:, None] * off


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trials", type=Path)
    parser.add_argument("--run", nargs=2, action="append", default=[], metavar=("GENOME", "RUN"))
    settings = parser.parse_args()
    points = [
        (trial["genome"], trial["parameters"], trial["bases"], trial["bits_per_base"])
        for trial in read(settings.trials)
    ]
    for genome, folder in settings.run:
        run = read_point(Path(folder))
        points.append((genome, run.parameters, run.bases, run.reached))
    genomes, *columns = map(np.array, zip(*sorted(points), strict=True))
    constants = 4 + 2 * len(np.unique(genomes))
    if len(points) <= constants or np.unique(genomes, return_counts=True)[1].min() < 2:
        raise SystemExit(f"{len(points)} points for {constants} constants; give more, two or more of each genome")
    law = fit(genomes, *columns)
    print("| genome | parameters | bases read | bits per base | the law | off by (millibits) |")
    print("|---|---|---|---|---|---|")
    for (genome, parameters, bases, bits), expected in zip(sorted(points), law.expected, strict=True):
        print(
            f"| {genome} | {parameters:,} | {bases:,} | {bits:.4f} | {expected:.4f} | {1e3 * (bits - expected):+.1f} |"
        )
    for genome, limit in law.limits.items():
        print(f"{genome}: limit {limit:.4f} bits per base, scale {law.scales[genome]:.3f}")
    print(f"EXCESS_BITS = {law.excess_bits:.4f}\nBALANCED_PARAMETERS = {law.balanced_parameters:_.0f}")
    print(f"PARAMETERS_EXPONENT, BASES_EXPONENT = {law.parameters_exponent:.2f}, {law.bases_exponent:.2f}")
    print(f"SHARPNESS = {law.sharpness}")


if __name__ == "__main__":
    main()
