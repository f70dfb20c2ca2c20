"""The gain behind `primase.training.forecast`, fitted to finished runs, and how far it is off on a genome left out.

    python -m benchmarks.forecast_fit RUN [RUN ...]

Each run gives one point: how far its validation part is below what counting reaches on it, with the excess for its size
and its reading added. The error is that of each run forecast from the runs of all other genomes, the largest of them.
"""

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from primase.models.build import count_parameters
from primase.run_folder import RunFolder
from primase.training.forecast import FITTED_RECIPE, ORDER, counted_bits_per_base, excess_bits, is_fitted
from primase.training.training_setup import TrainingSetup


@dataclass(frozen=True)
class Point:
    """A finished run."""

    name: str
    genome: str
    """Checksum of its first source."""
    parameters: int
    bases: int
    """That it read."""
    counted: float
    reached: float

    @property
    def gain(self) -> float:
        """Bits per base below counting that a run without end would have come to."""
        return self.counted - self.reached + excess_bits(self.parameters, self.bases)


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
    parameters = count_parameters(TrainingSetup.open(recipe, corpus).config).total
    return Point(folder.name, genome, parameters, bases[-1], counted, min(reached))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    points = [read_point(folder) for folder in parser.parse_args().runs]
    if len({point.genome for point in points}) < 2:
        raise SystemExit("runs of one genome say nothing of the error on another; give runs of two genomes or more")
    print(f"| run | parameters | bases read | counted, order {ORDER} | reached | forecast from the others | off by |")
    print("|---|---|---|---|---|---|---|")
    errors = []
    for point in points:
        gain = np.mean([other.gain for other in points if other.genome != point.genome])
        expected = point.reached + point.gain - gain
        errors.append(point.reached - expected)
        print(
            f"| {point.name} | {point.parameters:,} | {point.bases:,} | {point.counted:.4f} | {point.reached:.4f} "
            f"| {expected:.4f} | {errors[-1]:+.4f} |"
        )
    gain = np.mean([point.gain for point in points])
    print(f"\nGAIN_BITS = {gain:.4f}\nERROR_BITS = {max(map(abs, errors)):.4f}")


if __name__ == "__main__":
    main()
