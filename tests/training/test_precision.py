"""bf16 trains as fp32 does: the loss of 200 steps."""

import pytest

from primase.training.run import pretrain
from tests.training.runs import DENSE, EXPERTS, metrics, tiny_recipe


@pytest.mark.parametrize("model", [DENSE, EXPERTS], ids=["dense", "experts"])
def test_200_steps_in_bf16_stay_within_half_a_percent_of_fp32(genome, tmp_path, model):
    losses = {}
    for precision in ("fp32", "bf16"):
        recipe = tiny_recipe(
            model, training__steps=200, training__log_every=1, training__evaluate_every="never",
            training__save_every=200, training__accumulation_steps=1, training__rows_per_batch=40,
            training__learning_rate=1e-3, training__precision=precision,
        )  # fmt: skip
        pretrain(genome, tmp_path / precision, recipe)
        losses[precision] = [line["loss_nats_per_token"] for line in metrics(tmp_path / precision)]
    assert len(losses["fp32"]) == len(losses["bf16"]) == 200
    assert losses["bf16"] == pytest.approx(losses["fp32"], rel=5e-3)
    assert losses["bf16"] != losses["fp32"]
