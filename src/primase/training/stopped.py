"""What a stopped run goes on from: its newest checkpoint, and recipe, corpus and tokenizer that are still the same."""

import shutil

from primase.errors import CheckpointError, InputError
from primase.recipe import Recipe
from primase.run_folder import PROVENANCE, RunFolder
from primase.training import checkpoints
from primase.training.checkpoints import Checkpoint
from primase.training.training_setup import CORPUS_SECTIONS, TrainingSetup
from primase.whole_files import write_whole

_SHOWN_DIFFERENCES = 3


def open_stopped(
    run: RunFolder, recipe: Recipe | None, *, skip_damaged: bool, accept_changes: bool
) -> tuple[TrainingSetup, Checkpoint | None]:
    """The setup that a run goes on with, and the checkpoint; None where the run was killed before its first one.

    `recipe` is the one that was asked for now, None for the run's own. Accepted changes are written down in the run.
    Raises CheckpointError and InputError as `resume` does.
    """
    if not (run.folder / PROVENANCE).is_file():
        raise CheckpointError(
            f"{run.folder}: the run was stopped before it was prepared, so there is nothing to go on from; "
            "start again with --overwrite"
        )
    for stale in run.folder.glob(".*.partial"):  # half-written by a process that was killed
        shutil.rmtree(stale) if stale.is_dir() else stale.unlink()
    own = run.recipe()
    if recipe is not None and recipe != own:
        _refuse_recipe(run, recipe, own, accept_changes)
    checkpoint = checkpoints.newest_checkpoint(run.folder, skip_damaged=skip_damaged)
    corpus = run.corpus(accept_changes=accept_changes)
    damage = corpus.damage()
    if damage:
        raise InputError(f"{damage}: the corpus is damaged; restore it, or prepare and pretrain again")
    setup = TrainingSetup.open(own, corpus)
    if recipe is not None:
        steps, is_compiled = recipe.training.steps or own.training.steps, recipe.training.compile == "yes"
        setup = TrainingSetup.open(recipe, corpus).resolved(steps, is_compiled=is_compiled)
    if checkpoint is not None and not accept_changes:
        _refuse_changes(checkpoint, setup)
    if accept_changes:
        write_whole(run.recipe_file, setup.recipe.to_toml().encode())
        if run.refers_to_corpus:
            run.refer_to(corpus)
    return setup, checkpoint


def _refuse_recipe(run: RunFolder, recipe: Recipe, own: Recipe, accept_changes: bool) -> None:
    differences = _shown(recipe.differences(own))
    if not accept_changes:
        raise CheckpointError(
            f"{run.folder}: the run was begun with another recipe ({differences}); resume without "
            "recipe options, go on with the new recipe by --accept-changes, or pretrain into another folder"
        )
    if recipe.digest(*CORPUS_SECTIONS) != own.digest(*CORPUS_SECTIONS):
        raise CheckpointError(
            f"{run.folder}: {', '.join(CORPUS_SECTIONS)} are what the corpus of the run was prepared with, and cannot "
            f"be changed ({differences}); pretrain into another folder"
        )
    if _learnt(recipe) != _learnt(own):
        raise CheckpointError(
            f"{run.folder}: the weights and the optimizer's state are those of another model or optimizer "
            f"({differences}), and cannot go on with this one; pretrain into another folder"
        )
    if recipe.training.minutes is not None:
        raise CheckpointError(
            f"{run.folder}: a run that goes on has steps and no minutes; change training.steps (now "
            f"{own.training.steps}) instead"
        )


def _learnt(recipe: Recipe) -> tuple:
    """The settings that decide on what a checkpoint holds."""
    return recipe.model.preset, recipe.model.config, recipe.model.settings, recipe.training.optimizer


def _refuse_changes(checkpoint: Checkpoint, setup: TrainingSetup) -> None:
    """Facts that an older Primase did not note are not compared."""
    noted_recipe = _noted_recipe(checkpoint)
    for name, value in setup.facts.items():
        noted, what = checkpoint.facts.get(name, value), name.removesuffix("_digest").replace("_version", " version")
        if noted == value or name == "recipe" or (name == "recipe_digest" and noted_recipe == setup.recipe):
            continue
        difference = f"digest {noted}, not {value}" if name.endswith("_digest") else f"{noted}, not {value}"
        if name == "recipe_digest" and noted_recipe is not None:
            difference = _shown(setup.recipe.differences(noted_recipe))
        raise CheckpointError(
            f"{checkpoint.folder}: the checkpoint belongs to another {what} ({difference}); restore the {what} or "
            "pretrain again, or go on with what is there now: --accept-changes"
        )


def _noted_recipe(checkpoint: Checkpoint) -> Recipe | None:
    """What a checkpoint was written under; a setting that did not exist then has the value that it has without one."""
    try:
        return Recipe.model_validate(checkpoint.facts["recipe"])
    except (KeyError, ValueError):  # an older or a damaged marker
        return None


def _shown(differences: list[str]) -> str:
    more = len(differences) - _SHOWN_DIFFERENCES
    return "; ".join(differences[:_SHOWN_DIFFERENCES]) + (f"; and {more} more" if more > 0 else "")
