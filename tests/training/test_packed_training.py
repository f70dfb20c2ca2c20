"""A training on packed rows is that on padded ones: as many targets, and the losses of the same model."""

import pytest

from primase.models import packing
from primase.training.run import pretrain
from tests.kernels import needs_kernels, skip_without_kernels
from tests.training.runs import DENSE, EXPERTS, timeless_metrics, tiny_recipe

pytestmark = needs_kernels
WIDE = {"hidden_size": 64, "num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 32}


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("model", [DENSE, EXPERTS], ids=["dense", "experts"])
def test_packed_rows_train_as_padded_ones(model, side, unequal_windows, tmp_path, monkeypatch):
    settings = model["settings"] | WIDE | ({"attention_dropout": 0.0} if model is EXPERTS else {})
    recipe = tiny_recipe(
        model | {"attention": "primase", "settings": settings},
        data__short_records="keep", tokenizer__padding_side=side, training__steps=12, training__log_every=1,
        training__precision="bf16", training__compile="yes", training__evaluate_every="never", training__save_every=12,
    )  # fmt: skip
    runs, can_pack, answers = {}, packing._can_pack, []
    for name in ("padded", "packed"):
        is_packed = name == "packed"
        monkeypatch.setattr(
            packing,
            "_can_pack",
            lambda *given, used=is_packed: answers.append(can_pack(*given)) or (used and answers[-1]),
        )
        runs[name] = timeless_metrics(pretrain(unequal_windows, tmp_path / name, recipe).run)
        skip_without_kernels()
    assert answers and all(answers), answers
    for ours, theirs in zip(runs["packed"], runs["padded"], strict=True):
        assert ours["tokens"] == theirs["tokens"] and ours["bases"] == theirs["bases"]
        assert ours["loss_nats_per_token"] == pytest.approx(theirs["loss_nats_per_token"], rel=0.01)
    # On the right they are the same to the last bit, or nearly; on the left padding sees nothing, or itself.
    assert side == "right" or runs["packed"] != runs["padded"]
