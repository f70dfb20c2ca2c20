"""primase plan: what a run will take, before it starts."""

import dataclasses
import json
import tempfile
from pathlib import Path

import typer

from primase.cli import options
from primase.cli.display import Display, duration
from primase.cli.writing import writing


def command(
    sources: options.Sources,
    recipe: options.RecipeName = "small",
    settings: options.Settings = None,
    minutes: options.Minutes = None,
    column: options.Column = None,
    as_json: options.AsJson = False,
) -> None:
    """Say what a run will take, before it starts.

    Parameters, tokens, steps, memory and the time measured on this machine, and warnings of what is known to go wrong.
    """
    from primase.recipe import Recipe
    from primase.training.run import plan

    settings_of_run = Recipe.load(recipe, options.overrides(settings, minutes, column))
    with tempfile.TemporaryDirectory(prefix="primase-plan-") as folder, writing(Path(folder)), Display() as display:
        result = plan(sources, Path(folder), settings_of_run, display.stage)
    if as_json:
        typer.echo(json.dumps(dataclasses.asdict(result), indent=2))
    else:
        print_plan(result)


def print_plan(plan) -> None:
    """A `primase.training.plan.Plan` as a few lines."""
    bases = f"{plan.train_bases:,} bases"
    state_mib, peak_mib = plan.training_state_bytes / 2**20, plan.peak_memory_bytes / 2**20
    rows = {
        "parameters": f"{plan.parameters:,}, of which {plan.active_parameters:,} work on a token",
        "training part": f"{bases} in {plan.train_windows:,} windows, {plan.tokens_per_epoch:,} tokens",
        "steps": f"{plan.steps:,} ({plan.epochs:.2f} epochs of {plan.steps_per_epoch:,} steps), {plan.tokens:,} tokens",
        "memory": f"{peak_mib:,.0f} MiB measured at the peak, {state_mib:,.0f} for weights, gradients and optimizer",
        "measured speed": f"{plan.seconds_per_step:.3g} s a step, {plan.tokens_per_second:,.0f} tokens/s"
        + (", layers compiled" if plan.is_compiled else ""),
        "training time": f"about {duration(plan.training_seconds)}; measurements and checkpoints come on top",
    }
    typer.echo("The plan:")
    for name, value in rows.items():
        typer.echo(f"  {name:<15} {value}")
    for warning in plan.warnings:
        typer.echo(f"  warning: {warning}")
