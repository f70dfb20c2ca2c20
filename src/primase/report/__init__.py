"""What a run has come to, for a reader: report.html in the run, and the model card in its final/. Reads files only."""

import os
from pathlib import Path

from primase.errors import OutputExistsError


def write_whole(file: Path, text: str) -> Path:
    """Write beside and rename, so that a reader never sees half of it, whoever else writes at the same time.

    Raises OutputExistsError where a folder is in its place.
    """
    if file.is_dir():
        raise OutputExistsError(f"{file}: is a folder; remove it")
    partial = file.with_name(f".{file.name}.{os.getpid()}.partial")
    try:
        partial.write_text(text, "utf-8")
        partial.replace(file)
    finally:
        partial.unlink(missing_ok=True)
    return file
