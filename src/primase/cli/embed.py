"""primase embed: sequences to vectors."""

from pathlib import Path
from typing import Annotated

import typer

from primase.cli import options
from primase.cli.display import Display
from primase.cli.record_names import other_names
from primase.cli.writing import writing
from primase.errors import InputError


def command(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A run, a model folder, or a Hub name.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="The .npy, .parquet, .h5ad or .zarr to write.")
    ],
    sources: Annotated[
        list[str] | None,
        typer.Argument(metavar="SEQUENCES", help="FASTA, CSV, TSV or Parquet files (.gz too), or folders of them."),
    ] = None,
    regions: Annotated[Path | None, typer.Option(metavar="BED", help="Embed these regions of --genome.")] = None,
    genome: Annotated[Path | None, typer.Option(metavar="FILE", help="What --regions are cut from.")] = None,
    layer: Annotated[
        str,
        typer.Option(metavar="LAYER", help="-1 for the last hidden state, 0 the embedding, 1 and up, all, or logits."),
    ] = "-1",
    pooling: Annotated[str, typer.Option(metavar="HOW", help="mean, max or last, over real tokens.")] = "mean",
    both_strands: Annotated[bool, typer.Option("--both-strands", help="The mean of both strands' vectors.")] = False,
    precision: options.Precision = "fp32",
    column: options.Column = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with what was interrupted.")] = False,
    overwrite: options.Overwrite = False,
    as_json: options.AsJson = False,
) -> None:
    """Turn sequences into vectors, one each."""
    from primase.embedding import embed_to_file

    try:
        chosen = layer if layer in ("logits", "all") else int(layer)
    except ValueError:
        raise InputError(f"--layer {layer}: give a number, all or logits") from None
    if not sources and regions is None and genome is None:
        raise InputError("nothing to embed: give files of sequences, or --regions and --genome")
    with writing(output), Display() as display:
        result = embed_to_file(
            model,
            sources or (),
            output,
            regions=regions,
            genome=genome,
            layer=chosen,
            pooling=pooling,
            both_strands=both_strands,
            precision=precision,
            column=column,
            resume=resume,
            overwrite=overwrite,
            progress=display.stage,
            on_unknown=_tell_of_unknown,
        )
    typer.echo(result.model_dump_json(indent=2) if as_json else "\n".join(lines(result)))


def lines(result) -> list[str]:
    """A `primase.embedding.EmbedResult` as text."""
    plural = "s" if result.sequences != 1 else ""
    strands = ", both strands" if result.both_strands else ""
    rounded = ", in bf16" if result.precision == "bf16" else ""
    layers = f"{result.shape[1]} layers of " if len(result.shape) > 2 else ""
    how = f"{result.pooling} of layer {result.layer}{strands}{rounded}"
    said = [f"{result.output}: {result.sequences:,} sequence{plural}, {layers}{result.shape[-1]} dimensions ({how})"]
    if result.renamed_records:
        said.append(f"records by another name in the genome: {other_names(result.renamed_records)}")
    return said


def _tell_of_unknown(tokens: int) -> None:
    from primase.sequence_encoder import unknown_in_words

    typer.echo(f"warning: {unknown_in_words(tokens)}: it cannot spell every base", err=True)
