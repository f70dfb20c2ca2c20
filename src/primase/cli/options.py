"""Options that several commands share, each described once."""

import json
from typing import Annotated

import typer

Sources = Annotated[
    list[str],
    typer.Argument(metavar="GENOME", help="FASTA, CSV, TSV or Parquet files (.gz too), or folders of them."),
]
RecipeName = Annotated[
    str,
    typer.Option(
        "--recipe",
        "-r",
        metavar="RECIPE",
        help="default, default-gpu, demo, fast, tutorial, or a TOML file of your own.",
    ),
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Change one setting of the recipe, e.g. training.epochs=3. Repeatable."
    ),
]
Minutes = Annotated[
    float | None,
    typer.Option(metavar="MINUTES", help="Training time; the steps that fit are measured on this machine beforehand."),
]
Precision = Annotated[
    str,
    typer.Option(metavar="FORMAT", help="fp32, or bf16: rounded, and quicker where the hardware has it."),
]
Column = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Column of a table that holds the sequences (else text, or sequence)."),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what is at the output.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout, for a program.")]


def overrides(settings: list[str] | None, minutes: float | None = None, column: str | None = None) -> list[str]:
    """The --set texts, with the options that stand for a setting put into the same form."""
    texts = list(settings or [])
    if minutes is not None:
        texts.append(f"training.minutes={minutes}")
    if column is not None:
        texts.append(f"data.column={json.dumps(column)}")  # quoted: a column may be named 5 or true
    return texts
