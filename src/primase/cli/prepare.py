"""primase prepare: sequences to a corpus folder."""

import json
from pathlib import Path
from typing import Annotated

import typer

from primase.cli import options
from primase.cli.display import Display
from primase.cli.writing import writing


def command(
    sources: options.Sources,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FOLDER", help="The corpus folder to write.")],
    recipe: options.RecipeName = "small",
    settings: options.Settings = None,
    column: options.Column = None,
    overwrite: options.Overwrite = False,
    as_json: options.AsJson = False,
) -> None:
    """Cut a genome into windows, split and tokenize them.

    The folder can be given to pretrain in place of the genome, with the same recipe and settings.
    """
    from primase.corpus.prepare import prepare
    from primase.recipe import Recipe

    settings_of_run = Recipe.load(recipe, options.overrides(settings, column=column))
    with writing(output), Display() as display:
        corpus = prepare(sources, output, settings_of_run, overwrite=overwrite, progress=display.stage)
    facts = corpus.description
    if as_json:
        typer.echo(json.dumps(facts, indent=2))
        return
    records = f"{facts['records']:,} record{'s' if facts['records'] != 1 else ''}"
    typer.echo(f"{output}: {records}, {facts['split']['strategy']} split")
    bases = facts["bases"]
    for part, windows in facts["windows"].items():
        if windows or part != "unused":
            in_gaps = "  (in the gaps between the parts)" if part == "unused" else ""
            typer.echo(f"  {part:<10} {windows:>12,} windows {bases[part]:>16,} bases{in_gaps}")
    if bases["outside_windows"]:
        typer.echo(f"  {bases['outside_windows']:,} bases are in no window: record ends, and windows with an N")
    if facts["unknown_tokens"]:
        typer.echo(f"  {facts['unknown_tokens']:,} of {facts['tokens']:,} tokens are unknown to the tokenizer")
