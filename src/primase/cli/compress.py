"""primase compress: a FASTA file as small as the model's bits per base promise."""

from pathlib import Path
from typing import Annotated

import typer

from primase.cli import options
from primase.cli.display import Display, duration
from primase.cli.writing import writing


def command(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A run, a model folder, or a Hub name.")],
    source: Annotated[Path, typer.Argument(metavar="SEQUENCE", help="A FASTA file (.gz too).")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="The .prm file to write.")],
    lanes: Annotated[
        int | None,
        typer.Option(min=1, metavar="LANES", help="Parts coded side by side; fewer are smaller and slower."),
    ] = None,
    overwrite: options.Overwrite = False,
    as_json: options.AsJson = False,
) -> None:
    """Compress a FASTA file with the model, without loss.

    The size of the file proves the printed bits per base: no decoder can read bases that are yet to come.
    """
    from primase.codec.compress import compress

    with writing(output), Display() as display:
        result = compress(model, source, output, lanes=lanes, overwrite=overwrite, progress=display.stage)
    if not result.agrees:
        typer.echo(_warning(result), err=True)
    typer.echo(result.model_dump_json(indent=2) if as_json else table(result))


def table(result) -> str:
    """A `primase.results.CompressionResult` as text."""
    text = "text in the .gz" if result.was_gzip else "text"
    plural = "s" if result.lanes != 1 else ""
    rate = result.bases / result.seconds if result.seconds else 0
    verdict = "the file proves the figure"
    if not result.agrees:
        verdict = "more than 0.5 % apart: DO NOT TRUST THE PRINTED FIGURE"
    elif not result.proves:
        verdict = "too short a text to prove the figure, since the coder works in words of 32 bits"
    lines = [
        f"{result.output}: {result.bases:,} bases in {result.lanes:,} lane{plural}, {result.tokens:,} tokens, "
        f"{duration(result.seconds)} ({rate:,.0f} bases/s)",
        "",
        f"{text:<36}{result.text_bytes:>14,} bytes",
        f"{'bases in 2 bits each':<36}{result.two_bit_bytes:>14,} bytes",
        f"{'bases as coded':<36}{result.payload_bytes:>14,} bytes   {result.payload_bits_per_base:.4f} bits per base",
        f"{'names, case, line ends, all else':<36}{result.side_bytes:>14,} bytes",
        f"{'the file, with header':<36}{result.total_bytes:>14,} bytes",
        "",
        f"The model's parallel pass on the same lanes says {result.scored_bits_per_base:.4f} bits per base "
        f"({result.relative_difference:+.2%}): {verdict}.",
    ]
    return "\n".join(lines)


def _warning(result) -> str:
    return (
        f"WARNING: the file takes {result.payload_bits_per_base:.4f} bits per base and the parallel pass prints "
        f"{result.scored_bits_per_base:.4f}. They must agree within 0.5 %. Either the parallel pass sees bases that it "
        "is to predict, or this model's cache computes something else; no figure of this model can be trusted."
    )
