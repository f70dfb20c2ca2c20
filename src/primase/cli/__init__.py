"""The command line: one short file a command. The only place that prints, and the only one that exits.

Command modules import torch inside their functions, so that `primase --help` answers at once.
"""

import errno
import os
import sys

import typer

from primase.cli import demo, doctor, embed, evaluate, plan, prepare, pretrain, simulate, tokenizer
from primase.errors import PrimaseError
from primase.version import __version__

app = typer.Typer(
    name="primase",
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
    version: bool = typer.Option(
        False, "--version", callback=_print_version, is_eager=True, help="Print the version."
    ),
) -> None:
    pass


for module in (demo, doctor, simulate, tokenizer, prepare, plan, pretrain, evaluate, embed):
    app.command(name=module.__name__.rsplit(".", 1)[1])(module.command)


def main() -> None:
    """Run a command. A user's mistake is one line on stderr and exit code 2; a traceback is a bug."""
    try:
        app()
    except PrimaseError as error:
        _leave(str(error))
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader of our output has gone
        sys.exit(141)
    except OSError as error:
        if error.errno not in (
            errno.ENOSPC,
            errno.EDQUOT,
            errno.EFBIG,
            errno.EACCES,
            errno.EROFS,
            errno.EPERM,
        ):
            raise
        place = f"{error.filename}: " if error.filename else ""
        _leave(
            f"{place}{error.strerror}; nothing half-written was kept. Free space or choose another output folder"
        )


def _leave(message: str) -> None:
    print(f"primase: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(2)
