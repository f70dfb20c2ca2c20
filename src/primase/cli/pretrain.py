"""primase pretrain: a genome to a trained model."""

import dataclasses
import json
from pathlib import Path
from typing import Annotated

import typer

from primase.cli import options
from primase.cli.display import Display
from primase.cli.plan import print_plan
from primase.errors import InputError


def command(
    sources: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="GENOME...",
            help="FASTA, CSV, TSV or Parquet files, folders of them, or a prepared corpus.",
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The run folder (default runs/NAME).")
    ] = None,
    recipe: options.RecipeName = "small",
    settings: options.Settings = None,
    minutes: options.Minutes = None,
    column: options.Column = None,
    resume: Annotated[Path | None, typer.Option(metavar="RUN", help="Go on with an interrupted run.")] = None,
    overwrite: options.Overwrite = False,
    as_json: options.AsJson = False,
) -> None:
    """Train a DNA language model from scratch on a genome."""
    from primase.training import run

    if (resume is None) == (not sources):
        raise InputError("give a genome to begin with, or --resume RUN to go on with a run, one of them")
    with Display() as display:
        if resume is not None:
            own = _recipe_for_resume(resume, recipe, options.overrides(settings, minutes, column))
            result = run.resume(resume, recipe=own, on_step=display.step)
        else:
            output = output or Path("runs") / Path(sources[0]).name.split(".")[0]
            result = run.pretrain(
                sources,
                output,
                recipe,
                overrides=options.overrides(settings, minutes, column),
                overwrite=overwrite,
                on_plan=lambda plan: None if as_json else _print_plan_above(display, plan),
                on_preparing=display.stage,
                on_step=display.step,
            )
    if as_json:
        typer.echo(json.dumps(dataclasses.asdict(result), default=str, indent=2))
    else:
        _print_end(result)
    if result.interrupted:
        raise typer.Exit(128 + {"SIGINT": 2, "SIGTERM": 15}[result.interrupted])


def _recipe_for_resume(run_folder: Path, recipe: str, overrides: list[str]):
    """The recipe that the options describe, where any was given; it must be the run's own."""
    from primase.recipe import Recipe
    from primase.run_folder import RunFolder

    if recipe == "small" and not overrides:
        return None
    own = RunFolder.open(run_folder).recipe()
    if recipe == "small" or recipe == own.name:
        return Recipe.load(RunFolder.open(run_folder).recipe_file, overrides)
    return Recipe.load(recipe, overrides)


def _print_plan_above(display: Display, plan) -> None:
    display.console.print("The plan:")
    print_plan(plan)


def _print_end(result) -> None:
    if result.interrupted:
        typer.echo(
            f"Stopped by {result.interrupted} after step {result.steps:,} of {result.planned_steps:,}; a checkpoint is saved."
        )
        typer.echo(f"Go on with:  primase pretrain --resume {result.run}")
        return
    measured = (
        f", best on validation {result.validation_bits_per_base:.4f} bits per base (step {result.best_step:,})"
        if result.best_step
        else ""
    )
    typer.echo(f"Trained {result.steps:,} steps{measured}. The model is {result.run / 'final'}")
    typer.echo(f"What it is worth:  primase evaluate {result.run}")
