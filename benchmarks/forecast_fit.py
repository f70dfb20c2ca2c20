"""The line behind `primase.training.forecast`, fitted to finished runs, and how far it is off on a genome left out.

    python -m benchmarks.forecast_fit RUN [RUN ...]

Each run gives one point: bases read, and how far its validation part is below what counting reaches on it. The error is
that of each run forecast from the runs of all other genomes, the largest of them.
"""

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from primase.run_folder import RunFolder
from primase.training.forecast import COUNTED_BASES, FITTED_RECIPE, ORDER, counted_bits_per_base, is_fitted


@dataclass(frozen=True)
class Point:
    """A finished run."""

    name: str
    genome: str
    """Checksum of its first source."""
    doublings: float
    """Of COUNTED_BASES, that it read."""
    counted: float
    reached: float


def read_point(folder: Path) -> Point:
    """Raises SystemExit where the run cannot be fitted."""
    run = RunFolder.open(folder)
    recipe, corpus = run.recipe(), run.corpus()
    if not is_fitted(recipe):
        raise SystemExit(f"{folder}: not a run of recipe {FITTED_RECIPE}; the forecast is for that one")
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text("utf-8").splitlines()]
    bases = [line["bases"] for line in lines if "bases" in line]
    reached = [line["eval_bits_per_base"] for line in lines if "eval_bits_per_base" in line]
    if not bases or not reached:
        raise SystemExit(f"{folder}: no measurement in metrics.jsonl; finish the run first")
    counted = counted_bits_per_base(corpus, recipe)
    genome = corpus.description["sources"][0]["sha256"]
    return Point(folder.name, genome, float(np.log2(bases[-1] / COUNTED_BASES)), counted, min(reached))


def fit(points: list[Point]) -> tuple[float, float]:
    """Gain in bits of a run that reads COUNTED_BASES, and of each doubling, by least squares.

    Raises SystemExit where all runs are of one length.
    """
    if len({point.doublings for point in points}) < 2:
        raise SystemExit("runs of one length give no line; give runs of two lengths of at least two genomes each")
    matrix = np.array([[1.0, point.doublings] for point in points])
    gains = np.array([point.counted - point.reached for point in points])
    gain, a_doubling = np.linalg.lstsq(matrix, gains, rcond=None)[0]
    return float(gain), float(a_doubling)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    points = [read_point(folder) for folder in parser.parse_args().runs]
    print(f"| run | bases read | counted, order {ORDER} | reached | forecast from the others | off by |")
    print("|---|---|---|---|---|---|")
    errors = []
    for point in points:
        others = [other for other in points if other.genome != point.genome]
        gain, a_doubling = fit(others)
        expected = point.counted - gain - a_doubling * point.doublings
        errors.append(point.reached - expected)
        print(
            f"| {point.name} | {2**point.doublings * COUNTED_BASES:,.0f} | {point.counted:.4f} | {point.reached:.4f} "
            f"| {expected:.4f} | {errors[-1]:+.4f} |"
        )
    gain, a_doubling = fit(points)
    print(
        f"\nGAIN_BITS = {gain:.4f}\nGAIN_BITS_A_DOUBLING = {a_doubling:.4f}\nERROR_BITS = {max(map(abs, errors)):.4f}"
    )


if __name__ == "__main__":
    main()
