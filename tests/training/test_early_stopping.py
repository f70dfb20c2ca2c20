"""Patience: the run stops after so many measurements without a better one, whatever interrupts it."""

import signal

import pytest

from primase.training.run import pretrain, resume
from tests.training.runs import metrics, tiny_recipe, unequal, weights


def test_stops_after_patience(genome, tmp_path, validation_gives):
    """Equal is not better; a better one starts the count anew."""
    validation_gives(2.0, 2.0, 1.9, 1.95, 1.9, 1.91, 0.0)
    recipe = tiny_recipe(training__evaluate_every=2, training__patience=3)
    result = pretrain(genome, tmp_path / "run", recipe)
    assert (result.steps, result.planned_steps) == (12, 20)
    assert (result.best_step, result.validation_bits_per_base) == (6, 1.9)
    assert unequal(weights(result.run / "final"), weights(result.run / "checkpoints" / "step-000006")) == []


def test_a_validation_part_that_cannot_improve(genome, tmp_path):
    """Trained on some random bases, tested on others: learning by heart makes it worse."""
    recipe = tiny_recipe(
        training__steps=400, training__learning_rate=0.05, training__evaluate_every="epoch", training__patience=2
    )
    result = pretrain(genome, tmp_path / "run", recipe)
    measured = [line["eval_bits_per_base"] for line in metrics(result.run) if "eval_bits_per_base" in line]
    assert result.steps < 400
    assert len(measured) == result.steps / 10
    assert min(measured) == measured[-3] == result.validation_bits_per_base


@pytest.mark.parametrize("batches", [13, 16], ids="after batch {}".format)
@pytest.mark.parametrize("save_every", ["evaluation", 4])
def test_the_count_goes_on_after_a_resume(batches, save_every, genome, tmp_path, validation_gives, before_batch):
    """Also from a checkpoint that was written before the measurement of its step."""
    validation_gives(1.9, 2.0, 2.0, 2.0, 0.0)
    before_batch(batches - 1, lambda trainer: signal.raise_signal(signal.SIGTERM))
    recipe = tiny_recipe(training__evaluate_every=4, training__patience=3, training__save_every=save_every)
    assert pretrain(genome, tmp_path / "run", recipe).interrupted
    result = resume(tmp_path / "run")
    assert (result.steps, result.best_step) == (16, 4)


def test_a_run_out_of_patience_is_over(genome, tmp_path, validation_gives):
    validation_gives(1.9, 2.0, 2.0, 0.0)
    pretrain(genome, tmp_path / "run", tiny_recipe(training__evaluate_every=2, training__patience=2))
    assert resume(tmp_path / "run").steps == 6
