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

import torch
from safetensors import SafetensorError
from transformers import PreTrainedModel

from primase.errors import CheckpointError

SCHEMA_VERSION = 1
MARKER = "complete.json"


@dataclass(frozen=True)
class Checkpoint:
    """A complete checkpoint on disk."""

    folder: Path
    step: int
    facts: dict
    """What the writer noted beside the file sizes: digests of recipe, corpus and tokenizer."""


def checkpoint_folder(run: Path, step: int) -> Path:
    return run / _name(step)


def _name(step: int) -> str:
    return f"checkpoints/step-{step:06d}"


@contextmanager
def writing_checkpoint(run: Path, step: int, facts: dict) -> Iterator[Path]:
    """A folder to write into; it becomes the checkpoint of `step` when the block ends without an exception.

    Raises CheckpointError where it cannot be written (a full disk, say); earlier checkpoints stay as they are.
    """
    for stale in run.glob("checkpoints/.*.partial"):  # of a process that was killed
        shutil.rmtree(stale, ignore_errors=True)
    with writing_folder(run, _name(step)) as folder:
        yield folder
        sizes = {file.name: file.stat().st_size for file in sorted(folder.iterdir()) if file.is_file()}
        for name in sizes:
            _flush_to_disk(folder / name)
        marker = {"schema_version": SCHEMA_VERSION, "step": step, "bytes_of_file": sizes} | facts
        (folder / MARKER).write_text(json.dumps(marker, indent=2) + "\n", "utf-8")
        _flush_to_disk(folder / MARKER)


@contextmanager
def writing_folder(run: Path, name: str) -> Iterator[Path]:
    """A hidden folder to write into, which becomes the folder `name` of a run when the block ends without an exception.

    Raises CheckpointError where it cannot be written; nothing of it is left then.
    """
    final = run / name
    partial = final.with_name(f".{final.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
        yield partial
        shutil.rmtree(final, ignore_errors=True)
        partial.rename(final)
        _flush_to_disk(final.parent)
    except (OSError, RuntimeError, SafetensorError) as error:  # RuntimeError: what torch.save makes of a full disk
        shutil.rmtree(partial, ignore_errors=True)
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())[:200]
        raise CheckpointError(
            f"{final}: cannot be written ({reason}); nothing of it was kept. Is the disk full? Then free some space "
            f"and go on from the checkpoint before with primase pretrain --resume {run}"
        ) from error
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def complete_checkpoints(run: Path) -> list[Checkpoint]:
    """All complete checkpoints of a run, the oldest step first; half-written or damaged folders are passed over."""
    found = (read_checkpoint(folder) for folder in run.glob("checkpoints/step-*"))
    return sorted((checkpoint for checkpoint in found if checkpoint), key=lambda checkpoint: checkpoint.step)


def read_checkpoint(folder: Path) -> Checkpoint | None:
    """The checkpoint in `folder`, or None where its marker is absent or a file is not as long as the marker says.

    Raises CheckpointError where a newer Primase wrote it.
    """
    try:
        marker = json.loads((folder / MARKER).read_text("utf-8"))
        if any((folder / name).stat().st_size != size for name, size in marker["bytes_of_file"].items()):
            return None
        schema_version, step = marker["schema_version"], marker["step"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if schema_version > SCHEMA_VERSION:
        raise CheckpointError(f"{folder}: written by a newer Primase (schema {schema_version}); update Primase")
    return Checkpoint(folder, step, marker)


def delete_old_checkpoints(run: Path, keep: int, best_step: int | None) -> None:
    """Keep the newest `keep` checkpoints and the best one, by step: modification times lie after a copy."""
    for checkpoint in complete_checkpoints(run)[:-keep]:
        if checkpoint.step != best_step:
            shutil.rmtree(checkpoint.folder)


def load_weights(model: PreTrainedModel, folder: Path) -> None:
    """Put the weights of `folder` into `model`, every one of them.

    transformers' own resume reads the file as it is, one key an expert, and skips what does not match; reading through
    the model class converts it first (huggingface/transformers issue 48805).
    """
    loaded = type(model).from_pretrained(folder, dtype=torch.float32, local_files_only=True, use_safetensors=True)
    model.load_state_dict(loaded.state_dict(), strict=True)


def _flush_to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
