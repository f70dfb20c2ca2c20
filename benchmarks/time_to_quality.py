"""How much sooner the recipe `fast` is as good as the tutorial's ever gets: same windows, same size of model.

    python -m benchmarks.time_to_quality WINDOWS -o FOLDER [--tokenizer NAME] [--until-reached] [--json FILE]

WINDOWS: FASTA or CSV of 200-base windows. Both recipes are trained on the same windows and measured on the same
others. The tutorial's optimizer steps, the same 1,600 windows each, are taken in larger batches and with
Primase's attention, as fast as it runs them here. The clock is the training time of metrics.jsonl, counting for the
start and compiling included, measuring and saving not; beside it stands the wall clock since the run was called, with
preparing, planning and every measurement. A run that is there is not trained again, so that an interrupted comparison
goes on (without a wall clock for it). With `--until-reached`, `fast` is stopped once it is as good as the tutorial's
best: the ratio is known then, and measuring it every five steps to its end takes longer than training it.
"""

import argparse
import json
import math
import signal
import time
from pathlib import Path

from primase import hardware
from primase.corpus.store import Corpus
from primase.recipe import Recipe
from primase.training.run import pretrain, resume

TUTORIAL_AT_ITS_FASTEST = {
    "training.rows_per_batch": 1600, "training.accumulation_steps": 1, "model.attention": "primase"
}  # fmt: skip
"""The same windows a step as the recipe's 32 windows 50 times, sooner. Its eager attention differs in what a padded
place says of a row's first token, one target of some forty (docs/decisions/0016-rows-are-packed.md)."""

FAST_MEASURED_OFTEN = {"training.evaluate_every": 5, "training.save_every": "epoch"}
"""Every few seconds of training, since minutes are what it takes. Measuring changes no step."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("windows", nargs="+", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--tokenizer", help="folder of the tutorial's tokenizer; without it byte pairs are trained")
    parser.add_argument("--tutorial-epochs", type=float, default=50)
    parser.add_argument("--fast-epochs", type=float)
    parser.add_argument("--until-reached", action="store_true", help="stop fast at the tutorial's best")
    parser.add_argument("--json", type=Path)
    settings = parser.parse_args()
    result = measure(settings)
    print(table(result))
    if settings.json:
        settings.json.write_text(json.dumps(result, indent=1) + "\n", "utf-8")


def measure(settings: argparse.Namespace) -> dict:
    """Both curves, and the time at which each reaches the tutorial's best."""
    changes = {"tokenizer.name": settings.tokenizer} if settings.tokenizer else {
        "tokenizer.kind": "byte-pair", "tokenizer.name": None, "tokenizer.vocabulary_tokens": 4096
    }  # fmt: skip
    of_fast = FAST_MEASURED_OFTEN | ({"training.epochs": settings.fast_epochs} if settings.fast_epochs else {})
    of_tutorial = TUTORIAL_AT_ITS_FASTEST | {"training.epochs": settings.tutorial_epochs}
    recipes = {
        "tutorial": Recipe.load("tutorial", changes | of_tutorial), "fast": Recipe.load("fast", changes | of_fast)
    }  # fmt: skip
    runs = {name: settings.output / name for name in recipes}
    walls = {"tutorial": _train(settings.windows, runs["tutorial"], recipes["tutorial"])}
    best = min(bits for _, bits in _curve(runs["tutorial"]))
    stop_at = best if settings.until_reached else None
    walls["fast"] = _train(settings.windows, runs["fast"], recipes["fast"], stop_at)
    if len({Corpus.open(run / "corpus").digest for run in runs.values()}) > 1:
        raise SystemExit("the two recipes split the windows differently, so their figures cannot be compared")
    curves = {name: _curve(run) for name, run in runs.items()}
    reached = {name: _time_to(best, curve) for name, curve in curves.items()}
    by_the_wall = {name: _time_to(best, curve) for name, curve in walls.items()}
    return {
        "machine": hardware.describe(),
        "tutorial_best_bits_per_base": best,
        "seconds_to_it": reached,
        "ratio": reached["tutorial"] / reached["fast"] if reached["fast"] else None,
        "wall_seconds_to_it": by_the_wall,
        "wall_ratio": by_the_wall["tutorial"] / by_the_wall["fast"] if all(by_the_wall.values()) else None,
        "seconds_and_bits_per_base": curves,
    }


def _train(windows: list[Path], run: Path, recipe: Recipe, stop_at: float | None = None) -> list[tuple[float, float]]:
    """Seconds since this call and bits per base at each measurement, told at the end of the step after it.

    None of a run that had begun before. At `stop_at` bits per base the run is stopped, as by Ctrl-C.
    """
    begun = time.perf_counter()
    measured: list[tuple[float, float]] = []

    def watch(step: int, steps: int, metrics: dict[str, float]) -> None:
        bits = metrics.get("eval_bits_per_base", math.inf)  # the newest measurement, also at the steps after it
        if bits < math.inf and (not measured or bits != measured[-1][1]):
            measured.append((time.perf_counter() - begun, bits))
        if stop_at is not None and bits <= stop_at:
            signal.raise_signal(signal.SIGINT)

    is_there = (run / "final").is_dir() or (stop_at is not None and _time_to(stop_at, _curve(run)) is not None)
    if not is_there and any(run.glob("checkpoints/step-*")):
        resume(run, on_step=watch)
        measured = []
    elif not is_there:
        pretrain(windows, run, recipe, overwrite=True, on_step=watch)
    print(f"{run.name}: {time.perf_counter() - begun:,.0f} seconds in all", flush=True)
    return measured


def _curve(run: Path) -> list[tuple[float, float]]:
    """Training seconds and validation bits per base at each measurement; none of a run that is not there."""
    if not (run / "metrics.jsonl").is_file():
        return []
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text("utf-8").splitlines()]
    return [(line["seconds"], line["eval_bits_per_base"]) for line in lines if "eval_bits_per_base" in line]


def _time_to(bits_per_base: float, curve: list[tuple[float, float]]) -> float | None:
    """Training seconds at the first measurement that is as good, or None where none is."""
    return next((seconds for seconds, bits in curve if bits <= bits_per_base), None)


def table(result: dict) -> str:
    lines = [f"the tutorial's best: {result['tutorial_best_bits_per_base']:.4f} bits per base on the validation part"]
    for name, seconds in result["seconds_to_it"].items():
        best = min(bits for _, bits in result["seconds_and_bits_per_base"][name])
        when = "never" if seconds is None else f"after {seconds:,.0f} s of training"
        lines.append(f"{name:<10} reaches it {when}; its best as far as it went is {best:.4f}")
    ratio, walls = result["ratio"], result["wall_seconds_to_it"]
    lines.append("fast never reaches it" if ratio is None else f"{ratio:.1f} times sooner")
    if result["wall_ratio"] is not None:
        lines.append(
            f"by the wall clock, preparing, planning and measuring included: after {walls['tutorial']:,.0f} and "
            f"{walls['fast']:,.0f} s, {result['wall_ratio']:.1f} times sooner"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
