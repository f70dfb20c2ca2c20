"""The loss of 200 steps in bf16 beside the same steps in fp32, not compiled: same weights, same rows, the tutorial's
model.

    python -m benchmarks.precision_curve WINDOWS -o FOLDER [--tokenizer NAME] [--steps 200] [--compile yes|no]
        [--json FILE]

Prints the largest relative difference of a step's loss, and of the mean of ten neighbouring steps.
"""

import argparse
import json
from pathlib import Path

import numpy as np

from primase.corpus.prepare import prepare
from primase.recipe import Recipe
from primase.training.run import pretrain


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("windows", nargs="+", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--tokenizer", help="folder of the tutorial's tokenizer; without it byte pairs are trained")
    parser.add_argument("--recipe", default="tutorial")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--compile", choices=["yes", "no"], default="no", help="with it bf16 has the kernels in C++")
    parser.add_argument("--json", type=Path)
    settings = parser.parse_args()
    changes = {
        "training.steps": settings.steps, "training.epochs": None, "training.accumulation_steps": 1,
        "training.rows_per_batch": 32, "training.log_every": 1, "training.evaluate_every": "never",
        "training.save_every": settings.steps,
    }  # fmt: skip
    if settings.compile == "yes":
        changes["model.attention"] = "primase"
    changes |= {"tokenizer.name": settings.tokenizer} if settings.tokenizer else {
        "tokenizer.kind": "byte-pair", "tokenizer.name": None, "tokenizer.vocabulary_tokens": 4096
    }  # fmt: skip
    corpus = prepare(
        settings.windows, settings.output / "corpus", Recipe.load(settings.recipe, changes), overwrite=True
    )
    curves = {}
    for precision, compiled in (("fp32", "no"), ("bf16", settings.compile)):
        run = settings.output / precision
        own = {"training.precision": precision, "training.compile": compiled}
        pretrain(corpus.folder, run, Recipe.load(settings.recipe, changes | own), overwrite=True)
        lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text("utf-8").splitlines()]
        curves[precision] = [line["loss_nats_per_token"] for line in lines if "loss_nats_per_token" in line]
    result = compare(*(np.array(curves[precision]) for precision in ("fp32", "bf16"))) | {"curves": curves}
    print(
        f"{len(curves['fp32'])} steps, from {curves['fp32'][0]:.4f} to {curves['fp32'][-1]:.4f} nats a token; "
        f"bf16 differs by at most {result['step']:.3%} in a step, {result['ten_steps']:.3%} in the mean of ten"
    )
    if settings.json:
        settings.json.write_text(json.dumps(result, indent=1) + "\n", "utf-8")


def compare(exact: np.ndarray, ours: np.ndarray) -> dict[str, float]:
    """Largest relative difference of a step, and of the mean of ten."""
    means = [np.convolve(curve, np.full(10, 0.1), mode="valid") for curve in (exact, ours)]
    return {
        "step": float(np.abs(ours / exact - 1).max()),
        "ten_steps": float(np.abs(means[1] / means[0] - 1).max()),
    }


if __name__ == "__main__":
    main()
