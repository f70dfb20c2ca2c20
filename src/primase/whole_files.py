"""Files that are whole or are not there: written beside and renamed."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from primase.errors import OutputExistsError


def write_whole(file: Path, content: bytes) -> Path:
    """Write `file` so that a reader sees the old content or the new, never half of it, whoever else writes meanwhile.

    Raises OutputExistsError where a folder is in its place.
    """
    if file.is_dir():
        raise OutputExistsError(f"{file}: is a folder; remove it")
    partial = file.with_name(f".{file.name}.{os.getpid()}.partial")
    try:
        partial.write_bytes(content)
        partial.replace(file)
    finally:
        partial.unlink(missing_ok=True)
    return file


def refuse_existing(output: Path, *, overwrite: bool) -> None:
    """Raises OutputExistsError where `output` is a folder, or a file that is not to be overwritten."""
    if output.is_dir():
        raise OutputExistsError(f"{output}: is a folder; choose another file")
    if output.exists() and not overwrite:
        raise OutputExistsError(f"{output}: already exists; pass --overwrite to replace it, or choose another file")


@contextmanager
def written_whole(file: Path) -> Iterator[Path]:
    """The path beside `file` to write to, with the same suffixes; it takes the place of `file` where all went well."""
    partial = file.with_name(f".{os.getpid()}.partial.{file.name}")
    try:
        yield partial
        partial.replace(file)
    finally:
        partial.unlink(missing_ok=True)
