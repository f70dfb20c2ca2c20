"""The table of docs/scaling.md: what one epoch takes by model, genome and hardware, on paper.

    python -m benchmarks.scale_table [--mfu 0.3]

Nothing is measured here but the bases a token of byte pairs, which are given below with where they come from.
"""

import argparse

from primase.recipe import Recipe
from primase.training.scale import ASSUMED_MFU, plan_at_scale

HARDWARE = {"T4": (1, 65e12), "A100": (1, 312e12), "H100 or H200": (1, 989e12), "8 H100 or H200": (8, 989e12)}
"""GPUs, and the published dense 16-bit peak of one (NVIDIA's data sheets: T4 fp16; A100, H100 SXM, H200 SXM bf16)."""

GENOMES = {"E. coli": 4_641_652, "yeast": 12_157_105, "human": 3_100_000_000}

BYTE_PAIR_BASES = 5.0
"""Bases a token, see docs/scaling.md."""


def dense(hidden: int, layers: int) -> dict:
    """A Qwen3 of heads of 64 and a feed-forward network of 8/3 of the width, on rows of 1,024 3-mers."""
    shape = {"hidden_size": hidden, "num_hidden_layers": layers, "num_attention_heads": hidden // 64}
    shape |= {"num_key_value_heads": hidden // 64, "head_dim": 64, "intermediate_size": hidden * 8 // 3}
    return {"training.row_tokens": 1024} | {f"model.settings.{name}": value for name, value in shape.items()}


MODELS = {
    "`default`, 3-mers": (Recipe.load("default"), None),
    "`tutorial`, byte pairs": (
        Recipe.load("tutorial", {"tokenizer.kind": "byte-pair", "training.epochs": 1}),
        BYTE_PAIR_BASES,
    ),
    "dense, 12 layers of 768, 3-mers": (Recipe.load("default", dense(768, 12)), None),
    "dense, 24 layers of 2,048, 3-mers": (Recipe.load("default", dense(2048, 24)), None),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mfu", type=float, default=ASSUMED_MFU)
    mfu = parser.parse_args().mfu
    print("| model | parameters (active) | memory of a GPU | genome | tokens |", " | ".join(HARDWARE), "|")
    print("|---" * (5 + len(HARDWARE)) + "|")
    for name, (recipe, bases_per_token) in MODELS.items():
        for genome, bases in GENOMES.items():
            plans = [
                plan_at_scale(
                    recipe,
                    genome_bases=bases,
                    gpus=gpus,
                    gpu_flops=flops,
                    mfu=mfu,
                    epochs=1,
                    bases_per_token=bases_per_token,
                )
                for gpus, flops in HARDWARE.values()
            ]
            plan = plans[0]
            sizes = f"{millions(plan.parameters)} ({millions(plan.active_parameters)})"
            hours = " | ".join(duration(each.hours) for each in plans)
            memory = f"{plan.memory_bytes / 2**30:.2f} GiB"
            print(f"| {name} | {sizes} | {memory} | {genome} | {millions(plan.tokens)} | {hours} |")


def millions(number: float) -> str:
    return f"{number / 1e6:,.1f} M"


def duration(hours: float) -> str:
    """Three units at most: what is below a minute is given in seconds."""
    if hours < 1 / 60:
        return f"{3600 * hours:.2g} s"
    return f"{60 * hours:.1f} min" if hours < 1 else f"{hours:,.1f} h"


if __name__ == "__main__":
    main()
