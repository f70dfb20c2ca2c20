"""primase embed: sequences to vectors."""

from pathlib import Path
from typing import Annotated

import typer

from primase.cli import options
from primase.cli.writing import writing
from primase.errors import InputError


def command(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A run, a model folder, or a Hub name.")],
    sources: Annotated[
        list[str],
        typer.Argument(metavar="SEQUENCES", help="FASTA, CSV, TSV or Parquet files (.gz too), or folders of them."),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="The .npy or .parquet file to write.")],
    layer: Annotated[
        str,
        typer.Option(metavar="LAYER", help="-1 for the last hidden state, 0 the embedding, 1 and up, or logits."),
    ] = "-1",
    pooling: Annotated[str, typer.Option(metavar="HOW", help="mean, max or last, over real tokens.")] = "mean",
    column: options.Column = None,
    overwrite: options.Overwrite = False,
) -> None:
    """Turn sequences into vectors, one each."""
    from primase.embedding import embed_to_file

    try:
        chosen = layer if layer == "logits" else int(layer)
    except ValueError:
        raise InputError(f"--layer {layer}: give a number or logits") from None
    with writing(output):
        sequences, width = embed_to_file(
            model,
            sources,
            output,
            layer=chosen,
            pooling=pooling,
            column=column,
            overwrite=overwrite,
            on_unknown=_tell_of_unknown,
        )
    plural = "s" if sequences != 1 else ""
    typer.echo(f"{output}: {sequences:,} sequence{plural}, {width} dimensions ({pooling} of layer {layer})")


def _tell_of_unknown(tokens: int) -> None:
    typer.echo(f"warning: {tokens:,} tokens are unknown to the tokenizer: it cannot spell every base", err=True)
