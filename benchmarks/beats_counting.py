"""Does half an hour with a recipe beat counting? Each genome prepared, trained and evaluated within the minutes given.

    python -m benchmarks.beats_counting [--genomes ecoli yeast chr2 | all] [--minutes 30] [--seed 0]
        [--set KEY=VALUE ...] [-o runs/half]

GENOMES: names of `benchmarks.genomes`, NAME=FILE, or FASTA files; `all` adds those that the recipe was not tuned on.
The clock runs from the first library that is loaded to the last figure, on the cores at hand. Training gets what
preparing, and the evaluation as `benchmarks.rehearsal` foresees it, leave. Prints the figures of each model and the
seconds of each phase; the output folder gets the runs and beats_counting.json, to which each genome is added when it is
done.
"""

import argparse
import json
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.genomes import GENOMES, TUNED, Genome, find_genome
from primase.errors import OutputExistsError, PrimaseError, RecipeError

RESULT = "beats_counting.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--genomes", nargs="+", default=list(TUNED))
    parser.add_argument("--minutes", type=float, default=30, help="for each genome, everything included")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--recipe", default="default")
    parser.add_argument("--set", action="append", default=[], dest="changes", metavar="KEY=VALUE")
    parser.add_argument("--output", "-o", type=Path, default=Path("runs/half"))
    settings = parser.parse_args()
    names = list(GENOMES) if settings.genomes == ["all"] else settings.genomes
    file = settings.output / RESULT
    try:
        genomes = [find_genome(name) for name in names]
        for genome in genomes:
            _refuse_existing(settings.output / genome.name)
        settings.output.mkdir(parents=True, exist_ok=True)
        results = json.loads(file.read_text("utf-8")) if file.exists() else []
        results = [result for result in results if result["genome"] not in {genome.name for genome in genomes}]
        for genome in genomes:
            folder = settings.output / genome.name
            try:
                results.append(measure(genome, settings, folder))
            except BaseException:
                shutil.rmtree(folder, ignore_errors=True)  # half of it is of no use, and would be in the way
                raise
            file.write_text(json.dumps(results, indent=1) + "\n", "utf-8")
            print(details(results[-1]), flush=True)
    except PrimaseError as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from None
    print(figures(results), times(results), sep="\n\n")


def _refuse_existing(folder: Path) -> None:
    if folder.exists():
        raise OutputExistsError(f"{folder}: is there already; remove it, or choose another folder with -o")


def measure(genome: Genome, settings: argparse.Namespace, folder: Path) -> dict:
    """Prepare, train and evaluate one genome within `settings.minutes`, into the new folder `folder`.

    Raises RecipeError where the minutes leave nothing to train in.
    """
    begun = time.perf_counter()
    seconds: dict[str, float] = {}

    @contextmanager
    def phase(name: str) -> Iterator[None]:
        since = time.perf_counter()
        yield
        seconds[name] = time.perf_counter() - since

    with phase("prepare"):
        # Loaded within the clock: who runs a command waits for its libraries too.
        from benchmarks.rehearsal import rehearse
        from primase import hardware
        from primase.corpus.prepare import prepare
        from primase.evaluation.evaluate import evaluate
        from primase.recipe import Recipe
        from primase.training.run import pretrain
        from primase.training.size import sized_setup
        from primase.version import __version__

        recipe = Recipe.load(settings.recipe, [*genome.settings, *settings.changes, f"seed={settings.seed}"])
        folder.mkdir(parents=True)
        corpus = prepare(genome.files, folder / "corpus", recipe)
    with phase("rehearse"):
        recipe = sized_setup(recipe.replace({"training.minutes": settings.minutes}), corpus).recipe
        expected = rehearse(corpus, recipe)
    left = 60 * settings.minutes - (time.perf_counter() - begun) - expected.around_training - expected.evaluation
    if left <= 0:
        needed = (60 * settings.minutes - left) / 60
        raise RecipeError(
            f"{genome.name}: everything but the training takes {needed:.1f} minutes here; give more --minutes"
        )
    with phase("train"):
        trained = pretrain(corpus.folder, folder / "run", recipe.replace({"training.minutes": left / 60}))
    with phase("evaluate"):
        evaluation = evaluate(folder / "run")
    seconds["all"] = time.perf_counter() - begun
    return {
        "genome": genome.name,
        "at_most": genome.at_most,
        "aim": genome.aim,
        "recipe": recipe.name,
        "changes": settings.changes,
        "seed": settings.seed,
        "minutes": settings.minutes,
        "steps": trained.steps,
        "seconds": {name: round(value, 1) for name, value in seconds.items()},
        "expected_seconds": {
            "train": round(left + expected.around_training, 1),
            "evaluate": round(expected.evaluation, 1),
        },
        "failed_checks": trained.failed_checks,
        "primase": __version__,
        "machine": hardware.describe(),
        "evaluation": json.loads(evaluation.model_dump_json()),
    }


def predictors(evaluation: dict) -> list[dict]:
    """The model's own rows: alone, and in whatever company the evaluation has measured it.

    Each has a name, a figure with its interval, and rivals with its advantage over them.
    """
    alone = {"name": "the model", "figure": evaluation["forward"], "rivals": evaluation["rivals"]}
    return [alone, *(one for one in _listed(evaluation) if "figure" in one)]


def _listed(evaluation: dict) -> Iterator[dict]:
    """Entries of the lists of an evaluation that have a name and bits per base: rivals, and the model in company."""
    for value in evaluation.values():
        for one in value if isinstance(value, list) else []:
            if isinstance(one, dict) and "name" in one and "bits_per_base" in one.get("figure", one):
                yield one


def figures(results: list[dict]) -> str:
    """The table of what was asked for: a row for each genome and each way to use the model."""
    lines = [
        "| genome | predictor | bits per base | 95 % interval | at most | aim | counting | better by (millibits) "
        "| copy mixture | better by (millibits) |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for result in results:
        evaluation = result["evaluation"]
        for one in predictors(evaluation):
            figure = one["figure"]
            cells = [result["genome"], one["name"], f"{figure['bits_per_base']:.4f}", _interval(figure)]
            cells += [_asked(figure["bits_per_base"], result[limit]) for limit in ("at_most", "aim")]
            for kind in ("markov", "copy-mixture"):
                rival = next((rival for rival in one["rivals"] if rival["kind"] == kind), None)
                cells += [f"{rival['bits_per_base']:.4f}", _advantage(rival)] if rival else ["", ""]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def times(results: list[dict]) -> str:
    """Seconds of each phase, and what had been foreseen."""
    names = ["prepare", "rehearse", "train", "evaluate", "all"]
    lines = [f"| seconds | steps | {' | '.join(names)} | given |", "|---|" + "---|" * (len(names) + 2)]
    for result in results:
        spent = [
            f"{result['seconds'][name]:,.0f}"
            + (f" of {result['expected_seconds'][name]:,.0f}" if name in result["expected_seconds"] else "")
            for name in names
        ]
        lines.append(
            f"| {result['genome']} | {result['steps']:,} | {' | '.join(spent)} | {60 * result['minutes']:,.0f} |"
        )
    return "\n".join(lines)


def details(result: dict) -> str:
    """Every figure with a name that the evaluation offers, for one genome."""
    lines = [f"{result['genome']}, seed {result['seed']}, {result['steps']:,} steps"]
    for key, value in result["evaluation"].items():
        if isinstance(value, dict) and "bits_per_base" in value:
            lines.append(f"{key.replace('_', ' '):<48}{value['bits_per_base']:.4f}   {_interval(value)}")
    for one in _listed(result["evaluation"]):
        figure = one.get("figure", one)
        interval = _interval(figure) if "figure" in one else f"the model is better by {_advantage(one)}"
        lines.append(f"{one['name']:<48}{figure['bits_per_base']:.4f}   {interval}")
    return "\n".join([*lines, f"Verdict: {result['evaluation']['verdict']}."])


def _interval(figure: dict) -> str:
    return f"{figure['low']:.4f} to {figure['high']:.4f}"


def _advantage(rival: dict) -> str:
    return f"{rival['model_advantage_millibits']:+.1f} ({rival['low']:+.1f} to {rival['high']:+.1f})"


def _asked(bits_per_base: float, limit: float | None) -> str:
    if limit is None:
        return ""
    missed = 1000 * (bits_per_base - limit)
    return f"{limit:.3f}: " + (f"missed by {missed:.1f}" if missed > 0 else "reached")


if __name__ == "__main__":
    main()
