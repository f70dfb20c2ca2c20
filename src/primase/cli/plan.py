"""primase plan: what a run will take, before it starts."""

import dataclasses
import json
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from primase.cli import options
from primase.cli.display import Display, duration
from primase.cli.writing import writing

Sources = Annotated[
    list[str] | None,
    typer.Argument(metavar="GENOME", help="FASTA, CSV, TSV or Parquet files (.gz too), or folders of them."),
]
GenomeBases = Annotated[
    int | None,
    typer.Option(min=1, metavar="N", help="Extrapolate to a genome of so many bases (human: 3100000000)."),
]
Gpus = Annotated[int | None, typer.Option(min=1, metavar="N", help="GPUs to extrapolate to; one where not given.")]
GpuFlops = Annotated[
    float | None,
    typer.Option(
        min=1, metavar="FLOPS", help="Published peak of one GPU, 16-bit operations a second; an A100's (312e12) if not."
    ),
]
Mfu = Annotated[
    float | None,
    typer.Option(min=1e-6, max=1, metavar="SHARE", help="Share of that peak that is reached; 0.3 is assumed."),
]
Epochs = Annotated[
    float | None,
    typer.Option(min=1e-9, metavar="N", help="Passes to extrapolate to; those of the recipe, or one, where not given."),
]
BasesPerToken = Annotated[
    float | None,
    typer.Option(
        min=1e-9, metavar="N", help="Bases a byte pair spells, about 5 of 4,096; without it measured on the genome."
    ),
]


def command(
    sources: Sources = None,
    recipe: options.RecipeName = "default",
    settings: options.Settings = None,
    minutes: options.Minutes = None,
    column: options.Column = None,
    genome_bases: GenomeBases = None,
    gpus: Gpus = None,
    gpu_flops: GpuFlops = None,
    mfu: Mfu = None,
    epochs: Epochs = None,
    bases_per_token: BasesPerToken = None,
    as_json: options.AsJson = False,
) -> None:
    """Say what a run will take, before it starts.

    Parameters, tokens, steps, memory and the time measured on this machine, for recipe default the bits per base to
    expect, and warnings of what is known to go wrong.
    With --genome-bases also what it would take on another genome and on GPUs, by formulas that are printed; then
    the genome may be left out.
    """
    from primase.errors import InputError
    from primase.recipe import Recipe

    if not sources and genome_bases is None:
        raise InputError("no genome: give a FASTA file, or --genome-bases N for a plan on paper")
    settings_of_run = Recipe.load(recipe, options.overrides(settings, minutes, column))
    elsewhere = {"genome_bases": genome_bases, "gpus": gpus, "gpu_flops": gpu_flops, "mfu": mfu, "epochs": epochs}
    elsewhere["bases_per_token"] = bases_per_token
    here, at_scale = _plans(sources, settings_of_run, elsewhere)
    if as_json:
        facts = {} if here is None else dataclasses.asdict(here)
        if at_scale is not None:
            facts["at_scale"] = dataclasses.asdict(at_scale) | {"formulas": at_scale.formulas}
        typer.echo(json.dumps(facts, indent=2))
        return
    if here is not None:
        print_plan(here)
    if at_scale is not None:
        print_plan_at_scale(at_scale)


def _plans(sources: list[str] | None, recipe, elsewhere: dict) -> tuple:
    """The plan for this machine and the one on paper, each None where it was not asked for."""
    if not sources:
        from primase.training.scale import plan_at_scale

        return None, plan_at_scale(recipe, **elsewhere)
    from primase.training.run import plan

    with tempfile.TemporaryDirectory(prefix="primase-plan-") as folder, writing(Path(folder)), Display() as display:
        here = plan(sources, Path(folder), recipe, display.stage)
        if elsewhere["genome_bases"] is None:
            return here, None
        from primase.run_folder import RunFolder
        from primase.training.scale import plan_at_scale

        return here, plan_at_scale(recipe, **elsewhere, corpus=RunFolder(Path(folder)).corpus())


def print_plan_at_scale(plan) -> None:
    """A `primase.training.scale.ScalePlan` as a few lines: each figure, where it is from, and its formula."""
    gib = plan.memory_bytes / 2**30
    rows = {
        "genome": f"{plan.genome_bases:,} bases (given), of which {plan.train_bases:,} are trained on (computed)",
        "bases a token": f"{plan.bases_per_token:.4g} ({plan.origins['bases_per_token']})",
        "tokens": f"{plan.tokens:,} (computed) = {plan.formulas['tokens']}",
        "MFU": f"{plan.mfu:g} ({plan.origins['mfu']}) of {plan.gpu_flops:.4g} FLOP/s a GPU "
        f"({plan.origins['gpu_flops']})",
        "hours": f"{plan.hours:,.3g} (computed) = {plan.formulas['hours']}",
        "memory": f"{gib:,.3g} GiB (computed) = {plan.formulas['memory']}",
    }
    typer.echo("On paper:")
    for name, value in rows.items():
        typer.echo(f"  {name:<15} {value}")


def print_plan(plan) -> None:
    """A `primase.training.plan.Plan` as a few lines."""
    bases = f"{plan.train_bases:,} bases"
    state_mib, peak_mib = plan.training_state_bytes / 2**20, plan.peak_memory_bytes / 2**20
    rows = {
        "model": plan.preset or "from a configuration",
        "parameters": f"{plan.parameters:,}, of which {plan.active_parameters:,} work on a token",
        "training part": f"{bases} in {plan.train_windows:,} windows, {plan.tokens_per_epoch:,} tokens",
        "steps": f"{plan.steps:,} ({plan.epochs:.2f} epochs of {plan.steps_per_epoch:,} steps), {plan.tokens:,} tokens",
        "memory": f"{peak_mib:,.0f} MiB measured at the peak, {state_mib:,.0f} for weights, gradients and optimizer",
        "measured speed": f"{plan.seconds_per_step:.3g} s a step, {plan.tokens_per_second:,.0f} tokens/s"
        + (", layers compiled" if plan.is_compiled else ""),
        "training time": f"about {duration(plan.training_seconds)}; measurements and checkpoints come on top",
    }
    if plan.forecast is not None:
        rows["forecast"] = f"{plan.forecast} on the validation part"
    elif plan.no_forecast is not None:
        rows["forecast"] = f"none: it was {plan.no_forecast}"
    typer.echo("The plan:")
    for name, value in rows.items():
        typer.echo(f"  {name:<15} {value}")
    for warning in plan.warnings:
        typer.echo(f"  warning: {warning}")
