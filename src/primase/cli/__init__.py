"""The command line: one short file a command. The only place that prints, and the only one that exits.

Command modules import torch inside their functions, so that `primase --help` answers at once.
"""

import os
import signal
import sys
import threading
from types import FrameType

import typer

from primase import processes
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
from primase.errors import PrimaseError, RelayedError
from primase.safe_text import printable, without_secrets
from primase.version import __version__

IN_SEVERAL_PROCESSES = ("prepare", "pretrain", "embed", "score", "tracks")


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
    exit_code = None
    try:
        _run()
    except SystemExit as end:
        exit_code = end.code if isinstance(end.code, int) else int(end.code is not None)
        raise
    finally:
        if "RANK" in os.environ and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, signal.SIG_DFL)  # a launcher ends those that are leaving, in the middle of it
        processes.leave(exit_code)


def _run() -> None:
    """Ends with SystemExit."""
    try:
        with processes.noticing_losses():
            _join_other_processes(sys.argv[1:])
            app(prog_name="primase")
    except RelayedError:
        sys.exit(2)
    except PrimaseError as error:
        if processes.is_first_to_tell():
            line = printable(without_secrets(" ".join(str(error).split())))
            print(f"primase: {line}", file=sys.stderr, flush=True)
        sys.exit(2)


def _join_other_processes(arguments: list[str]) -> None:
    """Under torchrun or accelerate launch: find the others; only the main process prints what is no error."""
    if processes.count() == 1 or "RANK" not in os.environ or not arguments or "--help" in arguments:
        return
    if arguments[0] not in IN_SEVERAL_PROCESSES:
        raise PrimaseError(
            f"WORLD_SIZE is {processes.count()}, and primase {arguments[0]} runs in one process: start it without "
            f"torchrun ({', '.join(IN_SEVERAL_PROCESSES)} run in several)"
        )
    processes.start()
    if not processes.is_main():
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 (until the process ends)


def _leave_on_signal(number: int, _: FrameType | None) -> None:
    sys.exit(128 + number)
