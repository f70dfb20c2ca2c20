"""The order of a pretraining: corpus, plan, model, training, final model, self-tests. Each step is one call."""

import importlib.util
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version as library_version
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel, TrainerState

from primase import hardware
from primase.checks import check
from primase.corpus.prepare import prepare
from primase.corpus.store import Corpus
from primase.errors import CheckpointError, InputError, MissingExtraError, PrimaseError
from primase.models.build import build_model, silence_transformers
from primase.own_files import one_line
from primase.recipe import Recipe
from primase.report.card import write_card
from primase.report.page import write_report
from primase.run_folder import ENVIRONMENT_SCHEMA_VERSION, PROVENANCE, RunFolder, is_corpus
from primase.run_lock import RunLock
from primase.safe_text import command_without_secrets
from primase.training import checkpoints
from primase.training.arguments import training_arguments
from primase.training.callbacks import ProgressReport, Report, StopSignals
from primase.training.plan import Plan, plan_training
from primase.training.stopped import open_stopped
from primase.training.trainer import PretrainingTrainer
from primase.training.training_setup import CORPUS_SECTIONS, TrainingSetup
from primase.version import __version__
from primase.whole_files import write_whole


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
    passed_checks: tuple[str, ...] = ()
    """Names of the self-tests of the final model; none where it was interrupted."""
    failed_checks: tuple[str, ...] = ()


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
    on_checking: Callable[[str, float], None] = lambda what, share: None,
) -> PretrainingResult:
    """Train a DNA language model from scratch on FASTA files, tables, or a corpus folder.

    Writes the run folder `output`, the self-tests of the final model in checks.json. Raises RecipeError, InputError,
    OutputExistsError, RunInUseError or ModelError before anything is trained; later NonFiniteLossError or
    ExplodedLossError, and CheckpointError where a checkpoint cannot be written.
    """
    recipe = recipe if isinstance(recipe, Recipe) else Recipe.load(recipe, overrides)
    sources = [sources] if isinstance(sources, str | Path) else list(sources)
    _refuse_sources_inside(sources, output)
    _refuse_several_processes()
    _refuse_missing_trackers(recipe)
    with RunLock() as lock:
        with RunFolder.creating(output, overwrite=overwrite, lock=lock) as run:
            run.recipe_file.write_text(recipe.to_toml(), "utf-8")  # known as a run, even if the process is killed now
            setup = TrainingSetup.open(recipe, open_or_prepare(sources, run, recipe, on_preparing))
            plan = plan_training(setup)
            setup = setup.resolved(plan.steps, is_compiled=plan.is_compiled)
            _write_provenance(run, setup)
        on_plan(plan)
        return _checked(_train(run, setup, plan.warnings, on_step, resume_from=None), on_checking)


def resume(
    run_folder: str | Path,
    *,
    recipe: Recipe | None = None,
    skip_damaged: bool = False,
    accept_changes: bool = False,
    on_step: Report = lambda step, steps, metrics: None,
    on_checking: Callable[[str, float], None] = lambda what, share: None,
) -> PretrainingResult:
    """Go on with an interrupted run from its newest checkpoint, bitwise as if it had not stopped.

    A run that was killed before its first checkpoint begins anew. Raises CheckpointError where the newest checkpoint is
    damaged (with `skip_damaged` the newest good one is taken), or where recipe, corpus, tokenizer or version of Primase
    are not those of the checkpoint (with `accept_changes` the run goes on with those that are there); InputError where
    the corpus is damaged; RunInUseError where another process trains into the run.
    """
    _refuse_several_processes()
    run = RunFolder.open(run_folder)
    with RunLock() as lock:
        lock.take(run.folder)
        setup, checkpoint = open_stopped(run, recipe, skip_damaged=skip_damaged, accept_changes=accept_changes)
        if checkpoint is not None:
            _refuse_broken_state(checkpoint.folder)
        return _checked(_train(run, setup, (), on_step, resume_from=checkpoint), on_checking)


def _refuse_broken_state(folder: Path) -> None:
    """transformers reads this file before it lets us in."""
    try:
        TrainerState.load_from_json(str(folder / "trainer_state.json"))
    except Exception as error:  # of JSON, of a key that is not there, of a key too many
        raise checkpoints.damaged(folder, f"trainer_state.json cannot be read ({one_line(error)})") from error


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
    damage = corpus.damage()
    if damage:
        raise InputError(f"{damage}: the corpus is damaged; restore it, or prepare it again")
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
    return plan_training(TrainingSetup.open(recipe, corpus))


def _refuse_several_processes() -> None:
    """Each would prepare and write the same run folder."""
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    if processes > 1:
        raise PrimaseError(
            f"WORLD_SIZE is {processes}: pretraining runs in one process so far; start it without torchrun"
        )


def _refuse_missing_trackers(recipe: Recipe) -> None:
    for tracker in recipe.training.report_to:
        if importlib.util.find_spec(tracker) is None:
            raise MissingExtraError(
                f"training.report_to: {tracker} is not installed; pip install {tracker}, or leave it out"
            )


def _refuse_sources_inside(sources: Sequence[str | Path], output: str | Path) -> None:
    for source in sources:
        if Path(source).resolve().is_relative_to(Path(output).resolve()):
            raise InputError(f"{source}: lies in the output folder {output}, which is replaced; choose another one")


def _train(
    run: RunFolder,
    setup: TrainingSetup,
    warnings: tuple[str, ...],
    on_step: Report,
    resume_from: checkpoints.Checkpoint | None,
) -> PretrainingResult:
    silence_transformers()
    settings = setup.recipe.training
    model = build_model(setup.recipe.model, setup.config, setup.recipe.seed)
    stop = StopSignals()
    trainer = PretrainingTrainer(
        model=model,
        arguments=training_arguments(
            setup.recipe, run.folder, steps=settings.steps, precision=setup.precision, device=setup.device
        ),
        rows=setup.rows,
        collator=setup.collator,
        settings=settings,
        measure=lambda model: setup.measure_validation(model, is_stopped=lambda: stop.received is not None),
        facts=setup.facts,
        peak_flops=hardware.matrix_product_flops(setup.device, setup.precision),
        callbacks=[ProgressReport(on_step), stop],
    )
    if resume_from is None:
        trainer.metrics_file.keep(0)  # of a run that was killed before its first checkpoint
    try:
        trainer.train(resume_from_checkpoint=str(resume_from.folder) if resume_from else None)
    finally:
        stop.restore()
    state = trainer.state
    if not stop.received:
        _write_final(run, setup, model, state.best_global_step if settings.keep_best else None)
    return PretrainingResult(
        run=run.folder,
        steps=state.global_step,
        planned_steps=settings.steps,
        best_step=state.best_global_step,
        validation_bits_per_base=state.best_metric,
        interrupted=stop.received.name if stop.received else None,
        warnings=warnings,
    )


def _checked(result: PretrainingResult, on_checking: Callable[[str, float], None]) -> PretrainingResult:
    """After the training, so that its memory is free: the final model as its users will load it."""
    if result.interrupted:
        return result
    checks = check(result.run, progress=on_checking).checks
    write_report(result.run)
    write_card(result.run)
    return replace(
        result,
        passed_checks=tuple(check.name for check in checks if check.passed),
        failed_checks=tuple(check.name for check in checks if not check.passed),
    )


def _write_final(run: RunFolder, setup: TrainingSetup, model: PreTrainedModel, best_step: int | None) -> None:
    if best_step is not None:
        best = checkpoints.checkpoint_folder(run.folder, best_step)
        damage = checkpoints.damage_of(best)
        if damage:
            raise CheckpointError(
                f"{damage}: the best checkpoint is damaged; restore it, or take the last weights instead with "
                f"primase pretrain --resume {run.folder} --set training.keep_best=false --accept-changes"
            )
        checkpoints.load_weights(model, best)
    needed = checkpoints.bytes_of_state(model)
    with checkpoints.writing_folder(run.folder, run.final.name, checkpoints.FINAL_MARKER, {}, needed) as folder:
        model.save_pretrained(folder)
        setup.tokenizer.model_max_length = setup.rows.row_tokens
        setup.tokenizer.save_pretrained(folder)


def _write_provenance(run: RunFolder, setup: TrainingSetup) -> None:
    write_whole(run.recipe_file, setup.recipe.to_toml().encode())
    libraries = ("torch", "transformers", "accelerate", "tokenizers", "numpy", "pyarrow", "safetensors")
    environment = {
        "schema_version": ENVIRONMENT_SCHEMA_VERSION,
        "primase": __version__,
        "python": platform.python_version(),
        "libraries": {name: library_version(name) for name in libraries},
        "hardware": hardware.describe(),
        "precision": setup.precision,
        "command": command_without_secrets(sys.argv),
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "corpus_digest": setup.corpus.digest,
        "sources": setup.corpus.description["sources"],
    }
    write_whole(run.folder / PROVENANCE, (json.dumps(environment, indent=2) + "\n").encode())
