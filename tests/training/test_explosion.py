"""A loss that explodes stops the run, keeps the last good checkpoint, and says a command that works."""

import math
import shlex
import signal

import pytest
import torch

from primase.cli import main
from primase.errors import ExplodedLossError
from primase.training.checkpoints import complete_checkpoints
from primase.training.explosion import note_step
from primase.training.metrics import Progress
from primase.training.run import pretrain, resume
from primase.training.trainer import PretrainingTrainer
from tests.training.runs import DENSE, metrics, tiny_recipe

BATCHES_OF_A_STEP = 2
RECIPE = tiny_recipe(
    DENSE,
    training__steps=100,
    training__save_every=5,
    training__evaluate_every="never",
    training__log_every=1,
    training__learning_rate=1e-4,
)


def blow_up(trainer: PretrainingTrainer) -> None:
    """Finite, and far from anything that 50 small steps could mend."""
    with torch.no_grad():
        trainer.model.get_output_embeddings().weight.mul_(100_000)


def exploding(steps):
    """How many of a sequence of losses are seen until the run is stopped; None where it goes on."""
    progress = Progress()
    return next((number for number, loss in enumerate(steps, 1) if note_step(progress, loss, 8)), None)


def test_the_rule():
    guess = math.log(8)
    bad, good = 2.1 * guess, 1.9 * guess
    assert exploding([guess, *[bad] * 100]) == 51
    assert exploding([guess, *[good] * 100]) is None  # it may just be slow
    assert exploding([guess, *[bad] * 49, good, *[bad] * 100]) == 101  # the count begins anew
    assert exploding([bad] * 200) is None  # never better: a bad beginning is none
    assert exploding([guess, *[*[bad] * 49, good] * 10]) is None


def test_it_stops_and_the_last_good_checkpoint_is_the_newest(genome, before_batch, tmp_path):
    before_batch(BATCHES_OF_A_STEP * 22, blow_up)
    with pytest.raises(ExplodedLossError, match=r"exploded: above .* for 50 steps until step 72; .*step-000020\. Try"):
        pretrain(genome, tmp_path / "run", RECIPE)
    assert [checkpoint.step for checkpoint in complete_checkpoints(tmp_path / "run")] == [15, 20]
    assert [line["step"] for line in metrics(tmp_path / "run")] == list(range(1, 72))


def test_the_count_goes_on_after_a_stop(genome, before_batch, tmp_path):
    """Checkpoints of weights that are bad already are kept until it is sure, and the count goes with them."""
    before_batch(BATCHES_OF_A_STEP * 22, blow_up)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            PretrainingTrainer, "training_step", _stopping_in_the_step_after(42, PretrainingTrainer.training_step)
        )
        assert pretrain(genome, tmp_path / "run", RECIPE).steps == 42
    saved = [checkpoint.step for checkpoint in complete_checkpoints(tmp_path / "run")]
    assert saved == [15, 20, 25, 30, 35, 40, 42]
    with pytest.raises(ExplodedLossError, match="until step 72"):
        resume(tmp_path / "run")


def _stopping_in_the_step_after(step, training_step):
    def stopping(trainer, *args, **kwargs):
        if trainer.state.global_step == step:
            signal.raise_signal(signal.SIGTERM)
        return training_step(trainer, *args, **kwargs)

    return stopping


def test_what_it_says_to_try_works(genome, before_batch, tmp_path, monkeypatch, capsys):
    before_batch(BATCHES_OF_A_STEP * 22, blow_up)
    with pytest.raises(ExplodedLossError) as error:
        pretrain(genome, tmp_path / "run", RECIPE)
    command = shlex.split(str(error.value).split("fp32: ")[1])
    assert command[:3] == ["primase", "pretrain", "--resume"]
    monkeypatch.setattr("sys.argv", command)
    with pytest.raises(SystemExit) as exit_status:
        main()
    assert exit_status.value.code == 0, capsys.readouterr().err
    lines = metrics(tmp_path / "run")
    assert [line["step"] for line in lines] == list(range(1, 101))
    # The schedule is linear: the rate of a step is the new peak by the share of steps that are left.
    new_rate = float(command[5].split("=")[1])
    assert lines[19]["learning_rate"] == pytest.approx(RECIPE.training.learning_rate * 0.81)
    assert lines[20]["learning_rate"] == pytest.approx(new_rate * 0.80)
    assert f"{new_rate:g}" in (tmp_path / "run" / "recipe.toml").read_text()
