"""Checkpoints that are complete or are none.

A checkpoint is written under a hidden name, its marker last, and renamed in one step. What has no marker, or a file
of another size than the marker says, does not exist for this module.
"""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from primase.errors import CheckpointError

SCHEMA_VERSION = 1
MARKER = "complete.json"


@dataclass(frozen=True)
class Checkpoint:
    """A complete checkpoint on disk."""

    folder: Path
    step: int
    facts: dict
    """What the writer noted beside the file sizes: digests of recipe and corpus."""


def checkpoints_folder(run: Path) -> Path:
    return run / "checkpoints"


@contextmanager
def writing_checkpoint(run: Path, step: int, facts: dict) -> Iterator[Path]:
    """A folder to write into; it becomes `checkpoints/step-NNNNNN` when the block ends without an exception.

    A failure (a full disk, say) removes what was written and leaves every earlier checkpoint as it was.
    """
    final = checkpoints_folder(run) / f"step-{step:06d}"
    partial = final.with_name(f".{final.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
        sizes = {file.name: file.stat().st_size for file in sorted(partial.iterdir()) if file.is_file()}
        for name in sizes:
            _flush_to_disk(partial / name)
        marker = {"schema_version": SCHEMA_VERSION, "step": step, "bytes_of_file": sizes} | facts
        (partial / MARKER).write_text(json.dumps(marker, indent=2) + "\n", "utf-8")
        _flush_to_disk(partial / MARKER)
        if final.exists():
            shutil.rmtree(final)
        partial.rename(final)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def complete_checkpoints(run: Path) -> list[Checkpoint]:
    """All complete checkpoints of a run, the oldest step first; half-written or damaged folders are passed over."""
    found = (read_checkpoint(folder) for folder in checkpoints_folder(run).glob("step-*"))
    return sorted((checkpoint for checkpoint in found if checkpoint), key=lambda checkpoint: checkpoint.step)


def read_checkpoint(folder: Path) -> Checkpoint | None:
    """The checkpoint in `folder`, or None where its marker is absent or a file is not as long as the marker says."""
    try:
        marker = json.loads((folder / MARKER).read_text("utf-8"))
        whole = all((folder / name).stat().st_size == size for name, size in marker["bytes_of_file"].items())
    except (OSError, ValueError, KeyError):
        return None
    if marker["schema_version"] > SCHEMA_VERSION:
        raise CheckpointError(
            f"{folder}: written by a newer Primase (schema {marker['schema_version']}); update Primase"
        )
    return Checkpoint(folder, marker["step"], marker) if whole else None


def delete_old_checkpoints(run: Path, keep: int, best_step: int | None) -> None:
    """Keep the newest `keep` checkpoints and the best one, by step: modification times lie after a copy."""
    checkpoints = complete_checkpoints(run)
    for checkpoint in checkpoints[:-keep]:
        if checkpoint.step != best_step:
            shutil.rmtree(checkpoint.folder)


def _flush_to_disk(file: Path) -> None:
    descriptor = os.open(file, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
