"""One case: a call of the command line in this process, and what must hold afterwards.

Success, or exit code 2 with one line on stderr that begins with "primase: ", nothing on stdout and nothing left behind;
no traceback, no hang, no number that is not finite in what was written, no warning of a library.
"""

import contextlib
import gzip
import hashlib
import io
import os
import re
import signal
import sys
import tempfile
import time
import traceback
import warnings
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from unittest.mock import patch

import numpy as np
import typer

SUCCESS, REFUSED, FAILED = "success", "refused", "failed"
SECONDS_OF_A_CASE = 20.0
STARVED_TIMES = 5
"""So many times the limit is waited for a case that has hardly computed."""

_PROGRESS = re.compile(r"[A-Za-z0-9 -]+: \d+%.*")
_NOT_FINITE = re.compile(rb"(?<![A-Za-z0-9_./-])[-+]?(nan|inf|infinity)(?![A-Za-z0-9_./-])", re.IGNORECASE)
_OUTPUT_TEXTS = frozenset({".json", ".tsv", ".csv", ".vcf", ".bed", ".bedgraph", ".jsonl"})


_built_once = cache(typer.main.get_command)


@dataclass(frozen=True)
class Outcome:
    """How a case ended."""

    kind: str
    """SUCCESS, REFUSED or FAILED."""
    complaint: str = ""
    """What did not hold, in a few words; empty for the other two."""
    said: str = ""
    """stderr, and the traceback where there was one."""


class Hang(BaseException):
    """Not an Exception, so that nobody takes it for an error of a library."""


def run(
    arguments: Sequence[str],
    folder: Path,
    *,
    may_change: Sequence[str] = (),
    limit: float | None = SECONDS_OF_A_CASE,
) -> Outcome:
    """`primase ARGUMENTS` in `folder`, in which all the inputs are.

    `may_change` are the names within the folder that a success may write; a refusal may write none. `limit` is in
    seconds; None for no limit.
    """
    before = _contents(folder)
    # A record may be named nan, and then it is in the output by right.
    not_finite_before = any(not _is_finite(folder / name) for name in before)
    out, err = io.StringIO(), io.StringIO()
    code, trace = 0, ""
    with (
        patch.object(sys, "argv", ["primase", *arguments]),
        patch("typer.main.get_command", _built_once),  # which takes longer than most cases
        contextlib.chdir(folder),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        _from_libraries(err),
        warnings.catch_warnings(),
        _limited(limit),
    ):
        warnings.simplefilter("default")
        code, trace = _call()
    said = err.getvalue() + trace
    complaint = _complaint(code, trace, out.getvalue(), err.getvalue())
    after = _contents(folder)
    if not complaint and code == 2 and after != before:
        names = sorted(name for name in before | after if before.get(name) != after.get(name))
        complaint = f"a refusal left {', '.join(_shape(name) for name in names[:3])}"
    if not complaint and code != 2:
        complaint = _complaint_of_outputs(folder, before, after, may_change, not_finite_before)
    if complaint:
        return Outcome(FAILED, complaint, said)
    return Outcome(REFUSED if code == 2 else SUCCESS, "", said)


def _call() -> tuple[int, str]:
    """Exit code, and the traceback of what was not caught."""
    from primase.cli import main

    handler = signal.getsignal(signal.SIGTERM)
    try:
        main()
    except SystemExit as end:
        return (end.code if isinstance(end.code, int) else 1) if end.code else 0, ""
    except Hang:
        return -1, "hang: " + traceback.format_exc()
    except BaseException:
        return 1, traceback.format_exc()
    finally:
        signal.signal(signal.SIGTERM, handler)
    return 0, ""


@contextlib.contextmanager
def _from_libraries(err: io.StringIO) -> Iterator[None]:
    """What C libraries write to stderr, which goes past Python's, is added to `err` at the end."""
    with tempfile.TemporaryFile() as caught:
        own = os.dup(2)
        os.dup2(caught.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(own, 2)
            os.close(own)
            caught.seek(0)
            err.write(caught.read().decode("utf-8", "replace"))


@contextlib.contextmanager
def _limited(limit: float | None) -> Iterator[None]:
    """Hang where the block takes longer. On a busy machine it may get little of a processor: it is waited for then."""
    begun, computed = time.monotonic(), time.process_time()

    def ring(*_: object) -> None:
        is_starved = time.process_time() - computed < limit / 2 and time.monotonic() - begun < STARVED_TIMES * limit
        if not is_starved:
            raise Hang
        signal.setitimer(signal.ITIMER_REAL, limit)

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, limit or 0)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _complaint(code: int, trace: str, out: str, err: str) -> str:
    if trace:
        *_, last = trace.strip().splitlines()
        return f"hang of {SECONDS_OF_A_CASE:.0f} s" if trace.startswith("hang: ") else f"traceback: {last[:120]}"
    if code not in (0, 2):
        return f"exit code {code}"
    lines = [line for line in err.splitlines() if line and not _PROGRESS.fullmatch(line)]
    if code == 0:
        if not all(line.isprintable() for line in out.splitlines()):
            return "control characters on stdout"
        strange = [line for line in lines if re.search(r"Warning\b|Error\b|Traceback", line)]
        return f"on stderr: {strange[0][:120]}" if strange else ""
    if len(lines) != 1 or not lines[0].startswith("primase: "):
        return f"{len(lines)} lines on stderr"
    if not lines[0].isprintable():
        return "a line with control characters"
    return "something on stdout" if out else ""


def _complaint_of_outputs(
    folder: Path, before: dict, after: dict, may_change: Sequence[str], not_finite_before: bool
) -> str:
    changed = [name for name in after if before.get(name) != after[name]]
    for name in changed:
        if name.split("/")[0] not in may_change:
            return f"a success wrote {_shape(name)}"
        file = folder / name
        if file.is_file() and not not_finite_before and not _is_finite(file, _OUTPUT_TEXTS):
            return f"not finite: {_shape(name)}"
    return ""


def _is_finite(file: Path, texts: frozenset[str] | None = None) -> bool:
    """Whether no number or word in it is nan or infinite; of files with the suffixes `texts`, or of any file."""
    if not file.is_file():
        return True
    data = file.read_bytes()
    if texts is None:
        with contextlib.suppress(OSError, EOFError, zlib.error):
            data = gzip.decompress(data)
        return not _NOT_FINITE.search(data)
    if file.suffix == ".npy":
        values = np.load(file, allow_pickle=False)
        return values.dtype.kind != "f" or bool(np.isfinite(values).all())
    return file.suffix not in texts or not _NOT_FINITE.search(data)


def _shape(name: str) -> str:
    """A name without its numbers, so that the same complaint is counted as one."""
    return re.sub(r"\d+", "0", name)


def _contents(folder: Path) -> dict[str, str]:
    """Checksum of every file below the folder, and the folders themselves."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        found[name] = hashlib.blake2b(path.read_bytes()).hexdigest() if path.is_file() else "folder"
    return found
