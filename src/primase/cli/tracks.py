"""primase tracks: what a model says of every base, for a genome browser."""

from pathlib import Path
from typing import Annotated

import typer

from primase.cli import options
from primase.cli.display import Display, duration
from primase.cli.writing import writing


def command(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A run, a model folder, or a Hub name.")],
    genome: options.Sources,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="A .bw, .bedgraph or .bedgraph.gz.")],
    what: Annotated[
        str, typer.Option(metavar="NAMES", help="surprisal, entropy, information; several with commas in between.")
    ] = "surprisal",
    strands: Annotated[str, typer.Option(metavar="WHICH", help="forward, reverse, or both: their mean.")] = "forward",
    hub: Annotated[
        str | None,
        typer.Option(metavar="ASSEMBLY", help="Also a UCSC track hub and an IGV session, for hg38 or the like."),
    ] = None,
    precision: options.Precision = "fp32",
    overwrite: options.Overwrite = False,
    as_json: options.AsJson = False,
) -> None:
    """Write what the model says of every base as bigWig.

    Surprisal (bits) is high where a base is not what the model expects; information is high where it is sure of what
    comes. With several quantities each has a file: out.surprisal.bw, out.entropy.bw.
    """
    from primase.genome_tracks import tracks

    with writing(output), Display() as display:
        result = tracks(
            model,
            genome,
            output,
            what=what,
            strands=strands,
            hub=hub,
            precision=precision,
            overwrite=overwrite,
            progress=display.stage,
        )
    typer.echo(result.model_dump_json(indent=2) if as_json else "\n".join(lines(result)))


def lines(result) -> list[str]:
    """A `primase.genome_tracks.TracksResult` as text."""
    plural = "s" if result.records != 1 else ""
    rate = result.bases / result.seconds if result.seconds else 0.0
    said = [
        f"{result.bases:,} bases in {result.records:,} record{plural}, strands: {result.strands}"
        f"{', in bf16' if result.precision == 'bf16' else ''}, "
        f"{duration(result.seconds)} ({rate:,.0f} bases/s)"
    ]
    said.extend(f"{file}: {name}, mean {result.mean_bits[name]:.4f} bits" for name, file in result.files.items())
    if result.hub:
        said.append(f"track hub and IGV session: {', '.join(result.hub)}")
    return said
