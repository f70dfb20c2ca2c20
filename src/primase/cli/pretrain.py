"""primase pretrain: a genome to a trained model."""

import dataclasses
import json
from pathlib import Path
from typing import Annotated

import typer

from primase.cli import options
from primase.cli.check import summary
from primase.cli.display import Display
from primase.cli.plan import print_plan
from primase.cli.writing import writing
from primase.errors import InputError


def command(
    sources: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="GENOME", help="FASTA, CSV, TSV or Parquet files (.gz too), folders of them, or a prepared corpus."
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FOLDER", help="The run folder (default runs/NAME).")
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(
            "--recipe",
            "-r",
            metavar="RECIPE",
            help="default, default-gpu, demo, fast, tutorial, or a TOML file of your own.",
        ),
    ] = None,
    settings: options.Settings = None,
    minutes: options.Minutes = None,
    column: options.Column = None,
    resume: Annotated[Path | None, typer.Option(metavar="RUN", help="Go on with an interrupted run.")] = None,
    skip_damaged: Annotated[
        bool, typer.Option("--skip-damaged", help="With --resume: go on from the newest checkpoint that is whole.")
    ] = False,
    accept_changes: Annotated[
        bool,
        typer.Option(
            "--accept-changes", help="With --resume: go on although recipe, corpus, tokenizer or version are others."
        ),
    ] = False,
    resume_if_begun: Annotated[
        bool, typer.Option("--resume-if-begun", help="Go on where the folder holds a checkpoint; otherwise begin.")
    ] = False,
    overwrite: options.Overwrite = False,
    as_json: options.AsJson = False,
) -> None:
    """Train a DNA language model from scratch on a genome.

    Ctrl-C saves a checkpoint; --resume goes on from it as if nothing had happened.
    """
    from primase.training import run

    if (resume is None) == (not sources):
        raise InputError("give a genome to begin with, or --resume RUN to go on with a run, one of them")
    if resume is not None and (output is not None or overwrite):
        raise InputError(f"--resume {resume}: goes on in its own folder; leave out --output and --overwrite")
    if resume is None and (skip_damaged or accept_changes):
        raise InputError("--skip-damaged and --accept-changes are for a run that goes on; give --resume RUN with them")
    if resume_if_begun and (resume is not None or overwrite):
        raise InputError("--resume-if-begun: decides by itself; leave out --resume and --overwrite")
    overrides = options.overrides(settings, minutes, column)
    output = resume or output or _default_output(sources[0])
    with writing(output), Display() as display:
        own = None
        if resume is not None:
            own = _recipe_for_resume(resume, recipe, overrides)
        elif resume_if_begun and run.is_begun(output):
            resume, own = output, _recipe_of_command(output, recipe or "default", overrides)
        if resume is not None:
            result = run.resume(
                resume,
                recipe=own,
                skip_damaged=skip_damaged,
                accept_changes=accept_changes,
                on_step=display.step,
                on_checking=display.stage,
            )
        else:
            result = run.pretrain(
                sources,
                output,
                recipe or "default",
                overrides=overrides,
                overwrite=overwrite or (resume_if_begun and run.is_run(output)),  # without a checkpoint, as it is
                on_plan=lambda plan: None if as_json else print_plan(plan),
                on_preparing=display.stage,
                on_step=display.step,
                on_checking=display.stage,
            )
    if as_json:
        typer.echo(json.dumps(dataclasses.asdict(result), default=str, indent=2))
    else:
        _print_end(result)
    if result.interrupted:
        raise typer.Exit(128 + {"SIGINT": 2, "SIGTERM": 15}[result.interrupted])


def _default_output(source: str) -> Path:
    """runs/NAME, by the name of the first source up to its first dot."""
    return Path("runs") / (Path(source).resolve().name.lstrip(".").split(".")[0] or "genome")


def _recipe_for_resume(run_folder: Path, recipe: str | None, overrides: list[str]):
    """The recipe that the options describe, where any was given; it must be the run's own."""
    from primase.recipe import Recipe
    from primase.run_folder import RunFolder

    if recipe is None and not overrides:
        return None
    run = RunFolder.open(run_folder)
    return Recipe.load(run.recipe_file if recipe in (None, run.recipe().name) else recipe, overrides)


def _recipe_of_command(run_folder: Path, recipe: str, overrides: list[str]):
    """The recipe of this command, resolved as the run has resolved its own; the rest must be the same."""
    from primase.recipe import Recipe
    from primase.run_folder import RunFolder

    return Recipe.load(recipe, overrides).resolved_like(RunFolder.open(run_folder).recipe())


def _print_end(result) -> None:
    if result.interrupted:
        typer.echo(
            f"Stopped by {result.interrupted} after step {result.steps:,} of {result.planned_steps:,}; "
            f"a checkpoint is saved.\nGo on with:  primase pretrain --resume {result.run}"
        )
        return
    measured = (
        f", best on validation {result.validation_bits_per_base:.4f} bits per base (step {result.best_step:,})"
        if result.best_step
        else ""
    )
    shortened = " (fewer than planned: the machine became slower)" if result.is_shortened else ""
    typer.echo(f"Trained {result.steps:,} steps{shortened}{measured}. The model is {result.run / 'final'}")
    if result.forecast is not None and result.validation_bits_per_base is not None:
        off = result.validation_bits_per_base - result.forecast.bits_per_base
        typer.echo(f"The forecast was {result.forecast}: {abs(off):.4f} too {'low' if off > 0 else 'high'}.")
    typer.echo(summary(len(result.passed_checks + result.failed_checks), result.failed_checks))
    if result.failed_checks:
        typer.echo(f"Why that matters:  primase check {result.run}")
    typer.echo(f"What it is worth:  primase evaluate {result.run}")
