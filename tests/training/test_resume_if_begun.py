"""--resume-if-begun: one command that begins a run, or goes on with it, as a launcher needs that starts again."""

import shutil
import signal

import pytest

from primase.cli import main
from primase.training.checkpoints import complete_checkpoints
from primase.training.run import pretrain
from tests.training.runs import DENSE, assert_same_run, tiny_recipe

# By the clock, and as the machine can: the run writes down steps and what it took in place of each `auto`.
RECIPE = tiny_recipe(
    DENSE, training__steps=None, training__epochs=2.0, training__precision="auto", training__compile="auto"
)


@pytest.fixture
def command(genome, tmp_path, monkeypatch, capsys):
    """`command(options)`: exit code, stdout and stderr of the one command."""
    (tmp_path / "recipe.toml").write_text(RECIPE.to_toml())
    same = ["pretrain", genome, "-o", tmp_path / "run", "-r", tmp_path / "recipe.toml", "--resume-if-begun"]

    def run(*options):
        monkeypatch.setattr("sys.argv", ["primase", *map(str, same), *options])
        with pytest.raises(SystemExit) as exit_status:
            main()
        return exit_status.value.code, *capsys.readouterr()

    return run


def test_begins_and_goes_on(command, genome, tmp_path, before_batch):
    before_batch(22, lambda trainer: signal.raise_signal(signal.SIGTERM))
    code, said, _ = command()
    assert code == 143 and "Stopped by SIGTERM after step 11 of 20" in said
    code, said, _ = command()
    assert code == 0 and "The plan:" not in said and "Trained 20 steps" in said
    reference = pretrain(genome, tmp_path / "reference", RECIPE)
    assert_same_run(tmp_path / "run", reference.run)

    code, said, _ = command()  # it is over
    assert code == 0 and "Trained 20 steps" in said
    assert_same_run(tmp_path / "run", reference.run)


def test_begins_anew_where_there_is_no_checkpoint_yet(command, tmp_path, before_batch):
    before_batch(12, lambda trainer: signal.raise_signal(signal.SIGTERM))
    command()
    assert complete_checkpoints(tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    code, said, _ = command()
    assert code == 0 and "The plan:" in said and "Trained 20 steps" in said


def test_a_damaged_checkpoint_is_no_reason_to_begin_anew(command, tmp_path, before_batch):
    """Somebody may have a copy of the file that is cut off."""
    before_batch(12, lambda trainer: signal.raise_signal(signal.SIGTERM))
    command()
    saved = list((tmp_path / "run" / "checkpoints").iterdir())
    for folder in saved:
        (folder / "model.safetensors").write_bytes(b"")
    code, _, error = command()
    assert code == 2 and "no complete checkpoint to go on from" in error and "model.safetensors has 0 bytes" in error
    assert list((tmp_path / "run" / "checkpoints").iterdir()) == saved


def test_another_recipe_is_refused(command, before_batch, tmp_path):
    before_batch(12, lambda trainer: signal.raise_signal(signal.SIGTERM))
    command()
    code, _, error = command("--set", "training.learning_rate=0.1")
    assert code == 2 and "training.learning_rate: 0.1, not 0.005" in error and error.count("primase: ") == 1


@pytest.mark.parametrize("option", [["--overwrite"], ["--resume", "run"]])
def test_it_decides_by_itself(command, option, tmp_path):
    code, _, error = command(*option)
    assert code == 2 and error.count("\n") == 1 and "--resume" in error
    assert not (tmp_path / "run").exists()
