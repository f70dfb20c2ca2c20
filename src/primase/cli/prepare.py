"""primase prepare: sequences to a corpus folder."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from primase.cli import options
from primase.cli.display import Display
from primase.cli.writing import writing

if TYPE_CHECKING:
    from primase.results import Leakage


def command(
    sources: options.Sources,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FOLDER", help="The corpus folder to write.")],
    recipe: options.RecipeName = "default",
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
    facts, certificate = corpus.description, corpus.leakage()
    leakage = certificate[0] if certificate else None
    if as_json:
        typer.echo(json.dumps(facts | {"leakage": leakage.model_dump() if leakage else None}, indent=2))
        return
    records = f"{facts['records']:,} record{'s' if facts['records'] != 1 else ''}"
    typer.echo(f"{output}: {records}, {facts['split']['strategy']} split")
    bases = facts["bases"]
    for part, windows in facts["windows"].items():
        if windows or part != "unused":
            in_gaps = "  (in the gaps between the parts)" if part == "unused" else ""
            typer.echo(f"  {part:<10} {windows:>12,} windows {bases[part]:>16,} bases{in_gaps}")
    if bases["outside_windows"]:
        ends = "" if facts["data"]["short_records"] == "keep" else "record ends, and "
        typer.echo(f"  {bases['outside_windows']:,} bases are in no window: {ends}windows with an N")
    if unknown := facts["unknown_tokens"]:
        verb = "is" if unknown == 1 else "are"
        typer.echo(f"  {unknown:,} of {facts['tokens']:,} tokens {verb} unknown to the tokenizer")
    if groups := facts["split"].get("homology"):
        typer.echo(
            f"  stretches that resemble each other are on one side: {groups['linked_share']:.1%} of the bases resemble "
            f"others, the largest group has {groups['largest_group_share']:.1%} (in {groups['largest_group_part']})"
        )
    if leakage:
        _print_leakage(leakage)


def _print_leakage(leakage: "Leakage") -> None:
    part = {"heldout": "held-out", "validation": "validation"}[leakage.part]
    draw = "" if leakage.windows == leakage.windows_of_part else f" (looked at: {leakage.windows:,} of them)"
    typer.echo(f"What of the {part} windows{draw} stands in the training part too, on either strand:")
    typer.echo(
        f"  as a whole {leakage.exact_copy_share:.1%}, at least half of the {leakage.kmer_bases}-mers "
        f"{leakage.half_kmers_share:.1%}"
    )
    typer.echo(
        f"  on average {leakage.mean_kmer_share:.1%} of a window's {leakage.kmer_bases}-mers, and "
        f"{leakage.minimizer_containment:.1%} of all minimizers of {leakage.minimizer_bases} bases"
    )
