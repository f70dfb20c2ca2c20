"""The command line: one short file a command. The only place that prints, and the only one that exits.

Command modules import torch inside their functions, so that `primase --help` answers at once.
"""

import signal
import sys
import threading
from types import FrameType

import typer

from primase.cli import (
    check,
    compress,
    decompress,
    demo,
    doctor,
    embed,
    evaluate,
    finetune,
    generate,
    picture,
    plan,
    predict,
    prepare,
    pretrain,
    report,
    score,
    search,
    simulate,
    tokenizer,
    tracks,
)
from primase.errors import PrimaseError
from primase.safe_text import printable, without_secrets
from primase.version import __version__


class _Commands(typer.core.TyperGroup):
    """Reads its own option only where one comes first.

    typer imports pydantic for each option that it reads, and the help of a command would take twice as long.
    """

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:
        if args and not args[0].startswith("-"):
            self.params = []
        return super().parse_args(ctx, args)


app = typer.Typer(
    name="primase",
    cls=_Commands,
    help="DNA language models from scratch: from a genome to a trained, measured, usable model.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"primase {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: bool = typer.Option(False, "--version", callback=_print_version, is_eager=True, help="Print the version."),
) -> None:
    pass


for module in (
    demo,
    doctor,
    simulate,
    tokenizer,
    prepare,
    plan,
    pretrain,
    check,
    evaluate,
    report,
    embed,
    finetune,
    predict,
    score,
    tracks,
    generate,
    compress,
    decompress,
):
    app.command(name=module.__name__.rsplit(".", 1)[1])(module.command)
app.add_typer(picture.app, name="picture")
app.add_typer(search.app, name="search")


def main() -> None:
    """Run a command. A user's mistake is one line on stderr and exit code 2; a traceback is a bug.

    Ctrl-C ends with code 130 and SIGTERM with 143, after what was half-written is removed; training saves a checkpoint.
    """
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _leave_on_signal)
    try:
        app(prog_name="primase")
    except PrimaseError as error:
        print(f"primase: {printable(without_secrets(' '.join(str(error).split())))}", file=sys.stderr)
        sys.exit(2)


def _leave_on_signal(number: int, _: FrameType | None) -> None:
    sys.exit(128 + number)
