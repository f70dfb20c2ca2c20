"""The order of a pretraining: corpus, model, plan, training, final model. Each step is one call."""

import json
import math
import platform
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version as library_version
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from primase import dna
from primase.corpus.prepare import prepare
from primase.corpus.rows import PaddingCollator, TrainingRows
from primase.corpus.store import Corpus, draw_windows
from primase.errors import CheckpointError, InputError
from primase.models.build import build_model, configuration, silence_transformers
from primase.recipe import Recipe
from primase.run_folder import RunFolder, is_corpus
from primase.scoring import LoadedModel, score_windows
from primase.sequence_encoder import SequenceEncoder
from primase.tokenizers import load_tokenizer
from primase.training import checkpoints, hardware
from primase.training.callbacks import ProgressReport, Report, StopSignals
from primase.training.plan import Plan, plan_training
from primase.training.trainer import PretrainingTrainer, load_weights, training_arguments
from primase.version import __version__

CORPUS_SECTIONS = ("seed", "data", "split", "tokenizer")


@dataclass(frozen=True)
class PretrainingResult:
    """How a pretraining ended."""

    run: Path
    steps: int
    planned_steps: int
    best_step: int | None
    validation_bits_per_base: float | None
    interrupted: str | None
    """Name of the signal that stopped it, or None."""
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class _Workshop:
    """Everything that planning and training share."""

    recipe: Recipe
    corpus: Corpus
    tokenizer: PreTrainedTokenizerBase
    config: PreTrainedConfig
    rows: TrainingRows
    collator: PaddingCollator
    device: torch.device
    precision: str


def pretrain(
    sources: str | Path | Sequence[str | Path],
    output: str | Path,
    recipe: str | Path | Recipe = "small",
    *,
    overrides: Iterable[str] | Mapping[str, Any] = (),
    overwrite: bool = False,
    on_plan: Callable[[Plan], None] = lambda plan: None,
    on_preparing: Callable[[str, float], None] = lambda what, share: None,
    on_step: Report = lambda step, steps, metrics: None,
) -> PretrainingResult:
    """Train a DNA language model from scratch on FASTA files, tables, or a corpus folder; write the run folder `output`.

    Raises RecipeError, InputError, OutputExistsError, ModelError before anything is trained, and NonFiniteLossError.
    """
    recipe = recipe if isinstance(recipe, Recipe) else Recipe.load(recipe, overrides)
    sources = [sources] if isinstance(sources, str | Path) else list(sources)
    run = RunFolder.create(output, overwrite=overwrite)
    try:
        corpus = open_or_prepare(sources, run, recipe, on_preparing)
        shop = _open_workshop(recipe, corpus)
        plan = _plan(shop)
        shop = _with_steps(shop, plan)
        _write_provenance(run, shop)
    except BaseException:
        shutil.rmtree(run.folder, ignore_errors=True)
        raise
    on_plan(plan)
    return _train(run, shop, plan.warnings, on_step, resume_from=None)


def resume(
    run_folder: str | Path,
    *,
    recipe: Recipe | None = None,
    on_step: Report = lambda step, steps, metrics: None,
) -> PretrainingResult:
    """Go on with an interrupted run from its newest complete checkpoint, bitwise as if it had not stopped.

    Raises CheckpointError where there is none, or where it belongs to another recipe or corpus.
    """
    run = RunFolder.open(run_folder)
    own = run.recipe()
    if recipe is not None and recipe != own:
        raise CheckpointError(
            f"{run.folder}: the run was begun with another recipe ({'; '.join(recipe.differences(own)[:3])}); "
            "resume without recipe options, or pretrain into another folder"
        )
    saved = checkpoints.complete_checkpoints(run.folder)
    if not saved:
        raise CheckpointError(
            f"{run.folder}: no complete checkpoint to go on from; start again with --overwrite"
        )
    shop = _open_workshop(own, run.corpus())
    for name, value in _facts(shop).items():
        if saved[-1].facts[name] != value:
            raise CheckpointError(
                f"{saved[-1].folder}: the checkpoint belongs to another {name.removesuffix('_digest')} "
                f"({saved[-1].facts[name]}, not {value}); restore the {name.removesuffix('_digest')} or pretrain again"
            )
    return _train(run, shop, (), on_step, resume_from=saved[-1])


def open_or_prepare(
    sources: Sequence[str | Path], run: RunFolder, recipe: Recipe, on_preparing: Callable[[str, float], None]
) -> Corpus:
    """A corpus folder given as the only source is used where it lies; anything else is prepared into the run."""
    if len(sources) != 1 or not is_corpus(sources[0]):
        return prepare(sources, run.folder / "corpus", recipe, progress=on_preparing)
    corpus = Corpus.open(sources[0])
    if corpus.description["recipe_digest"] != recipe.digest(*CORPUS_SECTIONS):
        raise InputError(
            f"{sources[0]}: prepared with other {', '.join(CORPUS_SECTIONS)} settings than this recipe's; "
            "prepare it with the same recipe and --set options, or give the sequences themselves"
        )
    run.refer_to(corpus)
    return corpus


def plan(
    sources: str | Path | Sequence[str | Path],
    workplace: Path,
    recipe: Recipe,
    on_preparing: Callable[[str, float], None] = lambda what, share: None,
) -> Plan:
    """Prepare into the (temporary) folder `workplace` and say what the run would take, without training."""
    sources = [sources] if isinstance(sources, str | Path) else list(sources)
    corpus = open_or_prepare(sources, RunFolder(workplace), recipe, on_preparing)
    return _plan(_open_workshop(recipe, corpus))


def _open_workshop(recipe: Recipe, corpus: Corpus) -> _Workshop:
    device = hardware.best_device()
    tokenizer = load_tokenizer(str(corpus.folder / "tokenizer"))
    encoder = SequenceEncoder(tokenizer)
    config = configuration(recipe.model, tokenizer)
    positions = config.max_position_embeddings
    row_tokens = recipe.training.row_tokens or positions
    if row_tokens > positions:
        raise InputError(
            f"training.row_tokens is {row_tokens}, but the model has {positions} positions; lower it"
        )
    rows = TrainingRows(corpus, "train", encoder, recipe.training, row_tokens, recipe.seed)
    collator = PaddingCollator(tokenizer.pad_token_id, tokenizer.padding_side)
    precision = hardware.resolve_precision(recipe.training.precision, device)
    return _Workshop(recipe, corpus, tokenizer, config, rows, collator, device, precision)


def _plan(shop: _Workshop) -> Plan:
    return plan_training(
        shop.recipe, shop.corpus, shop.config, shop.rows, shop.collator, shop.precision, shop.device
    )


def _with_steps(shop: _Workshop, plan: Plan) -> _Workshop:
    """The number of steps is part of the written recipe, so that a run by the clock can be repeated exactly."""
    recipe = shop.recipe.replace({"training.steps": plan.steps})
    return _Workshop(**{**vars(shop), "recipe": recipe})


def _facts(shop: _Workshop) -> dict[str, str]:
    return {"recipe_digest": shop.recipe.digest(), "corpus_digest": shop.corpus.digest}


def _train(
    run: RunFolder,
    shop: _Workshop,
    warnings: tuple[str, ...],
    on_step: Report,
    resume_from: checkpoints.Checkpoint | None,
) -> PretrainingResult:
    silence_transformers()
    hardware.share_cores()
    model = build_model(shop.recipe.model, shop.config, shop.recipe.seed)
    settings = shop.recipe.training
    stop = StopSignals()
    callbacks: list[transformers.TrainerCallback] = [ProgressReport(on_step), stop]
    if settings.patience is not None and settings.evaluate_every != "never":
        callbacks.append(transformers.EarlyStoppingCallback(early_stopping_patience=settings.patience))
    trainer = PretrainingTrainer(
        model=model,
        arguments=training_arguments(
            shop.recipe, run.folder, steps=settings.steps, precision=shop.precision, device=shop.device
        ),
        rows=shop.rows,
        collator=shop.collator,
        settings=settings,
        measure=lambda model: _measure_validation(shop, model),
        facts=_facts(shop),
        peak_flops=hardware.matrix_product_flops(shop.device, shop.precision),
        callbacks=callbacks,
    )
    try:
        trainer.train(resume_from_checkpoint=str(resume_from.folder) if resume_from else None)
    finally:
        stop.restore()
    state = trainer.state
    best = state.best_global_step or None
    if not stop.received:
        _write_final(run, shop, model, best if settings.keep_best else None)
    return PretrainingResult(
        run.folder,
        state.global_step,
        settings.steps,
        best,
        state.best_metric,
        stop.received and stop.received.name,
        warnings,
    )


def _measure_validation(shop: _Workshop, model: PreTrainedModel) -> dict[str, float]:
    """Bits per base and nats per token of the validation part, forward strand."""
    loaded = LoadedModel(model, shop.tokenizer, shop.rows.encoder, shop.rows.row_tokens)
    indices = draw_windows(shop.corpus, "validation", shop.recipe.training.validation_bases, shop.recipe.seed)
    nats, tokens, bases = 0.0, 0, 0
    windows = list(shop.corpus.iterate(indices))
    for window, score in zip(
        windows,
        score_windows(loaded, windows, stride_fraction=shop.recipe.evaluation.stride_fraction),
        strict=True,
    ):
        nats += score.nats.sum()
        tokens += len(score.ids)
        bases += int(dna.is_acgt(window).sum())
    return {
        "bits_per_base": float(nats / math.log(2) / max(bases, 1)),
        "loss_nats_per_token": float(nats / max(tokens, 1)),
    }


def _write_final(run: RunFolder, shop: _Workshop, model: PreTrainedModel, best_step: int | None) -> None:
    if best_step is not None:
        best = checkpoints.read_checkpoint(
            checkpoints.checkpoints_folder(run.folder) / f"step-{best_step:06d}"
        )
        if best is None:
            raise CheckpointError(
                f"{run.folder}: the best checkpoint (step {best_step}) is gone; resume from an earlier one"
            )
        load_weights(model, best.folder)
    partial = run.folder / ".final.partial"
    shutil.rmtree(partial, ignore_errors=True)
    model.save_pretrained(partial)
    shop.tokenizer.model_max_length = shop.rows.row_tokens
    shop.tokenizer.save_pretrained(partial)
    shutil.rmtree(run.final, ignore_errors=True)
    partial.rename(run.final)


def _write_provenance(run: RunFolder, shop: _Workshop) -> None:
    run.recipe_file.write_text(shop.recipe.to_toml(), "utf-8")
    libraries = ("torch", "transformers", "accelerate", "tokenizers", "numpy", "pyarrow", "safetensors")
    environment = {
        "schema_version": 1,
        "primase": __version__,
        "python": platform.python_version(),
        "libraries": {name: library_version(name) for name in libraries},
        "hardware": hardware.describe(),
        "precision": shop.precision,
        "command": sys.argv,
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "corpus_digest": shop.corpus.digest,
        "sources": shop.corpus.description["sources"],
    }
    (run.folder / "environment.json").write_text(json.dumps(environment, indent=2) + "\n", "utf-8")
