"""primase embed: sequences to vectors."""

from pathlib import Path
from typing import Annotated

import typer

from primase.cli import options


def command(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A run, a model folder, or a Hub name.")],
    sources: Annotated[
        list[str], typer.Argument(metavar="SEQUENCES...", help="FASTA, CSV, TSV or Parquet files.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="A .npy or .parquet file.")],
    layer: Annotated[
        str, typer.Option(help="-1 the last hidden state, 0 the embedding, 1, 2, … or logits.")
    ] = "-1",
    pooling: Annotated[str, typer.Option(help="mean, max or last, over real tokens.")] = "mean",
    column: options.Column = None,
    overwrite: options.Overwrite = False,
) -> None:
    """Write one vector a sequence."""
    from primase.embedding import embed_to_file
    from primase.errors import InputError

    try:
        chosen = layer if layer == "logits" else int(layer)
    except ValueError:
        raise InputError(f"--layer {layer}: give a number or logits") from None
    sequences, width = embed_to_file(
        model, sources, output, layer=chosen, pooling=pooling, column=column, overwrite=overwrite
    )  # fmt: skip
    typer.echo(f"{output}: {sequences:,} sequences, {width} dimensions ({pooling} of layer {layer})")
