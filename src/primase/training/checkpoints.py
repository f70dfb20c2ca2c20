"""Checkpoints that are complete or are none.

A checkpoint is written under a hidden name, its marker last, and renamed in one step. The marker holds the size and the
SHA-256 of every file, so that one that was cut off or changed on disk is known and named before it is loaded.
"""

import errno
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

from primase import checksums
from primase.errors import CheckpointError, InputError, NewerFileError
from primase.own_files import one_line, read_json

SCHEMA_VERSION = 1
MARKER = "complete.json"
FINAL_MARKER = "checksums.json"

_REMEDIES = {
    errno.EROFS: "make the disk writable",
    errno.EACCES: "change the permissions",
    errno.EPERM: "change the permissions",
    errno.EDQUOT: "free some space within your quota",
}


@dataclass(frozen=True)
class Checkpoint:
    """A complete checkpoint on disk."""

    folder: Path
    step: int
    facts: dict
    """What the writer noted beside the files: the recipe, digests of it, of corpus and tokenizer, and the version."""


def checkpoint_folder(run: Path, step: int) -> Path:
    return run / _name(step)


def _name(step: int) -> str:
    return f"checkpoints/step-{step:06d}"


@contextmanager
def writing_checkpoint(run: Path, step: int, facts: dict, bytes_needed: int | None = None) -> Iterator[Path]:
    """A folder to write into; it becomes the checkpoint of `step` when the block ends without an exception.

    Raises CheckpointError where it cannot be written (a full disk, say), with `bytes_needed` in the message; earlier
    checkpoints stay as they are.
    """
    for stale in run.glob("checkpoints/.*.partial"):  # of a process that was killed
        shutil.rmtree(stale, ignore_errors=True)
    with writing_folder(run, _name(step), MARKER, {"step": step} | facts, bytes_needed) as folder:
        yield folder


@contextmanager
def writing_folder(run: Path, name: str, marker: str, facts: dict, bytes_needed: int | None = None) -> Iterator[Path]:
    """A hidden folder to write into, which becomes the folder `name` of a run when the block ends without an exception.

    Its file `marker`, written last, holds `facts` beside size and checksum of each other file. Raises CheckpointError
    where it cannot be written; nothing of it is left then.
    """
    final = run / name
    partial, replaced = (final.with_name(f".{final.name}{suffix}") for suffix in (".partial", ".replaced.partial"))
    for stale in (partial, replaced):
        shutil.rmtree(stale, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
        yield partial
        for file in filter(Path.is_file, partial.rglob("*")):
            _flush_to_disk(file)
        note = {"schema_version": SCHEMA_VERSION} | checksums.files_of(partial) | facts
        (partial / marker).write_text(json.dumps(note, indent=2) + "\n", "utf-8")
        _flush_to_disk(partial / marker)
        _flush_to_disk(partial)
        if final.exists():
            final.rename(replaced)
        partial.rename(final)
        _flush_to_disk(final.parent)
        shutil.rmtree(replaced, ignore_errors=True)
    except (OSError, RuntimeError, SafetensorError) as error:  # RuntimeError: what torch.save makes of a full disk
        shutil.rmtree(partial, ignore_errors=True)
        raise CheckpointError(_refusal(run, final, error, bytes_needed)) from error
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def _refusal(run: Path, final: Path, error: Exception, bytes_needed: int | None) -> str:
    """Why `final` could not be written, what it needs, and what to do."""
    free = shutil.disk_usage(run).free
    reason = getattr(error, "strerror", None) or " ".join(str(error).split())[:200]
    if isinstance(error, RuntimeError) and bytes_needed and free < bytes_needed:
        reason = os.strerror(errno.ENOSPC)  # torch speaks of positions in its archive
    needs = f"it needs about {bytes_needed:,} bytes, and" if bytes_needed else "there,"
    remedy = _REMEDIES.get(getattr(error, "errno", None), "free some space on that disk")
    return (
        f"{final}: cannot be written ({reason}); {needs} {free:,} bytes are free. Nothing of it was kept, and earlier "
        f"checkpoints are as they were; {remedy} and go on with primase pretrain --resume {run}"
    )


def bytes_of_state(model: torch.nn.Module, optimizer: torch.optim.Optimizer | None = None) -> int:
    """About how many bytes the weights take on disk, and the state of the optimizer with them."""
    tensors = list(model.state_dict().values())
    if optimizer is not None:
        tensors += _tensors_in(optimizer.state_dict())
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def _tensors_in(state: object) -> list[torch.Tensor]:
    if isinstance(state, torch.Tensor):
        return [state]
    parts = state.values() if isinstance(state, dict) else state if isinstance(state, list | tuple) else ()
    return [tensor for part in parts for tensor in _tensors_in(part)]


def complete_checkpoints(run: Path) -> list[Checkpoint]:
    """All checkpoints of a run whose files are there in full, the oldest first; nothing is read but the markers."""
    found = (read_checkpoint(folder) for folder in run.glob("checkpoints/step-*"))
    return sorted((checkpoint for checkpoint in found if checkpoint), key=lambda checkpoint: checkpoint.step)


def read_checkpoint(folder: Path) -> Checkpoint | None:
    """The checkpoint in `folder`, or None where its marker is absent or a file is not as long as the marker says.

    Raises CheckpointError where a newer Primase wrote it.
    """
    marker = _read_marker(folder)
    if marker is None or checksums.wrong_size(folder, marker):
        return None
    return Checkpoint(folder, marker["step"], marker)


def _read_marker(folder: Path) -> dict | None:
    try:
        marker = read_json(folder / MARKER, schema=SCHEMA_VERSION, remedy="go on from another checkpoint")
    except NewerFileError as error:
        raise CheckpointError(str(error)) from None
    except InputError:
        return None
    if not isinstance(marker.get("step"), int) or checksums.SIZES not in marker or not checksums.is_sound(marker):
        return None
    name = checksums.name_outside(marker)
    if name is not None:
        raise CheckpointError(
            f"{folder / MARKER}: names a file outside of the checkpoint ({name}); who wrote it? Remove the folder"
        )
    return marker


def damage_of(folder: Path) -> str | None:
    """What is wrong with the checkpoint in `folder`, all of which is read; None where it is good."""
    marker = _read_marker(folder)
    if marker is None:
        return f"{folder / MARKER} is missing or not readable"
    return checksums.damage(folder, marker)


def newest_checkpoint(run: Path, *, skip_damaged: bool = False) -> Checkpoint | None:
    """The newest checkpoint of a run, checked file by file; None where none was ever written.

    Raises CheckpointError, with the file, where it is damaged. With `skip_damaged` the damaged ones are removed
    instead, and the newest good one is the answer; CheckpointError where there is none.
    """
    folders = sorted(run.glob("checkpoints/step-*"), key=_step_of, reverse=True)
    damages = []
    for folder in folders:
        damage = damage_of(folder)
        if damage is None:
            break
        damages.append(damage)
    if not damages:
        return read_checkpoint(folders[0]) if folders else None
    good = read_checkpoint(folders[len(damages)]) if len(damages) < len(folders) else None
    if good is None:
        raise CheckpointError(
            f"{run}: no complete checkpoint to go on from: {damages[0]}; start again with --overwrite"
        )
    if not skip_damaged:
        raise CheckpointError(
            f"{damages[0]}: the newest checkpoint is damaged; restore it, or go on from the newest good one (step "
            f"{good.step:,}) with primase pretrain --resume {run} --skip-damaged"
        )
    for folder in folders[: len(damages)]:
        _remove(folder)
    return good


def _step_of(folder: Path) -> int:
    number = folder.name.removeprefix("step-")
    return int(number) if number.isdecimal() else -1


def damaged(folder: Path, reason: str) -> CheckpointError:
    """What to raise where `folder` cannot be gone on from."""
    return CheckpointError(f"{folder}: damaged: {reason}; remove this folder to go on from the checkpoint before")


@contextmanager
def damage_told(folder: str | Path | None, what: str) -> Iterator[None]:
    """What torch has against a file of a checkpoint, or refuses to unpickle, becomes a CheckpointError."""
    try:
        yield
    except CheckpointError:
        raise
    except Exception as error:  # of zip, pickle, torch and numpy, a dozen types
        raise damaged(Path(folder or "."), f"the {what} cannot be loaded ({one_line(error)})") from error


def delete_old_checkpoints(run: Path, keep: int, best_step: int | None) -> None:
    """Keep the newest `keep` checkpoints and the best one, by step: modification times lie after a copy."""
    for checkpoint in complete_checkpoints(run)[:-keep]:
        if checkpoint.step != best_step:
            _remove(checkpoint.folder)


def delete_checkpoints_from(run: Path, first_step: int) -> None:
    """Delete those of `first_step` and later."""
    for checkpoint in complete_checkpoints(run):
        if checkpoint.step >= first_step:
            _remove(checkpoint.folder)


def _remove(folder: Path) -> None:
    """Under a hidden name first: a process that is killed meanwhile leaves no checkpoint of which half is gone."""
    hidden = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(hidden, ignore_errors=True)
    folder.rename(hidden)
    shutil.rmtree(hidden, ignore_errors=True)


def load_weights(model: PreTrainedModel, folder: Path) -> None:
    """Put the weights of `folder` into `model`, every one of them.

    transformers' own resume reads the file as it is, one key an expert, and skips what does not match; reading through
    the model class converts it first (huggingface/transformers issue 48805). Raises CheckpointError where they do not
    fit.
    """
    try:
        loaded = type(model).from_pretrained(folder, dtype=torch.float32, local_files_only=True, use_safetensors=True)
    except Exception as error:  # transformers, safetensors and torch raise a dozen types here
        raise damaged(folder, f"its weights cannot be loaded ({one_line(error)})") from error
    try:
        model.load_state_dict(loaded.state_dict(), strict=True)
    except RuntimeError as error:
        raise CheckpointError(
            f"{folder}: the weights do not fit the model that the recipe describes; another model cannot go on from "
            "them, so restore the model's settings or pretrain again"
        ) from error


def _flush_to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
