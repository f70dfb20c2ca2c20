"""primase prepare: sequences to a corpus folder."""

import json
from pathlib import Path
from typing import Annotated

import typer

from primase.cli import options
from primase.cli.display import Display


def command(
    sources: options.Sources,
    output: Annotated[Path, typer.Option("--output", "-o", help="The corpus folder to write.")],
    recipe: options.RecipeName = "small",
    settings: options.Settings = None,
    column: options.Column = None,
    overwrite: options.Overwrite = False,
    as_json: options.AsJson = False,
) -> None:
    """Cut a genome into windows, split them into parts, tokenize; pretrain can then be given the folder."""
    from primase.corpus.prepare import prepare
    from primase.recipe import Recipe

    settings_of_run = Recipe.load(recipe, options.overrides(settings, column=column))
    with Display() as display:
        corpus = prepare(sources, output, settings_of_run, overwrite=overwrite, progress=display.stage)
    if as_json:
        typer.echo(json.dumps(corpus.description, indent=2))
        return
    facts = corpus.description
    typer.echo(f"{output}: {facts['records']:,} records, split by {facts['split']['strategy']}")
    for part, windows in facts["windows"].items():
        typer.echo(f"  {part:<10} {windows:>12,} windows {facts['bases'].get(part, 0):>16,} bases")
    if facts["unknown_tokens"]:
        typer.echo(
            f"  {facts['unknown_tokens']:,} of {facts['tokens']:,} tokens are unknown to the tokenizer"
        )
