"""Files that are whole or are not there: written beside and renamed."""

import os
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
