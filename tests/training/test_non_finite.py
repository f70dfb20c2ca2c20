"""A loss or a gradient that is not finite stops the run before the optimizer step."""

import math
import sys

import pytest
import torch

from primase.cli import main
from primase.errors import NonFiniteLossError
from primase.training.checkpoints import complete_checkpoints
from primase.training.run import pretrain, resume
from primase.training.trainer import PretrainingTrainer
from tests.training.runs import assert_same_run, metrics, tiny_recipe


def spoil_a_weight(trainer: PretrainingTrainer) -> None:
    with torch.no_grad():
        trainer.model.model.norm.weight[0] = math.nan


def spoil_the_logits(trainer: PretrainingTrainer) -> None:
    trainer.model.lm_head.register_forward_hook(lambda module, inputs, logits: logits * math.inf)


def spoil_a_gradient(trainer: PretrainingTrainer) -> None:
    trainer.model.model.norm.weight.register_hook(lambda gradient: gradient * math.inf)


@pytest.mark.parametrize(
    ("spoil", "what", "max_gradient_norm"),
    [
        (spoil_a_weight, "training loss", 1.0),
        (spoil_the_logits, "training loss", 1.0),
        (spoil_a_gradient, "gradient", 1.0),
        (spoil_a_gradient, "gradient", 0.0),
    ],
)
def test_no_step_is_made(spoil, what, max_gradient_norm, genome, before_batch, tmp_path):
    seen = {}

    def spoil_and_look(trainer: PretrainingTrainer) -> None:
        spoil(trainer)
        seen["trainer"] = trainer
        seen["weights"] = {name: value.clone() for name, value in trainer.model.state_dict().items()}

    before_batch(15, spoil_and_look)
    recipe = tiny_recipe(training__max_gradient_norm=max_gradient_norm)
    with pytest.raises(NonFiniteLossError, match=rf"{what} is not finite at step 8; .*step-000005.*learning_rate"):
        pretrain(genome, tmp_path / "run", recipe)
    for name, value in seen["trainer"].model.state_dict().items():
        assert torch.equal(value.nan_to_num(7), seen["weights"][name].nan_to_num(7)), name
    assert [checkpoint.step for checkpoint in complete_checkpoints(tmp_path / "run")] == [5]
    assert not (tmp_path / "run" / "final").exists()


def test_the_run_goes_on_from_the_last_checkpoint(genome, before_batch, tmp_path):
    reference = pretrain(genome, tmp_path / "reference", tiny_recipe())
    before_batch(15, spoil_a_weight)
    with pytest.raises(NonFiniteLossError):
        pretrain(genome, tmp_path / "run", tiny_recipe())
    resume(tmp_path / "run")
    assert_same_run(tmp_path / "run", reference.run)


def test_a_validation_loss_that_is_not_finite_is_no_best(genome, tmp_path, validation_gives):
    validation_gives(2.0, math.nan)
    with pytest.raises(NonFiniteLossError, match="validation loss is not finite at step 10"):
        pretrain(genome, tmp_path / "run", tiny_recipe())


def test_one_line_on_the_command_line(genome, tmp_path, monkeypatch, capsys):
    """A learning rate that is far too high; nothing is written as NaN, or as 0."""
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(tiny_recipe(training__log_every=1, training__learning_rate=1e30).to_toml())
    command = ["primase", "pretrain", str(genome), "-o", str(tmp_path / "run"), "-r", str(recipe)]
    monkeypatch.setattr(sys, "argv", command)
    with pytest.raises(SystemExit) as exit_status:
        main()
    assert exit_status.value.code == 2
    *_, last = capsys.readouterr().err.strip().splitlines()
    assert last.startswith(f"primase: {tmp_path / 'run'}: the ") and "not finite" in last
    assert all(0 < line["bits_per_base"] < math.inf for line in metrics(tmp_path / "run"))
