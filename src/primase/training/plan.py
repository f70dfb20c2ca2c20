"""What a run will take, before it starts: parameters, tokens, steps, memory, and the time measured on this machine."""

import copy
import math
import time
from dataclasses import dataclass

import torch
from transformers import PreTrainedConfig

from primase.corpus.rows import PaddingCollator, TrainingRows
from primase.corpus.store import Corpus
from primase.models.build import build_model, count_parameters, router_can_learn
from primase.recipe import Recipe
from primase.training.optimizers import MuonWithAdamW

BYTES_OF_TRAINING_STATE = 16
"""A parameter in training: fp32 weight, gradient and two Adam moments, 4 bytes each."""

FORWARD_SHARE = 1 / 3
"""A forward pass costs a third of a forward and backward pass."""

SAFETY = 0.95
"""Share of the time asked for that is planned; the rest is for checkpoints and a noisy machine."""


@dataclass(frozen=True)
class Plan:
    """The cost of a run."""

    parameters: int
    active_parameters: int
    train_bases: int
    train_windows: int
    rows_per_epoch: int
    tokens_per_epoch: int
    steps_per_epoch: int
    steps: int
    tokens: int
    seconds_per_step: float
    tokens_per_second: float
    training_seconds: float
    training_state_bytes: int
    warnings: tuple[str, ...]

    @property
    def epochs(self) -> float:
        return self.steps / self.steps_per_epoch


def plan_training(
    recipe: Recipe,
    corpus: Corpus,
    config: PreTrainedConfig,
    rows: TrainingRows,
    collator: PaddingCollator,
    precision: str,
    device: torch.device,
) -> Plan:
    """Time a few optimizer steps of a throwaway model on real rows and extrapolate."""
    settings = recipe.training
    parameters = count_parameters(config)
    step_rows = settings.rows_per_batch * settings.accumulation_steps
    steps_per_epoch = max(
        1, math.ceil(math.ceil(len(rows) / settings.rows_per_batch) / settings.accumulation_steps)
    )
    seconds_per_step, tokens_per_row = _measure(recipe, config, rows, collator, precision, device)
    tokens_per_second = tokens_per_row * step_rows / seconds_per_step
    steps = _steps(
        recipe, steps_per_epoch, seconds_per_step, _measuring_seconds(recipe, corpus, rows, tokens_per_second)
    )
    return Plan(
        parameters=parameters.total,
        active_parameters=parameters.active,
        train_bases=corpus.part_bases("train"),
        train_windows=len(corpus.part("train")),
        rows_per_epoch=len(rows),
        tokens_per_epoch=round(tokens_per_row * len(rows)),
        steps_per_epoch=steps_per_epoch,
        steps=steps,
        tokens=round(tokens_per_row * len(rows) * steps / steps_per_epoch),
        seconds_per_step=seconds_per_step,
        tokens_per_second=tokens_per_second,
        training_seconds=steps * seconds_per_step,
        training_state_bytes=BYTES_OF_TRAINING_STATE * parameters.total,
        warnings=tuple(_warnings(recipe, corpus, config, parameters.total)),
    )


def _steps(recipe: Recipe, steps_per_epoch: int, seconds_per_step: float, measuring_seconds: float) -> int:
    """The smallest of the limits that the recipe sets."""
    settings = recipe.training
    limits = []
    if settings.steps is not None:
        limits.append(settings.steps)
    elif settings.epochs is not None:
        limits.append(max(1, math.ceil(settings.epochs * steps_per_epoch)))
    if settings.minutes is not None:
        measured_every = (
            settings.evaluate_every if isinstance(settings.evaluate_every, int) else steps_per_epoch
        )
        seconds = seconds_per_step + (
            measuring_seconds / measured_every if settings.evaluate_every != "never" else 0
        )
        limits.append(max(1, int(SAFETY * 60 * settings.minutes / seconds)))
    return min(limits)


def _measuring_seconds(recipe: Recipe, corpus: Corpus, rows: TrainingRows, tokens_per_second: float) -> float:
    """One measurement on the validation part: forward passes whose context slides by half."""
    bases = corpus.part_bases("validation")
    bases = min(bases, recipe.training.validation_bases or bases)
    bases_per_token = rows.encoder.regular_k or max(
        1.0, corpus.part_bases("train") / max(1, corpus.description.get("tokens", 1))
    )
    return FORWARD_SHARE * bases / bases_per_token / recipe.evaluation.stride_fraction / tokens_per_second


def _measure(recipe, config, rows, collator, precision, device) -> tuple[float, float]:
    """Seconds an optimizer step, and mean tokens a row, of a model that is thrown away."""
    settings = recipe.training
    model = build_model(recipe.model, copy.deepcopy(config), recipe.seed).to(device).train()
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    if settings.optimizer == "muon":
        optimizer = MuonWithAdamW(model, settings, set())
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision)
    spread = torch.linspace(0, len(rows) - 1, min(len(rows), 4 * settings.rows_per_batch)).long().tolist()
    batches = [
        collator([rows[i] for i in spread[start :: max(1, len(spread) // settings.rows_per_batch)]])
        for start in range(3)
    ]
    micro_seconds, step_seconds = [], []
    for batch in [batches[0], *batches]:  # the first is a warm-up
        batch = {name: tensor.to(device) for name, tensor in batch.items()}
        begun = time.perf_counter()
        with torch.autocast(device.type, dtype=dtype, enabled=dtype is not None):
            loss = model(**batch).loss
        loss.backward()
        _wait(device)
        after_backward = time.perf_counter()
        optimizer.step()
        optimizer.zero_grad()
        _wait(device)
        micro_seconds.append(after_backward - begun)
        step_seconds.append(time.perf_counter() - after_backward)
    seconds = settings.accumulation_steps * _median(micro_seconds[1:]) + _median(step_seconds[1:])
    tokens = sum(int((batch["labels"][:, 1:] >= 0).sum()) for batch in batches)
    return seconds, tokens / sum(len(batch["labels"]) for batch in batches)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def _median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]


def _warnings(recipe: Recipe, corpus: Corpus, config: PreTrainedConfig, parameters: int) -> list[str]:
    warnings = []
    if not router_can_learn(config):
        warnings.append(
            "the router cannot learn: one expert a token with renormalised weights and no balancing loss gives it no "
            "gradient (as in the tutorial); set model.settings.num_experts_per_tok=2 and output_router_logits=true, or "
            "preset qwen3-moe-105m"
        )
    bases = corpus.part_bases("train")
    if parameters > bases:
        warnings.append(
            f"more parameters ({parameters:,}) than training bases ({bases:,}): the model can learn them by heart"
        )
    if corpus.description["split"]["strategy"] == "random":
        warnings.append(
            "random split: neighbouring and overlapping windows stand on both sides, so held-out figures are too good"
        )
    if not corpus.description["windows"]["heldout"]:
        warnings.append(
            "no held-out part: the figure will be that of the validation part, which picks the checkpoint"
        )
    unknown = corpus.description["unknown_tokens"]
    if unknown:
        warnings.append(
            f"{unknown:,} tokens are unknown to the tokenizer: it cannot spell every base of this corpus"
        )
    return warnings
