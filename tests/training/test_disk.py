"""A disk that is full or read-only in the middle of a run: one line, and the checkpoint before is good."""

import subprocess

import pytest

from primase.cli import main
from primase.errors import CheckpointError
from primase.training import checkpoints
from primase.training import run as training_run
from primase.training.checkpoints import complete_checkpoints, damage_of
from primase.training.metrics import MetricsFile
from primase.training.run import pretrain, resume
from tests.training.runs import DENSE, assert_same_run, tiny_recipe

RECIPE = tiny_recipe(DENSE, training__log_every=1)


@pytest.fixture(scope="module")
def reference(genome, tmp_path_factory):
    return pretrain(genome, tmp_path_factory.mktemp("reference") / "run", RECIPE).run


def refusal(monkeypatch, capsys, *arguments) -> str:
    """The last line on stderr of a command that a user's disk refuses."""
    monkeypatch.setattr("sys.argv", ["primase", "pretrain", *map(str, arguments)])
    with pytest.raises(SystemExit) as exit_status:
        main()
    error = capsys.readouterr().err
    assert exit_status.value.code == 2 and "Traceback" not in error, error
    return error.strip().splitlines()[-1]


def fill(disk, leave_bytes):
    """A foreign file that takes what is free, but for so much."""
    file = disk / "foreign"
    block = bytes(4096)
    with open(file, "wb", buffering=0) as out:
        try:
            while True:
                out.write(block)
        except OSError:
            pass
        size = out.tell()
        out.truncate(max(0, size - leave_bytes))
    return file


@pytest.mark.parametrize("leave_bytes", [0, 20_480, 49_152, 90_112])
def test_full_in_the_middle_of_a_run(
    leave_bytes, genome, reference, small_disk, tmp_path, before_batch, monkeypatch, capsys
):
    """Full at whatever file of a checkpoint."""
    disk = small_disk("size=4m")
    (tmp_path / "recipe.toml").write_text(RECIPE.to_toml())
    foreign = []
    before_batch(14, lambda trainer: foreign.append(fill(disk, leave_bytes)))
    line = refusal(monkeypatch, capsys, genome, "-o", disk / "run", "-r", tmp_path / "recipe.toml")
    assert line.startswith(f"primase: {disk}/run") and "No space left on device" in line, line
    assert f"go on with primase pretrain --resume {disk}/run" in line
    assert "step-000010: cannot be written" in line and "it needs about " in line and " bytes are free" in line
    assert [folder.name for folder in (disk / "run" / "checkpoints").iterdir()] == ["step-000005"]
    assert damage_of(disk / "run" / "checkpoints" / "step-000005") is None
    foreign[0].unlink()
    resume(disk / "run")
    assert_same_run(disk / "run", reference)


def test_full_when_the_final_model_is_written(genome, reference, small_disk, monkeypatch):
    disk, foreign = small_disk("size=4m"), []
    write_final = training_run._write_final
    monkeypatch.setattr(
        training_run, "_write_final", lambda *arguments: foreign.append(fill(disk, 8192)) or write_final(*arguments)
    )
    with pytest.raises(CheckpointError, match=r"/run/final: cannot be written \(.*No space left.*needs about [\d,]+ b"):
        pretrain(genome, disk / "run", RECIPE)
    assert not (disk / "run" / "final").exists() and not list((disk / "run").glob(".*"))
    foreign[0].unlink()
    monkeypatch.undo()
    resume(disk / "run")
    assert_same_run(disk / "run", reference)


def test_a_line_of_the_metrics_that_does_not_fit(tmp_path):
    (tmp_path / "metrics.jsonl").symlink_to("/dev/full")
    message = rf"metrics\.jsonl: a line of 12 bytes cannot be written \(No space left .*--resume {tmp_path}"
    with pytest.raises(CheckpointError, match=message):
        MetricsFile(tmp_path / "metrics.jsonl").append({"step": 1})


def test_the_bytes_that_it_names_are_enough(genome, reference):
    """Against what a checkpoint takes on disk; its small files are not counted."""
    checkpoint = complete_checkpoints(reference)[-1]
    sizes = checkpoint.facts["bytes_of_file"]
    with pytest.MonkeyPatch.context() as patch:
        needed = []
        patch.setattr(
            checkpoints,
            "writing_checkpoint",
            lambda run, step, facts, bytes_needed: needed.append(bytes_needed) or 1 / 0,
        )
        with pytest.raises(ZeroDivisionError):
            pretrain(genome, reference.parent / "other", RECIPE)
    tensors = sizes["model.safetensors"] + sizes["optimizer.pt"]
    assert 0.6 * tensors < needed[0] <= tensors  # headers are large beside tiny tensors


def test_read_only_in_the_middle_of_a_run(genome, reference, small_disk, before_batch):
    """The folder of the checkpoints alone: the kernel makes no disk read-only while the lock's file is open."""
    disk = small_disk("size=4m")
    saved = disk / "run" / "checkpoints"

    def make_read_only(_trainer):
        subprocess.run(["mount", "--bind", saved, saved], check=True)
        subprocess.run(["mount", "-o", "remount,bind,ro", saved], check=True)

    before_batch(19, make_read_only)
    try:
        with pytest.raises(CheckpointError, match=r"step-000010: cannot be written \(Read-only file system\)") as error:
            pretrain(genome, disk / "run", RECIPE)
    finally:
        subprocess.run(["umount", saved], check=True)
    assert "make the disk writable and go on with primase pretrain --resume" in str(error.value)
    assert [checkpoint.step for checkpoint in complete_checkpoints(disk / "run")] == [5]
    resume(disk / "run")
    assert_same_run(disk / "run", reference)


def test_a_run_on_a_read_only_disk_is_not_resumed(reference, small_disk, monkeypatch, capsys):
    disk = small_disk("size=4m")
    subprocess.run(["cp", "-r", reference, disk / "run"], check=True)
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    line = refusal(monkeypatch, capsys, "--resume", disk / "run")
    assert line.startswith(f"primase: {disk}/run") and "Read-only file system" in line
