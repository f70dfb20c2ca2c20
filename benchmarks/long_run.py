"""A day of training in an hour: a tiny model, many steps, many checkpoints with rotation. Does anything grow?

    python -m benchmarks.long_run --steps 50000 --checkpoints 500 --output long_run.json

Prints, at intervals, the resident memory, the open files and the bytes and files of the run folder, and writes them as
JSON with their values after a tenth of the run and at its end.
"""

import argparse
import json
import os
import tempfile
import time
from pathlib import Path

import numpy as np

MODEL = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "head_dim": 8,
}


def recipe_values(steps: int, checkpoints: int) -> dict:
    """A run that logs, measures, and saves as often as a day of training would."""
    every = steps // checkpoints
    return {
        "name": "long-run",
        "data": {"window_bases": 60},
        "split": {"strategy": "random", "validation_fraction": 0.05, "heldout_fraction": 0.05},
        "tokenizer": {"kind": "kmer", "k": 3},
        "model": {"preset": "qwen3-tiny", "settings": MODEL},
        "training": {
            "steps": steps,
            "rows_per_batch": 2,
            "precision": "fp32",
            "learning_rate": 1e-4,
            "evaluate_every": every,
            "log_every": every,
            "keep_checkpoints": 3,
        },
    }


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def look(run: Path, step: int, begun: float) -> dict:
    files = [file for file in run.rglob("*") if file.is_file()]
    return {
        "step": step,
        "seconds": round(time.monotonic() - begun, 1),
        "resident_bytes": resident_bytes(),
        "open_files": len(os.listdir("/proc/self/fd")),
        "files": len(files),
        "disk_bytes": sum(file.stat().st_size for file in files),
        "checkpoints": len(list(run.glob("checkpoints/*"))),
        "metrics_bytes": (run / "metrics.jsonl").stat().st_size if (run / "metrics.jsonl").exists() else 0,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=50_000)
    parser.add_argument("--checkpoints", type=int, default=500)
    parser.add_argument("--looks", type=int, default=50, help="how often to look")
    parser.add_argument("--output", type=Path, default=Path("long_run.json"))
    arguments = parser.parse_args()

    from primase.recipe import Recipe
    from primase.training.run import pretrain

    begun, looks = time.monotonic(), []
    every = max(1, arguments.steps // arguments.looks)

    def on_step(step: int, steps: int, metrics: dict[str, float]) -> None:
        if step % every == 0 or step == steps:
            looks.append(look(run, step, begun))
            print(json.dumps(looks[-1]), flush=True)
            arguments.output.write_text(json.dumps({"looks": looks}, indent=2) + "\n", "utf-8")

    with tempfile.TemporaryDirectory() as folder:
        genome, run = Path(folder, "genome.fa"), Path(folder, "run")
        genome.write_text(">random\n" + "".join(np.random.default_rng(0).choice(list("ACGT"), 60_000)) + "\n", "utf-8")
        pretrain(
            genome, run, Recipe.model_validate(recipe_values(arguments.steps, arguments.checkpoints)), on_step=on_step
        )
    first, last = looks[len(looks) // 10], looks[-1]
    summary = {name: {"after_a_tenth": first[name], "at_the_end": last[name]} for name in first}
    arguments.output.write_text(json.dumps({"summary": summary, "looks": looks}, indent=2) + "\n", "utf-8")
    print(json.dumps(summary, indent=2))


if __name__ == "__main__":
    main()
