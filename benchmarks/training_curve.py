"""The picture of a run: bits per base against training time, with the rivals as lines. Needs matplotlib.

python -m benchmarks.training_curve runs/demo -o docs/demo.svg
"""

import argparse
import json
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt


def draw(run: Path, output: Path) -> None:
    """Training and validation curves of a run folder, and the rivals of its evaluation.json."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text("utf-8").splitlines()]
    training = [line for line in lines if "bits_per_base" in line]
    validation = [line for line in lines if "eval_bits_per_base" in line]
    evaluation = json.loads((run / "evaluation.json").read_text("utf-8"))

    plt.rcParams.update({"font.size": 10, "svg.fonttype": "none", "font.family": "sans-serif"})
    figure, axes = plt.subplots(figsize=(8, 4.2))
    axes.plot(
        [line["seconds"] / 60 for line in training], [line["bits_per_base"] for line in training],
        color="#9db8d2", lw=1.2, label="training batches",
    )  # fmt: skip
    axes.plot(
        [line["seconds"] / 60 for line in validation], [line["eval_bits_per_base"] for line in validation],
        "o-", color="#1f5a92", ms=4, label="validation",
    )  # fmt: skip
    minutes = validation[-1]["seconds"] / 60
    reached = evaluation["forward"]
    low, high = reached["bits_per_base"] - reached["low"], reached["high"] - reached["bits_per_base"]
    axes.errorbar(
        [minutes * 1.02], [reached["bits_per_base"]], [[low], [high]],
        fmt="s", color="#c0392b", ms=6, capsize=3, label=f"held out: {reached['bits_per_base']:.4f}",
    )  # fmt: skip
    for rival, color in zip(evaluation["rivals"], ("#888888", "#c77700", "#bbbbbb", "#2e8b57"), strict=False):
        if rival["name"] == "untrained twin":
            continue  # far above the picture
        axes.axhline(rival["bits_per_base"], color=color, ls="--", lw=1)
        axes.annotate(
            f"{rival['name']}: {rival['bits_per_base']:.4f}", (minutes * 1.05, rival["bits_per_base"]),
            xytext=(0, 3), textcoords="offset points", color=color, fontsize=9, ha="right",
        )  # fmt: skip
    axes.set_xlabel("minutes of training")
    axes.set_ylabel("bits per base")
    axes.set_xlim(0, minutes * 1.06)
    axes.set_ylim(top=min(2.1, axes.get_ylim()[1]))
    axes.legend(frameon=False, loc="lower left", bbox_to_anchor=(0.02, 0.1))
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(output)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--output", "-o", type=Path, required=True)
    options = parser.parse_args()
    draw(options.run, options.output)


if __name__ == "__main__":
    main()
