"""primase simulate: the demo genome, and the file from which its true entropy is computed."""

import contextlib
import os
from pathlib import Path
from typing import Annotated

import typer

from primase.cli import options
from primase.cli.writing import writing
from primase.errors import InputError
from primase.whole_files import refuse_existing


def command(
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="FASTA", help="The FASTA to write, .gz too; a .json is beside it."),
    ],
    bases: Annotated[int, typer.Option(min=1000, metavar="BASES", help="Length of the genome.")] = 4_000_000,
    records: Annotated[int, typer.Option(min=1, metavar="NUMBER", help="Number of chromosomes.")] = 10,
    seed: Annotated[int, typer.Option(min=0, metavar="NUMBER", help="Seed of the source and of the draw.")] = 0,
    overwrite: options.Overwrite = False,
) -> None:
    """Write a genome drawn from a known source.

    It has genes on both strands, motifs, diverged repeats and background; how far any model is from the best possible
    one can be computed.
    """
    from primase.simulate import simulation_file

    if records > bases:
        raise InputError(f"--records {records}: more than there are bases ({bases}); give each record a base or more")
    for file in (output, simulation_file(output)):
        refuse_existing(file, overwrite=overwrite)
    with writing(output):
        write_genome(output, bases, records, seed)
    typer.echo(
        f"{output}: {bases:,} bases in {records} records; {simulation_file(output)} says what they were drawn from"
    )


def write_genome(output: Path, bases: int, records: int, seed: int) -> None:
    """Both files, or neither: half a genome would pass for a whole one."""
    from primase.simulate import simulate_to_file, simulation_file

    partial = output.with_name(f".{os.getpid()}.partial.{output.name}")
    try:
        simulate_to_file(partial, bases=bases, records=records, seed=seed)
        simulation_file(partial).replace(simulation_file(output))
        partial.replace(output)
    except BaseException:
        for file in (partial, simulation_file(partial)):
            # Where the folder could not even be made, there is nothing to remove.
            with contextlib.suppress(OSError):
                file.unlink()
        raise
