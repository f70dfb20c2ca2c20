"""primase picture: what a model says, as pictures."""

from pathlib import Path
from typing import Annotated

import typer

from primase.cli import options
from primase.cli.display import Display
from primase.cli.writing import writing

app = typer.Typer(
    help="Draw what a model expects along a locus, or a map of vectors.", no_args_is_help=True, rich_markup_mode=None
)

Output = Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="The .png or .svg to write.")]


@app.command()
def locus(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A run, a model folder, or a Hub name.")],
    genome: Annotated[Path, typer.Argument(metavar="GENOME", help="FASTA, CSV, TSV or Parquet (.gz too).")],
    region: Annotated[str, typer.Option(metavar="REGION", help="chr2:1,001-2,000, counted from 1.")],
    output: Output,
    annotations: Annotated[
        Path | None, typer.Option(metavar="FILE", help="GFF3, GTF or BED to draw below (.gz too).")
    ] = None,
    smooth_bases: Annotated[
        int | None,
        typer.Option(min=1, metavar="BASES", help="Bases in a mean of the thick line (a fiftieth of the region)."),
    ] = None,
    overwrite: options.Overwrite = False,
    as_json: options.AsJson = False,
) -> None:
    """Draw surprisal and entropy of each base of a region."""
    from primase.pictures.locus import picture_locus

    with writing(output), Display() as display:
        result = picture_locus(
            model,
            genome,
            output,
            region=region,
            annotations=annotations,
            smooth_bases=smooth_bases,
            overwrite=overwrite,
            progress=display.stage,
        )
    if as_json:
        typer.echo(result.model_dump_json(indent=2))
        return
    typer.echo(
        f"{output}: {result.record}:{result.start + 1:,}-{result.end:,}, {result.bases:,} bases, mean surprisal "
        f"{result.mean_surprisal_bits:.4f} bits, entropy {result.mean_entropy_bits:.4f}; smoothed over "
        f"{result.smooth_bases:,}"
    )


@app.command("map")
def vector_map(
    vectors: Annotated[
        Path, typer.Argument(metavar="VECTORS", help=".npy, .parquet, .h5ad or .zarr, as primase embed writes them.")
    ],
    output: Output,
    colour_by: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="Colour by this column beside the vectors, or of --labels.")
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A table (.csv, .tsv, .parquet) with a row for each vector.")
    ] = None,
    method: Annotated[str, typer.Option(metavar="NAME", help="pca or umap.")] = "pca",
    overwrite: options.Overwrite = False,
    as_json: options.AsJson = False,
) -> None:
    """Draw vectors in two dimensions, coloured by a column."""
    from primase.pictures.vector_map import picture_map

    with writing(output), Display() as display:
        result = picture_map(
            vectors,
            output,
            colour_by=colour_by,
            labels=labels,
            method=method,
            overwrite=overwrite,
            progress=display.stage,
        )
    if as_json:
        typer.echo(result.model_dump_json(indent=2))
        return
    shares = result.variance_shares
    kept = f", {sum(shares):.1%} of the variance on two axes" if shares else ""
    coloured = f", coloured by {result.colour_by}" if result.colour_by else ""
    typer.echo(f"{output}: {result.rows:,} vectors of {result.dimensions:,} dimensions by {method}{kept}{coloured}")
