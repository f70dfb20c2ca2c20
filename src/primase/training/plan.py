"""What a run will take, before it starts: parameters, tokens, steps, memory, and the time measured on this machine."""

import math
import time
from dataclasses import dataclass

import numpy as np
import torch

from primase import hardware
from primase.corpus.rows import IGNORED_LABEL, PaddingCollator, TrainingRows, next_tokens
from primase.models.build import build_model, count_parameters, router_can_learn
from primase.models.compiling import can_compile, prepare_layers
from primase.models.losses import batch_nats
from primase.models.packing import packed
from primase.recipe import TrainingSettings
from primase.results import MUCH_LEAKAGE, Leakage
from primase.sequence_encoder import unknown_in_words
from primase.training.forecast import Forecast, forecast, why_none
from primase.training.optimizers import MuonWithAdamW
from primase.training.training_setup import TrainingSetup

BYTES_OF_TRAINING_STATE = 16
"""A parameter in training: fp32 weight, gradient and two Adam moments, 4 bytes each."""

FORWARD_SHARE = 1 / 3
"""A forward pass costs a third of a forward and backward pass."""

COMPILING_PAYS_SECONDS = 240
"""Compiling took 21 to 51 seconds, and steps then took about two thirds of their time (docs/speed-log.md)."""

LEAST_TIMED_SECONDS, MOST_TIMED_STEPS = 1.0, 12
"""Steps of a small model are timed for at least so long, or so often: its first ones are slower than the rest."""

ENOUGH_WINDOWS, MOST_OF_IT = 40, 0.7
"""Fewer windows than these, or a smaller share of a genome in its training part, are worth a warning, if both."""

SAFETY = 0.95
"""Share of the time asked for that is planned; the rest is for checkpoints and a noisy machine."""


@dataclass(frozen=True)
class Plan:
    """The cost of a run."""

    preset: str | None
    """Of the model, chosen where the recipe said `auto`; None for a configuration of the user's."""
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
    """Of this process up to the end of the timing, with activations, libraries and other sizes that were timed; on a
    GPU, of its memory."""
    is_compiled: bool
    """Whether the layers go through torch.compile; the time that it takes is in none of the figures above."""
    forecast: Forecast | None
    """Of the validation part's bits per base at the end."""
    no_forecast: str | None
    """Why there is none: what it was fitted to."""
    warnings: tuple[str, ...]

    @property
    def epochs(self) -> float:
        return self.steps / self.steps_per_epoch


def plan_training(setup: TrainingSetup, processes: int = 1) -> Plan:
    """Time a few optimizer steps of a throwaway model on real rows and extrapolate.

    `processes` share the rows of a step; what their gradients take to be added up is not reckoned.
    """
    recipe, corpus = setup.recipe, setup.corpus
    parameters = count_parameters(setup.config)
    is_compiled = recipe.training.compile == "yes"
    pace = _pace(setup, processes, is_compiled=is_compiled)
    if not is_compiled and compiles(setup, pace.seconds):
        is_compiled, pace = True, _pace(setup, processes, is_compiled=True)
    return Plan(
        preset=recipe.model.preset,
        parameters=parameters.total,
        active_parameters=parameters.active,
        train_bases=corpus.part_bases("train"),
        train_windows=len(corpus.part("train")),
        rows_per_epoch=len(setup.rows),
        tokens_per_epoch=round(pace.tokens_per_epoch),
        steps_per_epoch=pace.epoch_steps,
        steps=pace.steps,
        tokens=round(pace.tokens),
        seconds_per_step=pace.seconds_per_step,
        tokens_per_second=pace.tokens_per_epoch / pace.epoch_steps / pace.seconds_per_step,
        training_seconds=pace.seconds,
        training_state_bytes=BYTES_OF_TRAINING_STATE * parameters.total,
        peak_memory_bytes=hardware.peak_memory_bytes(setup.device),
        is_compiled=is_compiled,
        forecast=forecast(recipe, corpus, parameters.total, pace.tokens * _bases_per_token(setup)),
        no_forecast=why_none(recipe, corpus),
        warnings=tuple(_warnings(setup, parameters.total)),
    )


@dataclass(frozen=True)
class Reading:
    """How far a run would get."""

    bases: float
    """Each at each reading."""
    seconds: float
    """Of training."""


def time_reading(setup: TrainingSetup, processes: int = 1, *, is_compiled: bool = False) -> Reading:
    """Time a few steps, with layers that are compiled or not, and say how far the run would get so."""
    pace = _pace(setup, processes, is_compiled=is_compiled)
    return Reading(pace.tokens * _bases_per_token(setup), pace.seconds)


def compiles(setup: TrainingSetup, seconds: float) -> bool:
    """Whether a run that takes so many seconds without would compile its layers."""
    if setup.recipe.training.compile != "auto":
        return setup.recipe.training.compile == "yes"
    # On a GPU, and on a CPU without vectors of AVX2, nobody has measured it yet.
    is_measured = setup.device.type == "cpu" and torch.cpu._is_avx2_supported()
    return is_measured and seconds > COMPILING_PAYS_SECONDS and can_compile(setup.device)


@dataclass(frozen=True)
class _Pace:
    """How quickly a run goes, and how far it gets."""

    epoch_steps: int
    tokens_per_epoch: float
    seconds_per_step: float
    steps: int

    @property
    def tokens(self) -> float:
        """Of the whole run."""
        return self.tokens_per_epoch * self.steps / self.epoch_steps

    @property
    def seconds(self) -> float:
        """Of training, the whole run."""
        return self.steps * self.seconds_per_step


def _pace(setup: TrainingSetup, processes: int, *, is_compiled: bool) -> _Pace:
    training, rows = setup.recipe.training, setup.rows
    epoch_steps = steps_per_epoch(len(rows), training)
    batches_per_step = math.ceil(len(rows) / training.rows_per_batch) / epoch_steps
    speed = _measure(setup, is_compiled=is_compiled)
    seconds_per_step = batches_per_step / processes * speed.seconds_per_batch + speed.seconds_per_update
    tokens_per_epoch = speed.tokens_per_row * len(rows)
    measuring_seconds = _measuring_seconds(setup, tokens_per_epoch / epoch_steps / seconds_per_step)
    most_epochs = training.most_epochs(setup.corpus.part_bases("train"))
    steps = _steps(training, most_epochs, epoch_steps, seconds_per_step, measuring_seconds, speed.compiling_seconds)
    return _Pace(epoch_steps, tokens_per_epoch, seconds_per_step, steps)


def steps_per_epoch(rows: int, settings: TrainingSettings) -> int:
    """Optimizer steps of a pass over so many rows; the last batch and the last accumulation may be smaller ones."""
    return math.ceil(math.ceil(rows / settings.rows_per_batch) / settings.accumulation_steps)


def _steps(
    settings: TrainingSettings,
    most_epochs: float | None,
    epoch_steps: int,
    seconds_per_step: float,
    measuring_seconds: float,
    compiling_seconds: float,
) -> int:
    """The smallest of the limits that the recipe sets."""
    limits = []
    if settings.steps is not None:
        limits.append(settings.steps)
    elif most_epochs is not None:
        limits.append(max(1, math.ceil(most_epochs * epoch_steps)))
    if settings.minutes is not None:
        measured_every = settings.evaluate_every if isinstance(settings.evaluate_every, int) else epoch_steps
        seconds = seconds_per_step + (measuring_seconds / measured_every if settings.evaluate_every != "never" else 0)
        limits.append(max(1, int((SAFETY * 60 * settings.minutes - compiling_seconds) / seconds)))
    return min(limits)


def _measuring_seconds(setup: TrainingSetup, tokens_per_second: float) -> float:
    """One measurement on the validation part: forward passes, whose context slides over windows longer than it."""
    recipe, corpus, rows = setup.recipe, setup.corpus, setup.rows
    bases = corpus.part_bases("validation")
    bases = min(bases, recipe.training.validation_bases or bases)
    lengths = corpus.windows["length"]
    bases_per_token = _bases_per_token(setup)
    slides = lengths.max() / bases_per_token > rows.capacity_tokens
    passes = 1 / recipe.evaluation.stride_fraction if slides else 1
    return FORWARD_SHARE * passes * bases / bases_per_token / tokens_per_second


def _bases_per_token(setup: TrainingSetup) -> float:
    """Mean over the corpus."""
    corpus = setup.corpus
    lengths = corpus.windows["length"]
    return setup.rows.encoder.regular_k or lengths.sum(dtype=np.int64) / corpus.description["tokens"]


@dataclass(frozen=True)
class _Speed:
    """What a model that is thrown away took on this machine."""

    seconds_per_batch: float
    """Forward and backward."""
    seconds_per_update: float
    tokens_per_row: float
    """Target tokens, mean."""
    compiling_seconds: float
    """By which the first batch took longer, where the layers are compiled."""


def _measure(setup: TrainingSetup, *, is_compiled: bool) -> _Speed:
    settings, device = setup.recipe.training, setup.device
    model = build_model(setup.recipe.model, setup.config, setup.recipe.seed).to(device).train()
    prepare_layers(model, is_compiled=is_compiled)
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    if settings.optimizer == "muon":
        optimizer = MuonWithAdamW(model, settings, set())
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(setup.precision)
    batches = _spread_batches(setup.rows, setup.collator, min(settings.rows_per_batch, len(setup.rows)))
    tokens = sum(int((next_tokens(batch["labels"]) != IGNORED_LABEL).sum()) for batch in batches)
    batch_seconds, update_seconds = [], []
    for number in range(2 + MOST_TIMED_STEPS):  # the first two warm up and, where asked to, compile
        if number >= 2 + len(batches) and sum(batch_seconds[2:]) > LEAST_TIMED_SECONDS:
            break
        batch = batches[number % len(batches)]
        batch = {name: tensor.to(device) for name, tensor in batch.items()}
        batch["targets"] = next_tokens(batch["labels"])
        begun = time.perf_counter()
        with (
            torch.autocast(device.type, dtype=dtype, enabled=dtype is not None),
            packed(model, batch, IGNORED_LABEL, dtype or model.dtype) as batch,
        ):
            nats, _ = batch_nats(model, batch, IGNORED_LABEL, unwrapped=model)
        nats.backward()
        hardware.wait(device)
        after_backward = time.perf_counter()
        optimizer.step()
        optimizer.zero_grad()
        hardware.wait(device)
        batch_seconds.append(after_backward - begun)
        update_seconds.append(time.perf_counter() - after_backward)
    typical = float(np.median(batch_seconds[2:]))
    return _Speed(
        seconds_per_batch=typical,
        seconds_per_update=float(np.median(update_seconds[2:])),
        tokens_per_row=tokens / sum(len(batch["input_ids"]) for batch in batches),
        compiling_seconds=max(0.0, sum(batch_seconds[:2]) - 2 * typical) if is_compiled else 0.0,
    )


def _spread_batches(rows: TrainingRows, collator: PaddingCollator, rows_per_batch: int) -> list[dict]:
    """Three batches of rows from everywhere in the corpus and of all lengths; rows repeat where there are few."""
    by_length = np.argsort(rows.lengths(), kind="stable")
    spread = by_length[np.linspace(0, len(rows) - 1, 3 * rows_per_batch).astype(int)].tolist()
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
    if short := _shorter_windows(setup):
        warnings.append(short)
    if few := _few_windows(setup):
        warnings.append(few)
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
        warnings.append(f"{unknown_in_words(unknown)}: it cannot spell every base of this corpus")
    return warnings


def _shorter_windows(setup: TrainingSetup) -> str | None:
    """Of windows far shorter than the recipe's, so that a step holds far fewer tokens than its rates are for."""
    description, recipe = setup.corpus.description, setup.recipe
    mean_bases = description["bases"]["train"] / max(1, description["windows"]["train"])
    rows_to_fill_one = setup.rows.capacity_units / max(1.0, float(setup.rows.lengths().mean()))
    if 2 * mean_bases >= recipe.data.window_bases or rows_to_fill_one <= 2:
        return None
    return (
        f"windows have {mean_bases:,.0f} bases on average, where the recipe is for {recipe.data.window_bases:,}: its "
        f"steps hold 1/{rows_to_fill_one:,.0f} of the tokens that its rates are for; set training.rows_per_batch="
        f"{recipe.training.rows_per_batch * rows_to_fill_one:.0f}"
    )


def _few_windows(setup: TrainingSetup) -> str | None:
    """Of a genome of so few windows that the other parts, and the gaps between them, take much of it."""
    bases, windows = setup.corpus.description["bases"], setup.corpus.description["windows"]
    all_bases = sum(bases.values())
    if sum(windows.values()) >= ENOUGH_WINDOWS or bases["train"] >= MOST_OF_IT * all_bases:
        return None
    shorter = max(100, all_bases // ENOUGH_WINDOWS // 100 * 100)
    return (
        f"only {bases['train']:,} of {all_bases:,} bases are trained on: windows of {setup.recipe.data.window_bases:,} "
        f"are too long to divide so few; set data.window_bases={shorter}"
    )


def _leakage_warning(leakage: Leakage, strategy: str) -> str:
    part = "held-out" if leakage.part == "heldout" else "validation"
    remedy = "a lower split.homology_share" if strategy == "homology" else "split.strategy=homology"
    return (
        f"{leakage.half_kmers_share:.1%} of the {part} windows have half of their {leakage.kmer_bases}-mers or more in "
        f"the training part, where a model can learn them by heart; {remedy} keeps more of such copies on one side"
    )
