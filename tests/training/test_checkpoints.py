"""A checkpoint is complete or it is none, whatever happens while it is written."""

import errno
import json
import os
import re
from pathlib import Path

import pytest

from primase.errors import CheckpointError
from primase.training.checkpoints import (
    FINAL_MARKER,
    MARKER,
    checkpoint_folder,
    complete_checkpoints,
    delete_old_checkpoints,
    newest_checkpoint,
    read_checkpoint,
    writing_checkpoint,
    writing_folder,
)


def write(run, step, text="weights"):
    with writing_checkpoint(run, step, {"recipe_digest": "abc"}) as folder:
        (folder / "weights").write_text(text)


def steps(run):
    return [checkpoint.step for checkpoint in complete_checkpoints(run)]


def test_complete(tmp_path):
    write(tmp_path, 7)
    (checkpoint,) = complete_checkpoints(tmp_path)
    assert checkpoint.folder == checkpoint_folder(tmp_path, 7) == tmp_path / "checkpoints" / "step-000007"
    assert checkpoint.step == 7
    assert checkpoint.facts["recipe_digest"] == "abc"
    assert (checkpoint.folder / "weights").read_text() == "weights"


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (OSError(28, "No space left on device"), CheckpointError),
        (RuntimeError("write\nfailed"), CheckpointError),
        (KeyboardInterrupt(), KeyboardInterrupt),
        (ValueError("a bug"), ValueError),
    ],
)
def test_failure_leaves_the_earlier_ones(error, raised, tmp_path):
    write(tmp_path, 1)
    with pytest.raises(raised) as seen, writing_checkpoint(tmp_path, 2, {}) as folder:
        (folder / "weights").write_text("half")
        raise error
    assert "\n" not in str(seen.value)
    assert [folder.name for folder in (tmp_path / "checkpoints").iterdir()] == ["step-000001"]
    assert steps(tmp_path) == [1]


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.ENOSPC, "free some space on that disk"),
        (errno.EDQUOT, "free some space within your quota"),
        (errno.EROFS, "make the disk writable"),
    ],
)
def test_what_the_disk_refuses_is_named_with_the_bytes(number, remedy, tmp_path):
    reason = re.escape(os.strerror(number))
    message = (
        rf"step-000002: cannot be written \({reason}\); it needs about 12,345 bytes, and [\d,]+ bytes are free.*"
        rf"{remedy} and go on with primase pretrain --resume {tmp_path}"
    )
    with pytest.raises(CheckpointError, match=message), writing_checkpoint(tmp_path, 2, {}, 12_345):
        raise OSError(number, os.strerror(number))


@pytest.mark.parametrize("marker", ["", "null", "[]", "{}", '{"step": 3}'])
def test_half_written_marker(marker, tmp_path):
    write(tmp_path, 2)
    write(tmp_path, 3)
    (checkpoint_folder(tmp_path, 3) / MARKER).write_text(marker)
    assert steps(tmp_path) == [2]


def test_damaged_file(tmp_path):
    for step in (2, 3, 4):
        write(tmp_path, step)
    (checkpoint_folder(tmp_path, 3) / "weights").unlink()
    (checkpoint_folder(tmp_path, 4) / "weights").write_text("weight")
    assert steps(tmp_path) == [2]


def test_a_damaged_one_is_replaced(tmp_path):
    write(tmp_path, 3)
    (checkpoint_folder(tmp_path, 3) / MARKER).unlink()
    write(tmp_path, 3, "new")
    assert (read_checkpoint(checkpoint_folder(tmp_path, 3)).folder / "weights").read_text() == "new"


def test_what_a_killed_process_left_is_cleared(tmp_path):
    (tmp_path / "checkpoints" / ".step-000004.partial").mkdir(parents=True)
    write(tmp_path, 5)
    assert [folder.name for folder in (tmp_path / "checkpoints").iterdir()] == ["step-000005"]


def test_of_a_newer_version(tmp_path):
    write(tmp_path, 3)
    file = checkpoint_folder(tmp_path, 3) / MARKER
    file.write_text(json.dumps(json.loads(file.read_text()) | {"schema_version": 99}))
    with pytest.raises(CheckpointError, match="newer Primase"):
        complete_checkpoints(tmp_path)


def test_the_newest_and_the_best_are_kept(tmp_path):
    for step in (5, 10, 15, 999_999, 1_000_000):
        write(tmp_path, step)
    delete_old_checkpoints(tmp_path, keep=2, best_step=10)
    assert steps(tmp_path) == [10, 999_999, 1_000_000]
    delete_old_checkpoints(tmp_path, keep=1, best_step=None)
    assert steps(tmp_path) == [1_000_000]


def test_final_is_replaced_as_a_whole(tmp_path):
    for name in ("old", "new"):
        with writing_folder(tmp_path, "final", FINAL_MARKER, {}) as folder:
            (folder / name).write_text(name)
    with pytest.raises(CheckpointError), writing_folder(tmp_path, "final", FINAL_MARKER, {}) as folder:
        raise OSError(28, "No space left on device")
    assert sorted(file.name for file in tmp_path.rglob("*")) == [FINAL_MARKER, "final", "new"]


def flip_a_bit(file):
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def cut_off(file):
    file.write_bytes(file.read_bytes()[:-1])


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (flip_a_bit, r"weights has changed since it was written \(SHA-256 \w+, not \w+\)"),
        (cut_off, "weights has 6 bytes, not 7"),
        (Path.unlink, "weights is missing"),
    ],
)
def test_a_damaged_newest_one_is_named_and_skipped_when_asked(harm, words, tmp_path):
    for step in (2, 3, 4):
        write(tmp_path, step)
    for step in (3, 4):
        harm(checkpoint_folder(tmp_path, step) / "weights")
    with pytest.raises(CheckpointError, match=rf"step-000004/{words}.*\(step 2\) with .* --skip-damaged") as error:
        newest_checkpoint(tmp_path)
    assert "\n" not in str(error.value)
    assert newest_checkpoint(tmp_path, skip_damaged=True).step == 2
    assert [folder.name for folder in (tmp_path / "checkpoints").iterdir()] == ["step-000002"]
    harm(checkpoint_folder(tmp_path, 2) / "weights")
    for skip_damaged in (False, True):
        with pytest.raises(CheckpointError, match=rf"no complete checkpoint to go on from: .*step-000002/{words}"):
            newest_checkpoint(tmp_path, skip_damaged=skip_damaged)


def test_one_of_before_checksums_is_read(tmp_path):
    write(tmp_path, 2)
    marker = checkpoint_folder(tmp_path, 2) / MARKER
    note = json.loads(marker.read_text())
    del note["sha256_of_file"]
    marker.write_text(json.dumps(note))
    assert newest_checkpoint(tmp_path).step == 2


def test_no_checkpoint_was_ever_written(tmp_path):
    assert newest_checkpoint(tmp_path) is None


def test_a_process_killed_while_it_deletes_leaves_nothing_half_deleted(tmp_path, monkeypatch):
    for step in (1, 2):
        write(tmp_path, step)
    monkeypatch.setattr("primase.training.checkpoints.shutil.rmtree", lambda *_, **__: None)
    delete_old_checkpoints(tmp_path, keep=1, best_step=None)
    assert sorted(folder.name for folder in (tmp_path / "checkpoints").iterdir()) == [
        ".step-000001.partial",
        "step-000002",
    ]
    monkeypatch.undo()
    write(tmp_path, 3)
    assert not list(tmp_path.glob("checkpoints/.*"))
