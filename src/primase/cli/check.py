"""primase check: the self-tests of a model."""

import dataclasses
import json
import textwrap
from pathlib import Path
from typing import Annotated

import typer

from primase.cli import options
from primase.cli.display import Display
from primase.cli.writing import writing

FAILED = 1
"""Exit code where a self-test failed; 2 is for mistakes of the user."""

LINE_LETTERS = 100


def command(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A run, a model folder, or a Hub name.")],
    sequences: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Sequences to test on (else the run's held-out windows, or random bases without a run).",
        ),
    ] = None,
    column: options.Column = None,
    files: Annotated[
        bool, typer.Option("--files", help="Only check the files of a run: corpus, checkpoints, final model.")
    ] = False,
    as_json: options.AsJson = False,
) -> None:
    """Test that a model can be trusted with sequences.

    Does it look ahead? Do padding, other sequences in the batch, lower case, or saving and loading change a score? Do
    all bases come back from the tokenizer? Does it know both strands? Does the router of its experts learn?
    Writes checks.json into a run. Exit code 0 where all is well, 1 where a test failed, 2 for a mistake in the command.
    """
    if files:
        _check_files(Path(model), as_json)
        return
    from primase.checks import check

    with writing(Path(model)), Display() as display:
        result = check(model, sequences=sequences, column=column, progress=display.stage)
    typer.echo(result.model_dump_json(indent=2) if as_json else table(result))
    if not result.passed:
        raise typer.Exit(FAILED)


def _check_files(run: Path, as_json: bool) -> None:
    from primase.training.run_files import check_files

    result = check_files(run)
    if as_json:
        typer.echo(json.dumps(dataclasses.asdict(result), indent=2))
    else:
        typer.echo("\n".join([f"{run}: {result.checked_files} files checked, {result.bytes:,} bytes", *result.lines]))
    if result.damaged:
        raise typer.Exit(FAILED)


def table(result) -> str:
    """A `primase.results.Checks` as text."""
    lines = []
    for check in result.checks:
        bound = "at least" if check.name == "router" else "at most"
        figure = "not finite" if check.figure >= 1e30 else f"{check.figure:.2g}"
        verdict = "pass" if check.passed else "FAIL"
        lines.append(f"{check.name:<11}{verdict}   {figure} {check.unit} ({bound} {check.limit:g})")
        lines += textwrap.wrap(check.meaning, LINE_LETTERS, initial_indent=" " * 11, subsequent_indent=" " * 11)
    failed = [check.name for check in result.checks if not check.passed]
    return "\n".join([*lines, "", f"{result.model}: {summary(len(result.checks), failed)}"])


def summary(tests: int, failed: list[str] | tuple[str, ...]) -> str:
    """self-tests: 7 of 7 passed."""
    return f"self-tests: {tests - len(failed)} of {tests} passed" + (f"; FAILED: {', '.join(failed)}" if failed else "")
