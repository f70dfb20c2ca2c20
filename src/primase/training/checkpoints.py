"""Checkpoints that are complete or are none.

A checkpoint is written under a hidden name, its marker last, and renamed in one step. What has no marker, or a file
of another size than the marker says, does not exist for this module.
"""

import hashlib
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

from primase.errors import CheckpointError, InputError, NewerFileError
from primase.own_files import one_line, read_json

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
        checksums = {name: _sha256(folder / name) for name in sizes}
        marker = {"schema_version": SCHEMA_VERSION, "step": step, "bytes_of_file": sizes, "sha256_of_file": checksums}
        marker |= facts
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
        marker = read_json(folder / MARKER, schema=SCHEMA_VERSION, remedy="go on from another checkpoint")
    except NewerFileError as error:
        raise CheckpointError(str(error)) from None
    except InputError:
        return None
    sizes, step = marker.get("bytes_of_file"), marker.get("step")
    if not isinstance(sizes, dict) or not isinstance(step, int):
        return None
    for name in sizes:
        if Path(name).name != name or name == "..":
            raise CheckpointError(
                f"{folder / MARKER}: names a file outside of the checkpoint ({name}); who wrote it? Remove the folder"
            )
    if any(not (folder / name).is_file() or (folder / name).stat().st_size != size for name, size in sizes.items()):
        return None
    return Checkpoint(folder, step, marker)


def refuse_changed(checkpoint: Checkpoint) -> None:
    """Raises CheckpointError where a file is not what was written, by the checksums in the marker, if it has any."""
    checksums = checkpoint.facts.get("sha256_of_file", {})
    if not isinstance(checksums, dict):
        raise damaged(checkpoint.folder, f"{MARKER} holds no checksums")
    for name, checksum in checksums.items():
        file = checkpoint.folder / Path(name).name
        if not file.is_file() or _sha256(file) != checksum:
            raise damaged(checkpoint.folder, f"{name} is not what was written")


def damaged(folder: Path, reason: str) -> CheckpointError:
    """What to raise where `folder` cannot be gone on from."""
    return CheckpointError(f"{folder}: damaged: {reason}; remove this folder to go on from the checkpoint before")


@contextmanager
def damage_told(folder: str | Path | None) -> Iterator[None]:
    """What torch has against a file of a checkpoint, or refuses to unpickle, becomes a CheckpointError."""
    try:
        yield
    except CheckpointError:
        raise
    except Exception as error:  # of zip, pickle, torch and numpy, a dozen types
        raise damaged(Path(folder or "."), f"the optimizer's state cannot be loaded ({one_line(error)})") from error


def _sha256(file: Path) -> str:
    with open(file, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


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
    try:
        loaded = type(model).from_pretrained(folder, dtype=torch.float32, local_files_only=True, use_safetensors=True)
        model.load_state_dict(loaded.state_dict(), strict=True)
    except Exception as error:  # transformers, safetensors and torch raise a dozen types here
        raise damaged(folder, f"its weights cannot be loaded ({one_line(error)})") from error


def _flush_to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
