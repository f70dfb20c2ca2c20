"""One line of docs/experiments.md: a recipe with some settings changed, measured on the validation part of a genome.

    python -m benchmarks.trials GENOME [--seeds 0 1] [--steps N | --minutes M] [--baseline KEY=VALUE ...]
        [--set KEY=VALUE ...] [--what TEXT] [-o trials.jsonl]

GENOME: a name of `benchmarks.genomes`, NAME=FILE, or a FASTA. The genome is split once, by the recipe's own seed; the
seeds of a trial draw weights, order, strands and frames, so that all are measured on the same bases, with a sliding
context. The held-out part is put aside and never scored. Each seed is trained in a process of its own and appended to
the file as a line of JSON; a Markdown row of all seeds is printed, with the differences from the lines of the file
that have the same --baseline and no --set.
"""

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from benchmarks.genomes import find_genome
from primase import hardware
from primase.corpus.prepare import prepare
from primase.corpus.store import Corpus
from primase.errors import PrimaseError
from primase.models.build import silence_transformers
from primase.recipe import Recipe
from primase.training.arguments import training_arguments
from primase.training.plan import plan_training
from primase.training.size import sized_setup
from primase.training.trainer import PretrainingTrainer
from primase.training.training_setup import TrainingSetup
from primase.version import __version__

VALIDATION_BASES = 300_000
"""Drawn once, the same for all trials of a genome; docs/experiments.md says what two seeds differ by on so many."""

COMPARED = ("genome", "recipe", "baseline", "seed", "validation_bases")
"""What a trial and its baseline have in common. Steps need not be: some changes are compared in equal time."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("genome")
    parser.add_argument("--recipe", default="default")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--steps", type=int, help="optimizer steps; the schedule ends with them")
    parser.add_argument("--minutes", type=float, help="time instead of steps, made into steps beforehand")
    parser.add_argument("--baseline", action="append", default=[], metavar="KEY=VALUE", help="of the baseline too")
    parser.add_argument("--set", action="append", default=[], dest="changes", metavar="KEY=VALUE")
    parser.add_argument("--what", help="what was changed and why it should help, for the row")
    parser.add_argument("--validation-bases", type=int, default=VALIDATION_BASES)
    parser.add_argument("--output", "-o", type=Path, default=Path("trials.jsonl"))
    settings = parser.parse_args()
    if settings.steps and settings.minutes:
        parser.error("give --steps or --minutes, one of them")
    try:
        earlier = read(settings.output)
        trials = measure(settings)
    except PrimaseError as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from None
    print(row(trials, earlier))


def measure(settings: argparse.Namespace) -> list[dict]:
    """Prepare the genome, train and measure each seed, and append each to the file as soon as it is done."""
    genome = find_genome(settings.genome)
    recipe = Recipe.load(settings.recipe, [*genome.settings, *settings.baseline, *settings.changes])
    recipe = recipe.replace(budget(settings.steps, settings.minutes))
    recipe = recipe.replace({"training.validation_bases": settings.validation_bases})
    trials = []
    with tempfile.TemporaryDirectory() as folder:
        corpus = prepare(genome.files, Path(folder, "corpus"), recipe)
        for seed in settings.seeds:
            with ProcessPoolExecutor(1, get_context("spawn")) as process:  # whose peak memory is that of one training
                trained = process.submit(train, corpus.folder, recipe, seed).result()
            trials.append(
                {
                    "genome": genome.name,
                    "recipe": recipe.name,
                    "baseline": settings.baseline,
                    "changes": settings.changes,
                    "what": settings.what,
                    "seed": seed,
                    "validation_bases": settings.validation_bases,
                    **trained,
                    "primase": __version__,
                    "machine": hardware.describe(),
                }
            )
            with open(settings.output, "a", encoding="utf-8") as out:
                out.write(json.dumps(trials[-1]) + "\n")
    return trials


def budget(steps: int | None, minutes: float | None) -> dict:
    """The end of the training as settings of a recipe; its own where neither is given."""
    if steps is None and minutes is None:
        return {}
    return {"training.steps": steps, "training.minutes": minutes, "training.epochs": None}


def train(corpus_folder: Path, recipe: Recipe, seed: int) -> dict:
    """Train on the training part by `seed`; measure once, at the end, on a draw of the validation part by the recipe's.

    Not `primase.pretrain`: its corpus is split by the seed of the training, and its self-tests read held-out bases.
    """
    silence_transformers()
    corpus = Corpus.open(corpus_folder)
    fixed = sized_setup(recipe, corpus)
    setup = TrainingSetup.open(fixed.recipe.replace({"seed": seed}), corpus)
    plan = plan_training(setup)
    setup = setup.resolved(plan.steps, is_compiled=plan.is_compiled)
    changes = {"training.evaluate_every": plan.steps, "training.save_every": plan.steps, "training.keep_best": False}
    trial = setup.recipe.replace(changes)
    with tempfile.TemporaryDirectory() as run:
        trainer = PretrainingTrainer(
            model=setup.fresh_model(),
            arguments=training_arguments(
                trial, Path(run), steps=plan.steps, precision=setup.precision, device=setup.device
            ),
            rows=setup.rows,
            collator=setup.collator,
            settings=trial.training,
            measure=fixed.measure_validation,
            facts=setup.facts,
            peak_flops=hardware.matrix_product_flops(setup.device, setup.precision),
            callbacks=[],
        )
        trainer.train()
    return {
        "bits_per_base": trainer.state.best_metric,
        "parameters": plan.parameters,
        "steps": trainer.state.global_step,
        "bases": trainer.progress.bases,
        "seconds": round(trainer.progress.seconds, 1),
        "bases_per_second": round(trainer.progress.bases / trainer.progress.seconds),
        "peak_memory_bytes": hardware.peak_memory_bytes(setup.device),
    }


def read(file: Path) -> list[dict]:
    """The trials that stand in the file; none where there is no file."""
    return [json.loads(line) for line in file.read_text("utf-8").splitlines()] if file.exists() else []


def row(trials: Sequence[dict], earlier: Iterable[dict]) -> str:
    """A row of the table of docs/experiments.md; whether the change is kept is left to the reader."""
    first = trials[0]
    baselines = {_compared(trial): trial["bits_per_base"] for trial in earlier if not trial["changes"]}
    differences = [
        f"{1000 * (trial['bits_per_base'] - baselines[_compared(trial)]):+.1f}"
        for trial in trials
        if trial["changes"] and _compared(trial) in baselines
    ]
    cells = [
        first["what"] or "baseline",
        " ".join(f"`{change}`" for change in first["changes"]),
        first["genome"],
        ", ".join(str(trial["seed"]) for trial in trials),
        ", ".join(f"{trial['bits_per_base']:.4f}" for trial in trials),
        ", ".join(differences),
        f"{statistics.mean(trial['bases_per_second'] for trial in trials):,.0f}",
        f"{first['steps']:,} in {statistics.mean(trial['seconds'] for trial in trials):,.0f} s",
        f"{max(trial['peak_memory_bytes'] for trial in trials) / 1e9:.2f} GB",
    ]
    return f"| {' | '.join(cells)} | |"


def _compared(trial: dict) -> str:
    """The same for a trial and its baseline; lines of before `--baseline` have none."""
    return json.dumps([trial.get(key, []) for key in COMPARED])


if __name__ == "__main__":
    main()
