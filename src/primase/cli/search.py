"""primase search: stretches of a genome near a sequence in a model's vector space."""

from pathlib import Path
from typing import Annotated

import typer

from primase.cli import options
from primase.cli.display import Display
from primase.cli.writing import writing

app = typer.Typer(
    help="Find stretches of a genome that a model places near a sequence.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command()
def index(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A run, a model folder, or a Hub name.")],
    genome: options.Sources,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FOLDER", help="The index to write.")],
    window_bases: Annotated[int, typer.Option(min=1, metavar="BASES", help="Length of a window.")] = 200,
    step_bases: Annotated[int, typer.Option(min=1, metavar="BASES", help="From one window to the next.")] = 100,
    layer: Annotated[int, typer.Option(metavar="LAYER", help="Hidden states to use: -1 for the last.")] = -1,
    overwrite: options.Overwrite = False,
    as_json: options.AsJson = False,
) -> None:
    """Index the windows of a genome by their vectors."""
    from primase.search.index import index as make_index

    with writing(output), Display() as display:
        result = make_index(
            model,
            genome,
            output,
            window_bases=window_bases,
            step_bases=step_bases,
            layer=layer,
            overwrite=overwrite,
            progress=display.stage,
        )
    if as_json:
        typer.echo(result.model_dump_json(indent=2))
        return
    skipped = f" ({result.skipped_windows:,} of mostly N left out)" if result.skipped_windows else ""
    plural = "s" if result.records != 1 else ""
    typer.echo(
        f"{output}: {result.windows:,} windows of {result.window_bases:,} bases every {result.step_bases:,}"
        f"{skipped}, {result.width} dimensions, {result.bases:,} bases in {result.records:,} record{plural}"
    )


@app.command()
def query(
    index: Annotated[Path, typer.Argument(metavar="INDEX", help="A folder that primase search index wrote.")],
    queries: Annotated[
        list[str], typer.Argument(metavar="SEQUENCES", help="FASTA, CSV, TSV or Parquet files (.gz too), or folders.")
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="A BED file (.gz too) to write as well.")
    ] = None,
    top: Annotated[int, typer.Option(min=1, metavar="COUNT", help="Hits for each sequence.")] = 10,
    model: Annotated[
        str | None, typer.Option(metavar="MODEL", help="Where the index's model is now, if it was moved.")
    ] = None,
    overwrite: options.Overwrite = False,
    as_json: options.AsJson = False,
) -> None:
    """Find the windows that are nearest to each sequence."""
    from primase.search.query import query as find

    with writing(output or index), Display() as display:
        result = find(index, queries, output, top=top, model=model, overwrite=overwrite, progress=display.stage)
    if result.short_queries:
        plural, is_or_are = ("s", "are") if result.short_queries != 1 else ("", "is")
        typer.echo(
            f"warning: {result.short_queries:,} sequence{plural} {is_or_are} shorter than half a window of "
            f"{result.window_bases:,} bases: what is near so short a stretch is chance",
            err=True,
        )
    if as_json:
        typer.echo(result.model_dump_json(indent=2))
        return
    typer.echo(table(result))
    if output is not None:
        typer.echo(f"{output}: written")


def table(result) -> str:
    """A `primase.search.results.SearchResult` as text."""
    lines = [f"{'query':<28}{'rank':>5}  {'nearest windows (0-based, half-open)':<40}{'similarity':>11}"]
    for hit in result.hits:
        asked = f"{hit.query}:{hit.query_start}-{hit.query_end}"
        lines.append(f"{asked:<28}{hit.rank:>5}  {f'{hit.record}:{hit.start}-{hit.end}':<40}{hit.similarity:>11.4f}")
    return "\n".join(lines)
