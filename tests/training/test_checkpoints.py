"""A checkpoint is complete or it is none, whatever happens while it is written."""

import json

import pytest

from primase.errors import CheckpointError
from primase.training.checkpoints import (
    MARKER,
    checkpoint_folder,
    complete_checkpoints,
    delete_old_checkpoints,
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


def test_a_full_disk_is_named(tmp_path):
    message = r"step-000002: cannot be written \(No space left on device\).*--resume"
    with pytest.raises(CheckpointError, match=message), writing_checkpoint(tmp_path, 2, {}):
        raise OSError(28, "No space left on device")


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
        with writing_folder(tmp_path, "final") as folder:
            (folder / name).write_text(name)
    with pytest.raises(CheckpointError), writing_folder(tmp_path, "final") as folder:
        raise OSError(28, "No space left on device")
    assert [file.name for file in tmp_path.rglob("*")] == ["final", "new"]
