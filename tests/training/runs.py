"""Tiny recipes, and what the tests look at in a run folder."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from primase.recipe import Recipe
from primase.training.checkpoints import complete_checkpoints

TIMES = {"seconds", "tokens_per_second", "mfu"}
"""Values of metrics.jsonl that no two runs share."""

EXPERTS = {
    "preset": "mixtral-1m",
    "attention": "eager",
    "settings": {
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "num_local_experts": 4,
        "num_experts_per_tok": 2,
        "output_router_logits": True,
        "attention_dropout": 0.1,
    },
}
DENSE = {
    "preset": "qwen3-tiny",
    "settings": {
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "head_dim": 8,
    },
}


def tiny_recipe(model: dict[str, Any] = EXPERTS, **changes: Any) -> Recipe:
    """20 steps, two epochs of the genome's 80 training windows: 4 a batch, 2 batches a step.

    Keyword `a__b` changes the value a.b.
    """
    recipe = Recipe.model_validate(
        {
            "name": "tiny",
            "seed": 1,
            "data": {"window_bases": 60},
            "split": {"strategy": "random", "validation_fraction": 0.1, "heldout_fraction": 0.1},
            "tokenizer": {"kind": "kmer", "k": 3},
            "model": model,
            "training": {
                "steps": 20,
                "rows_per_batch": 4,
                "accumulation_steps": 2,
                "learning_rate": 5e-3,
                "precision": "fp32",
                "compile": "no",
                "evaluate_every": 5,
                "log_every": 3,
            },
        }
    )
    return recipe.replace({key.replace("__", "."): value for key, value in changes.items()})


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def unequal(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> list[str]:
    """Names of the tensors that are not the same bit for bit."""
    assert ours.keys() == theirs.keys()
    return [name for name in ours if not torch.equal(ours[name], theirs[name])]


def metrics(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text("utf-8").splitlines()]


def timeless_metrics(run: Path) -> list[dict[str, Any]]:
    return [{key: value for key, value in line.items() if key not in TIMES} for line in metrics(run)]


def assert_same_run(run: Path, reference: Path) -> None:
    """Best and last weights equal bit for bit, and metrics line by line apart from the times."""
    assert unequal(weights(run / "final"), weights(reference / "final")) == []
    ours, theirs = (complete_checkpoints(folder)[-1] for folder in (run, reference))
    assert ours.step == theirs.step
    assert unequal(weights(ours.folder), weights(theirs.folder)) == []
    assert timeless_metrics(run) == timeless_metrics(reference)
