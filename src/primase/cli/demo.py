"""primase demo: the whole way in a few minutes, on a genome whose best possible figure is known."""

from pathlib import Path
from typing import Annotated

import typer

from primase.cli import options
from primase.cli.display import Display
from primase.cli.evaluation_table import table
from primase.cli.plan import print_plan
from primase.cli.simulate import write_genome
from primase.cli.writing import writing
from primase.errors import OutputExistsError

EXAMPLE_SEQUENCE = "ACGTAGCATCGGATCTATCTATCGACACTTGGTTATCGATCTACGAGCATCTCGTTAGC"
"""The sequence that the tutorial embeds."""


def command(
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FOLDER", help="The run folder.")] = Path(
        "runs/demo"
    ),
    bases: Annotated[
        int, typer.Option(min=200_000, metavar="BASES", help="Length of the simulated genome.")
    ] = 4_000_000,
    settings: options.Settings = None,
    minutes: options.Minutes = None,
    overwrite: options.Overwrite = False,
) -> None:
    """Go the whole way on a simulated genome, in minutes.

    Simulates a genome, trains a small model on it, measures it against counting and against the truth, and embeds.
    """
    from primase.embedding import embed
    from primase.evaluation.evaluate import evaluate
    from primase.recipe import Recipe
    from primase.simulate import read_simulation, simulation_file
    from primase.training.run import pretrain

    recipe = Recipe.load("demo", options.overrides(settings, minutes))
    genome = output.with_name(f"{output.name}-genome.fa")
    with writing(output):
        _simulate(genome, bases, output, overwrite)
        typer.echo("2. Preparing it and pretraining a small model")
        with Display() as display:
            result = pretrain(
                genome,
                output,
                recipe,
                on_plan=print_plan,
                on_preparing=display.stage,
                on_step=display.step,
                on_checking=display.stage,
            )
        if result.interrupted:
            typer.echo(f"Stopped by {result.interrupted}; go on with:  primase pretrain --resume {output}")
            raise typer.Exit(143 if result.interrupted == "SIGTERM" else 130)
        typer.echo("3. Measuring it on held-out chromosomes, beside its rivals and the source's true entropy")
        with Display() as display:
            source = read_simulation(simulation_file(genome))
            evaluation = evaluate(output, source=source.surprisal, progress=display.stage)
    typer.echo(table(evaluation))
    vector = embed(output, [EXAMPLE_SEQUENCE])[0]
    first = ", ".join(f"{value:.3f}" for value in vector[:2])
    typer.echo(f"4. Embedded the tutorial's example sequence: {len(vector)} dimensions, [{first}, ...]")
    _print_summary(output, evaluation)


def _simulate(genome: Path, bases: int, output: Path, overwrite: bool) -> None:
    from primase.run_folder import RunFolder
    from primase.run_lock import RunLock

    if genome.exists() and not overwrite:
        raise OutputExistsError(f"{genome}: already exists; pass --overwrite, or choose another output folder")
    with RunLock() as lock, RunFolder.creating(output, overwrite=overwrite, lock=lock):
        typer.echo(f"1. Simulating a genome of {bases:,} bases from a known source: {genome}")
        write_genome(genome, bases, records=10, seed=0)


def _print_summary(output: Path, evaluation) -> None:
    reached, best = evaluation.forward.bits_per_base, evaluation.rival("markov")
    truth = evaluation.true_entropy_bits_per_base
    closed = (best.bits_per_base - reached) / (best.bits_per_base - truth)
    verdict = (
        f"the model went {closed:.0%} of the way from counting to the best possible"
        if closed > 0
        else "counting is still ahead; give the training more time with --minutes"
    )
    typer.echo(
        f"\nReached {reached:.4f} bits per base. Counting ({best.name}) reaches {best.bits_per_base:.4f}, and the best "
        f"possible is {truth:.4f}: {verdict}.\n"
        f"The run is in {output}. For your own genome:\n"
        "    primase pretrain GENOME.fa.gz -o runs/mine\n"
        "    primase evaluate runs/mine\n"
        "    primase embed runs/mine SEQUENCES.fa -o vectors.npy"
    )
