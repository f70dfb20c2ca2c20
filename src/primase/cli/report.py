"""primase report: one page of a run, and the model card."""

import json
from pathlib import Path
from typing import Annotated

import typer

from primase.cli import options
from primase.cli.writing import writing


def command(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")],
    as_json: options.AsJson = False,
) -> None:
    """Write report.html: on one page, what a run is worth.

    A run with a final model gets its model card too (final/README.md). What has not been measured yet is named on the
    page, with the command that adds it.
    """
    from primase.report.card import write_card
    from primase.report.page import write_report
    from primase.run_folder import RunFolder

    with writing(run):
        page = write_report(run)
        card = write_card(run) if RunFolder(run).final.is_dir() else None
    if as_json:
        typer.echo(json.dumps({"report": str(page), "model_card": str(card) if card else None}, indent=2))
        return
    typer.echo(f"{page}: open it in a browser")
    if card:
        typer.echo(f"{card}: the model card")
