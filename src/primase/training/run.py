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

import torch
from transformers import PreTrainedModel, TrainerState

from primase import hardware, processes
from primase.checks import check
from primase.corpus.prepare import prepare
from primase.corpus.store import Corpus
from primase.errors import CheckpointError, InputError, MissingExtraError, RecipeError
from primase.models.build import build_model, count_parameters, experts, silence_transformers
from primase.own_files import one_line
from primase.recipe import Recipe
from primase.report.card import write_card
from primase.report.page import write_report
from primase.results import Check
from primase.run_folder import ENVIRONMENT_SCHEMA_VERSION, PROVENANCE, RunFolder, is_corpus
from primase.run_lock import RunLock
from primase.safe_text import command_without_secrets
from primase.training import checkpoints, sharding
from primase.training.arguments import training_arguments
from primase.training.callbacks import ProgressReport, Report, StopSignals
from primase.training.forecast import Forecast, forecast
from primase.training.plan import Plan, plan_training
from primase.training.size import sized_setup
from primase.training.stopped import open_stopped
from primase.training.time_limit import TimeLimit
from primase.training.trainer import PretrainingTrainer, training_batches
from primase.training.training_setup import CORPUS_SECTIONS, TrainingSetup
from primase.version import __version__
from primase.whole_files import with_usual_modes, write_whole


@dataclass(frozen=True)
class PretrainingResult:
    """How a pretraining ended."""

    run: Path
    steps: int
    planned_steps: int
    """As it stands: fewer than at first where the run was shortened."""
    best_step: int | None
    validation_bits_per_base: float | None
    interrupted: str | None
    """Name of the signal that stopped it, or None."""
    warnings: tuple[str, ...]
    forecast: Forecast | None = None
    """Of `validation_bits_per_base`, as the run began; None for a recipe that it was not fitted to."""
    passed_checks: tuple[str, ...] = ()
    """Names of the self-tests of the final model; none where it was interrupted."""
    failed_checks: tuple[str, ...] = ()
    is_shortened: bool = False
    """Whether it turned out slower than it was timed, and was given fewer steps to end in its time."""


def pretrain(
    sources: str | Path | Sequence[str | Path],
    output: str | Path,
    recipe: str | Path | Recipe = "default",
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
    _refuse_launch(recipe)
    _refuse_missing_trackers(recipe)
    processes.start()
    workers = processes.count()
    with RunLock() as lock:

        def begin() -> Plan:
            with RunFolder.creating(output, overwrite=overwrite, lock=lock) as run:
                run.recipe_file.write_text(recipe.to_toml(), "utf-8")  # known as a run, even if killed now
                setup = sized_setup(recipe, open_or_prepare(sources, run, recipe, on_preparing), workers)
                plan = plan_training(setup, workers)
                _write_provenance(run, setup.resolved(plan.steps, is_compiled=plan.is_compiled), workers)
            return plan

        plan = processes.by_main(begin)
        if processes.is_main():
            on_plan(plan)
        run = RunFolder.open(output)
        setup = TrainingSetup.open(run.recipe(), run.corpus())
        seconds = recipe.training.minutes and 60 * recipe.training.minutes
        return _checked(_train(run, setup, plan.warnings, on_step, resume_from=None, seconds=seconds), on_checking)


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
    processes.start()
    run = RunFolder.open(run_folder)
    _refuse_launch(recipe or run.recipe())
    with RunLock() as lock:

        def find() -> checkpoints.Checkpoint | None:
            lock.take(run.folder)
            _, checkpoint = open_stopped(run, recipe, skip_damaged=skip_damaged, accept_changes=accept_changes)
            if checkpoint is not None:
                _refuse_broken_state(checkpoint.folder)
            return checkpoint

        checkpoint = processes.by_main(find)
        setup = TrainingSetup.open(run.recipe(), run.corpus())  # as they are now, with what was accepted
        return _checked(_train(run, setup, (), on_step, resume_from=checkpoint), on_checking)


def _refuse_broken_state(folder: Path) -> None:
    """transformers reads this file before it lets us in."""
    try:
        TrainerState.load_from_json(str(folder / "trainer_state.json"))
    except Exception as error:  # of JSON, of a key that is not there, of a key too many
        raise checkpoints.damaged(folder, f"trainer_state.json cannot be read ({one_line(error)})") from error


def is_begun(output: str | Path) -> bool:
    """Whether `output` holds a run with something to lose, a final model or a checkpoint; `resume` names a damaged one.

    The main process looks, for all.
    """
    processes.start()
    run = RunFolder(Path(output))
    return processes.by_main(
        lambda: is_run(output) and (run.final.exists() or any(run.folder.glob("checkpoints/step-*")))
    )


def is_run(output: str | Path) -> bool:
    return RunFolder(Path(output)).recipe_file.is_file()


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
    return plan_training(sized_setup(recipe, corpus))


def _refuse_launch(recipe: Recipe) -> None:
    rows = recipe.training.rows_per_batch * recipe.training.accumulation_steps
    if processes.count() > rows:
        raise RecipeError(
            f"{processes.count()} processes share the rows of a step, and there are {rows}: start fewer, or raise "
            "training.rows_per_batch or training.accumulation_steps"
        )
    for name in ("ACCELERATE_USE_FSDP", "ACCELERATE_USE_DEEPSPEED"):
        if os.environ.get(name, "").lower() == "true":
            raise RecipeError(
                f"{name} is set: the recipe says how a run is spread over processes; start it without that option of "
                "accelerate launch, and set training.sharding=fsdp2 to have it in shards"
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
    seconds: float | None = None,
) -> PretrainingResult:
    """`seconds`: the time within which the training is to end, where it was asked for."""
    silence_transformers()
    settings = setup.recipe.training
    begun = time.perf_counter()
    if resume_from is None:
        model = setup.fresh_model()
    else:
        model = build_model(setup.recipe.model, setup.config, setup.recipe.seed)  # whose weights will be loaded
    starting_seconds = time.perf_counter() - begun
    if settings.sharding == "fsdp2":
        sharding.shard(model.to(setup.device))
    stop = StopSignals()
    trainer = PretrainingTrainer(
        model=model,
        arguments=training_arguments(
            setup.recipe,
            run.folder,
            steps=settings.steps,
            precision=setup.precision,
            device=setup.device,
            accumulation_steps=training_batches(setup.rows, settings).accumulation_steps,
            may_leave_out=experts(setup.config) > 1,
        ),
        rows=setup.rows,
        collator=setup.collator,
        settings=settings,
        measure=lambda model: setup.measure_validation(model, is_stopped=lambda: stop.received is not None),
        facts=setup.facts,
        peak_flops=hardware.matrix_product_flops(setup.device, setup.precision),
        callbacks=[ProgressReport(on_step), stop],
    )
    if seconds is not None:
        trainer.add_callback(TimeLimit(seconds, lambda: trainer.seconds_beside, trainer.end_at))
    if resume_from is None:
        trainer.progress.seconds += starting_seconds
        processes.by_main(lambda: trainer.metrics_file.keep(0))  # of a run that was killed before its first checkpoint
    if processes.rank():
        torch.manual_seed(setup.recipe.seed + processes.rank())  # dropout differs from process to process
    try:
        trainer.train(resume_from_checkpoint=str(resume_from.folder) if resume_from else None)
    finally:
        stop.restore()
    state, received = trainer.state, stop.agree()
    if not received:
        best_step = state.best_global_step if settings.keep_best else None
        weights = None if settings.sharding == "none" or best_step is not None else sharding.whole_weights(model)
        processes.by_main(lambda: _write_final(run, setup, model, best_step, weights))
    return PretrainingResult(
        run=run.folder,
        steps=state.global_step,
        planned_steps=state.max_steps,
        best_step=state.best_global_step,
        validation_bits_per_base=state.best_metric,
        interrupted=received.name if received else None,
        warnings=warnings,
        forecast=None if received else processes.by_main(lambda: _forecast(setup, trainer)),
        is_shortened=state.max_steps < settings.steps,
    )


def _forecast(setup: TrainingSetup, trainer: PretrainingTrainer) -> Forecast | None:
    """As the run began, also of one that was shortened, or stopped where it became no better."""
    planned_bases = trainer.progress.bases * setup.recipe.training.steps / trainer.state.global_step
    return forecast(setup.recipe, setup.corpus, count_parameters(setup.config).total, planned_bases)


def _checked(result: PretrainingResult, on_checking: Callable[[str, float], None]) -> PretrainingResult:
    """After the training, so that its memory is free: the final model as its users will load it."""
    if result.interrupted:
        return result

    def checks_and_report() -> list[Check]:
        checks = check(result.run, progress=on_checking).checks
        write_report(result.run)
        write_card(result.run)
        return checks

    checks = processes.by_main(checks_and_report)
    return replace(
        result,
        passed_checks=tuple(check.name for check in checks if check.passed),
        failed_checks=tuple(check.name for check in checks if not check.passed),
    )


def _write_final(
    run: RunFolder, setup: TrainingSetup, model: PreTrainedModel, best_step: int | None, weights: dict | None
) -> None:
    if sharding.is_sharded(model):  # a shard is no model
        model = build_model(setup.recipe.model, setup.config, setup.recipe.seed)
        if weights is not None:
            model.load_state_dict(weights)
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
        with_usual_modes(folder)
        setup.tokenizer.model_max_length = setup.rows.row_tokens
        setup.tokenizer.save_pretrained(folder)


def _write_provenance(run: RunFolder, setup: TrainingSetup, workers: int) -> None:
    write_whole(run.recipe_file, setup.recipe.to_toml().encode())
    libraries = ("torch", "transformers", "accelerate", "tokenizers", "numpy", "pyarrow", "safetensors")
    environment = {
        "schema_version": ENVIRONMENT_SCHEMA_VERSION,
        "primase": __version__,
        "python": platform.python_version(),
        "libraries": {name: library_version(name) for name in libraries},
        "hardware": hardware.describe(),
        "precision": setup.precision,
        "processes": workers,
        "command": command_without_secrets(sys.argv),
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "corpus_digest": setup.corpus.digest,
        "sources": setup.corpus.description["sources"],
    }
    write_whole(run.folder / PROVENANCE, (json.dumps(environment, indent=2) + "\n").encode())
