"""The tutorial's settings to the letter, and what is known to be wrong in them."""

import numpy as np
import pytest
import torch
from transformers import get_scheduler

from primase.corpus.cut import WINDOW_DTYPE
from primase.corpus.split import PARTS, split_windows
from primase.models.build import build_model, configuration, count_parameters
from primase.recipe import ModelSettings, Recipe
from primase.run_folder import RunFolder
from primase.tokenizers import kmer_tokenizer, load_tokenizer
from primase.training.arguments import training_arguments
from primase.training.plan import plan_training, steps_per_epoch
from primase.training.run import open_or_prepare
from primase.training.training_setup import TrainingSetup
from tests.training.runs import DENSE, EXPERTS, tiny_recipe

TUTORIAL = Recipe.load("tutorial")


def test_split():
    """A table of 99,999 windows of 200 bases, 80 % trained on."""
    windows = np.zeros(99_999, WINDOW_DTYPE)
    windows["start"], windows["length"] = np.arange(99_999) * 200, 200
    settings = TUTORIAL.split
    choice = split_windows(windows, windows["start"], lambda: [], settings, seed=TUTORIAL.seed, is_table=True)
    assert choice.strategy == "random"
    counts = {name: int((windows["part"] == code).sum()) for name, code in PARTS.items()}
    assert counts == {"train": 79_999, "validation": 20_000, "heldout": 0}


def test_steps():
    """50 optimizer steps an epoch of 80,000 windows, 50 epochs."""
    assert TUTORIAL.training.epochs == 50
    assert steps_per_epoch(79_999, TUTORIAL.training) == steps_per_epoch(80_000, TUTORIAL.training) == 50


def test_training_arguments(tmp_path):
    arguments = training_arguments(TUTORIAL, tmp_path, steps=2500, precision="bf16", device=torch.device("cpu"))
    expected = {
        "per_device_train_batch_size": 32,
        "gradient_accumulation_steps": 50,
        "max_steps": 2500,
        "learning_rate": 5e-4,
        "lr_scheduler_type": "linear",
        "warmup_steps": 0,
        "weight_decay": 0.01,
        "adam_beta1": 0.9,
        "adam_beta2": 0.999,
        "adam_epsilon": 1e-8,
        "max_grad_norm": 1.0,
        "bf16": True,
        "fp16": False,
        "eval_strategy": "epoch",
        "save_strategy": "epoch",
        "report_to": [],
        "logging_nan_inf_filter": False,
    }
    assert {name: getattr(arguments, name) for name in expected} == expected
    assert arguments.optim.startswith("adamw_torch")
    assert (TUTORIAL.training.patience, TUTORIAL.training.keep_best) == (3, True)
    assert (TUTORIAL.tokenizer.padding_side, TUTORIAL.model.attention) == ("left", "eager")


def test_learning_rate_falls_to_zero_in_a_line(tmp_path):
    arguments = training_arguments(TUTORIAL, tmp_path, steps=2500, precision="fp32", device=torch.device("cpu"))
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=arguments.learning_rate)
    schedule = get_scheduler(arguments.lr_scheduler_type, optimizer, arguments.warmup_steps, arguments.max_steps)
    rates = []
    for _ in range(2501):
        rates.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    assert rates == pytest.approx(np.linspace(5e-4, 0, 2501), abs=1e-12)


def test_parameters(dnabert2_tokenizer_folder):
    config = configuration(TUTORIAL.model, load_tokenizer(str(dnabert2_tokenizer_folder)))
    count = count_parameters(config)
    assert count.total == 104_993_024
    # 8 layers of attention (4 matrices of 256 x 256), router (64 x 256), one expert (3 of 256 x 256), two norms;
    # a last norm, and the head.
    assert count.active == 8 * (4 * 256**2 + 64 * 256 + 3 * 256**2 + 2 * 256) + 256 + 4096 * 256


SMALL = {
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
}
ROUTERS = {
    "tutorial": ("mixtral-105m", {"num_local_experts": 4}),
    "two experts a token": (
        "mixtral-105m",
        {"num_local_experts": 4, "num_experts_per_tok": 2, "output_router_logits": True},
    ),
    "not renormalised": ("qwen3-moe-105m", {"num_experts": 4, "moe_intermediate_size": 16}),
}


def gradients(preset, settings):
    """Largest gradient of any router and of any expert, of a model with fresh weights on random tokens."""
    model_settings = ModelSettings(preset=preset, settings=SMALL | settings)
    model = build_model(model_settings, configuration(model_settings, kmer_tokenizer(3)), seed=0)
    ids = torch.randint(3, 60, (8, 40), generator=torch.Generator().manual_seed(0))
    model(ids, labels=ids).loss.backward()
    named = list(model.named_parameters())
    return tuple(
        max(float(weight.grad.abs().max()) for name, weight in named if part in name)
        for part in ("mlp.gate.weight", ".experts.")
    )


def test_the_tutorials_router_gets_no_gradient():
    router, experts = gradients(*ROUTERS["tutorial"])
    assert router < 1e-8
    assert experts > 1e-4


@pytest.mark.parametrize("name", ["two experts a token", "not renormalised"])
def test_other_routers_get_one(name):
    router, experts = gradients(*ROUTERS[name])
    assert router > 1e-5
    assert experts > 1e-4


@pytest.mark.parametrize(
    ("model", "warns"),
    [
        ({"preset": "mixtral-105m", "settings": SMALL | ROUTERS["tutorial"][1]}, True),
        (EXPERTS, False),
        (DENSE, False),
    ],
)
def test_plan_warns_of_a_router_that_cannot_learn(model, warns, genome, tmp_path):
    recipe = tiny_recipe(model)
    corpus = open_or_prepare([genome], RunFolder(tmp_path), recipe, lambda what, share: None)
    plan = plan_training(TrainingSetup.open(recipe, corpus))
    assert any("router cannot learn" in warning for warning in plan.warnings) == warns
    assert any("random split" in warning for warning in plan.warnings)
