"""primase demo: the whole way in a few minutes, on a genome whose best possible figure is known."""

from pathlib import Path
from typing import Annotated

import typer

from primase.cli import options
from primase.cli.display import Display
from primase.cli.evaluate import table
from primase.cli.plan import print_plan

EXAMPLE_SEQUENCE = "ACGTAGCATCGGATCTATCTATCGACACTTGGTTATCGATCTACGAGCATCTCGTTAGC"
"""The sequence that the tutorial embeds."""


def command(
    output: Annotated[Path, typer.Option("--output", "-o", help="The run folder.")] = Path("runs/demo"),
    bases: Annotated[int, typer.Option(min=20_000, help="Length of the simulated genome.")] = 4_000_000,
    settings: options.Settings = None,
    minutes: options.Minutes = None,
    overwrite: options.Overwrite = False,
) -> None:
    """Simulate a genome, train a small model on it, measure it against counting and against the truth, embed."""
    from primase.embedding import embed
    from primase.evaluation.evaluate import evaluate
    from primase.run_folder import RunFolder
    from primase.simulate import read_simulation, simulate_to_file, simulation_file
    from primase.training.run import pretrain

    RunFolder.create(output, overwrite=overwrite)
    genome = output.with_name(f"{output.name}-genome.fa")
    typer.echo(f"1. Simulating a genome of {bases:,} bases from a known source: {genome}")
    simulate_to_file(genome, bases=bases, records=10, seed=0)
    typer.echo("2. Preparing it and pretraining a small model")
    with Display() as display:
        result = pretrain(
            genome,
            output,
            "demo",
            overrides=options.overrides(settings, minutes),
            on_plan=print_plan,
            on_preparing=display.stage,
            on_step=display.step,
        )
    if result.interrupted:
        typer.echo(f"Stopped by {result.interrupted}; go on with:  primase pretrain --resume {output}")
        raise typer.Exit(130)
    typer.echo("3. Measuring it on held-out chromosomes, beside its rivals and the source's true entropy")
    with Display() as display:
        source = read_simulation(simulation_file(genome))
        evaluation = evaluate(output, entropy=source.window_bits, progress=display.stage)
    typer.echo(table(evaluation))
    vector = embed(output, [EXAMPLE_SEQUENCE])[0]
    typer.echo(
        f"4. Embedded the tutorial's example sequence: {len(vector)} dimensions, [{vector[0]:.3f}, {vector[1]:.3f}, …]"
    )
    _print_summary(output, evaluation)


def _print_summary(output: Path, evaluation) -> None:
    reached, best = evaluation.forward.bits_per_base, evaluation.rivals[1]
    truth = evaluation.true_entropy_bits_per_base
    closed = (best.bits_per_base - reached) / (best.bits_per_base - truth)
    typer.echo(
        f"\nReached {reached:.4f} bits per base. Counting ({best.name}) reaches {best.bits_per_base:.4f}, the best possible "
        f"is {truth:.4f}: the model went {closed:.0%} of the way from counting to the truth.\n"
        f"The run is in {output}. For your own genome:\n"
        "    primase pretrain GENOME.fa.gz -o runs/mine\n"
        "    primase evaluate runs/mine\n"
        "    primase embed runs/mine SEQUENCES.fa -o vectors.npy"
    )
