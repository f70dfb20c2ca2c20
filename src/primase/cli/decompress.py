"""primase decompress: the FASTA file back, byte for byte."""

from pathlib import Path
from typing import Annotated

import typer

from primase.cli import options
from primase.cli.display import Display, duration
from primase.cli.writing import writing


def command(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="The run, folder or Hub name that compressed it.")],
    source: Annotated[Path, typer.Argument(metavar="FILE", help="The .prm file.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="SEQUENCE", help="The FASTA to write, .gz too.")],
    other_machine: Annotated[
        bool,
        typer.Option("--other-machine", help="Try although versions or hardware differ; a checksum guards the result."),
    ] = False,
    overwrite: options.Overwrite = False,
) -> None:
    """Decompress a file that primase compress wrote.

    It takes the same model, versions and processor; what comes out is compared by checksum before it is written.
    """
    from primase.codec.compress import decompress

    with writing(output), Display() as display:
        result = decompress(
            model, source, output, overwrite=overwrite, other_machine=other_machine, progress=display.stage
        )
    typer.echo(
        f"{result.output}: {result.text_bytes:,} bytes, {result.bases:,} bases, the very bytes that were compressed "
        f"(SHA-256 agrees), {duration(result.seconds)}"
    )
