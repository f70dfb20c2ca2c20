"""What a run will take, before it starts: parameters, tokens, steps, memory, and the time measured on this machine."""

import math
import time
from dataclasses import dataclass

import numpy as np
import torch

from primase import hardware
from primase.corpus.rows import PaddingCollator, TrainingRows
from primase.models.build import build_model, count_parameters, router_can_learn
from primase.recipe import TrainingSettings
from primase.results import MUCH_LEAKAGE, Leakage
from primase.training.optimizers import MuonWithAdamW
from primase.training.training_setup import TrainingSetup

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
    peak_memory_bytes: int
    """Of this process up to the end of the timing, activations and libraries included; on a GPU, of its memory."""
    warnings: tuple[str, ...]

    @property
    def epochs(self) -> float:
        return self.steps / self.steps_per_epoch


def plan_training(setup: TrainingSetup, processes: int = 1) -> Plan:
    """Time a few optimizer steps of a throwaway model on real rows and extrapolate.

    `processes` share the rows of a step; what their gradients take to be added up is not reckoned.
    """
    recipe, corpus, rows = setup.recipe, setup.corpus, setup.rows
    parameters = count_parameters(setup.config)
    epoch_steps = steps_per_epoch(len(rows), recipe.training)
    batches_per_step = math.ceil(len(rows) / recipe.training.rows_per_batch) / epoch_steps
    speed = _measure(setup)
    seconds_per_step = batches_per_step / processes * speed.seconds_per_batch + speed.seconds_per_update
    tokens_per_epoch = speed.tokens_per_row * len(rows)
    tokens_per_second = tokens_per_epoch / epoch_steps / seconds_per_step
    steps = _steps(recipe.training, epoch_steps, seconds_per_step, _measuring_seconds(setup, tokens_per_second))
    return Plan(
        parameters=parameters.total,
        active_parameters=parameters.active,
        train_bases=corpus.part_bases("train"),
        train_windows=len(corpus.part("train")),
        rows_per_epoch=len(rows),
        tokens_per_epoch=round(tokens_per_epoch),
        steps_per_epoch=epoch_steps,
        steps=steps,
        tokens=round(tokens_per_epoch * steps / epoch_steps),
        seconds_per_step=seconds_per_step,
        tokens_per_second=tokens_per_second,
        training_seconds=steps * seconds_per_step,
        training_state_bytes=BYTES_OF_TRAINING_STATE * parameters.total,
        peak_memory_bytes=hardware.peak_memory_bytes(setup.device),
        warnings=tuple(_warnings(setup, parameters.total)),
    )


def steps_per_epoch(rows: int, settings: TrainingSettings) -> int:
    """Optimizer steps of a pass over so many rows; the last batch and the last accumulation may be smaller ones."""
    return math.ceil(math.ceil(rows / settings.rows_per_batch) / settings.accumulation_steps)


def _steps(settings: TrainingSettings, epoch_steps: int, seconds_per_step: float, measuring_seconds: float) -> int:
    """The smallest of the limits that the recipe sets."""
    limits = []
    if settings.steps is not None:
        limits.append(settings.steps)
    elif settings.epochs is not None:
        limits.append(max(1, math.ceil(settings.epochs * epoch_steps)))
    if settings.minutes is not None:
        measured_every = settings.evaluate_every if isinstance(settings.evaluate_every, int) else epoch_steps
        seconds = seconds_per_step + (measuring_seconds / measured_every if settings.evaluate_every != "never" else 0)
        limits.append(max(1, int(SAFETY * 60 * settings.minutes / seconds)))
    return min(limits)


def _measuring_seconds(setup: TrainingSetup, tokens_per_second: float) -> float:
    """One measurement on the validation part: forward passes, whose context slides over windows longer than it."""
    recipe, corpus, rows = setup.recipe, setup.corpus, setup.rows
    bases = corpus.part_bases("validation")
    bases = min(bases, recipe.training.validation_bases or bases)
    lengths = corpus.windows["length"]
    bases_per_token = rows.encoder.regular_k or lengths.sum(dtype=np.int64) / corpus.description["tokens"]
    slides = lengths.max() / bases_per_token > rows.capacity_tokens
    passes = 1 / recipe.evaluation.stride_fraction if slides else 1
    return FORWARD_SHARE * passes * bases / bases_per_token / tokens_per_second


@dataclass(frozen=True)
class _Speed:
    """What a model that is thrown away took on this machine."""

    seconds_per_batch: float
    """Forward and backward."""
    seconds_per_update: float
    tokens_per_row: float
    """Target tokens, mean."""


def _measure(setup: TrainingSetup) -> _Speed:
    settings, device = setup.recipe.training, setup.device
    model = build_model(setup.recipe.model, setup.config, setup.recipe.seed).to(device).train()
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    if settings.optimizer == "muon":
        optimizer = MuonWithAdamW(model, settings, set())
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(setup.precision)
    batches = _spread_batches(setup.rows, setup.collator, min(settings.rows_per_batch, len(setup.rows)))
    batch_seconds, update_seconds = [], []
    for batch in [batches[0], *batches]:  # the first is a warm-up
        batch = {name: tensor.to(device) for name, tensor in batch.items()}
        begun = time.perf_counter()
        with torch.autocast(device.type, dtype=dtype, enabled=dtype is not None):
            loss = model(**batch, use_cache=False).loss
        loss.backward()
        hardware.wait(device)
        after_backward = time.perf_counter()
        optimizer.step()
        optimizer.zero_grad()
        hardware.wait(device)
        batch_seconds.append(after_backward - begun)
        update_seconds.append(time.perf_counter() - after_backward)
    tokens = sum(int((batch["labels"][:, 1:] >= 0).sum()) for batch in batches)
    return _Speed(
        seconds_per_batch=float(np.median(batch_seconds[1:])),
        seconds_per_update=float(np.median(update_seconds[1:])),
        tokens_per_row=tokens / sum(len(batch["labels"]) for batch in batches),
    )


def _spread_batches(rows: TrainingRows, collator: PaddingCollator, rows_per_batch: int) -> list[dict]:
    """Three batches of rows from everywhere in the corpus; rows repeat where there are few."""
    spread = np.linspace(0, len(rows) - 1, 3 * rows_per_batch).astype(int).tolist()
    return [collator([rows[row] for row in spread[first::3]]) for first in range(3)]


def _warnings(setup: TrainingSetup, parameters: int) -> list[str]:
    corpus, warnings = setup.corpus, []
    if not router_can_learn(setup.config):
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
        warnings.append("no held-out part: the figure will be that of the validation part, which picks the checkpoint")
    certificate = corpus.leakage()
    if certificate is not None and certificate[0].half_kmers_share > MUCH_LEAKAGE:
        warnings.append(_leakage_warning(certificate[0], corpus.description["split"]["strategy"]))
    unknown = corpus.description["unknown_tokens"]
    if unknown:
        warnings.append(f"{unknown:,} tokens are unknown to the tokenizer: it cannot spell every base of this corpus")
    return warnings


def _leakage_warning(leakage: Leakage, strategy: str) -> str:
    part = "held-out" if leakage.part == "heldout" else "validation"
    remedy = "a lower split.homology_share" if strategy == "homology" else "split.strategy=homology"
    return (
        f"{leakage.half_kmers_share:.1%} of the {part} windows have half of their {leakage.kmer_bases}-mers or more in "
        f"the training part, where a model can learn them by heart; {remedy} keeps more of such copies on one side"
    )
