"""The gradient of a training step: of the whole accumulated batch, with the balancing loss at its stated weight."""

import numpy as np
import pytest

from primase.training.run import pretrain
from primase.training.trainer import PretrainingTrainer
from tests.training.runs import EXPERTS, tiny_recipe


@pytest.fixture
def first_step(genome, tmp_path, monkeypatch):
    """`first_step(genome, recipe)`: the gradient of the first step, and the model and the batches it was made from."""

    def run(genome, **changes):
        seen = {"batches": []}
        compute_loss, get_grad_norm = PretrainingTrainer.compute_loss, PretrainingTrainer._get_grad_norm

        def look_at_batch(trainer, model, inputs, **rest):
            seen.setdefault("model", model)
            seen["batches"].append(inputs)
            return compute_loss(trainer, model, inputs, **rest)

        def look_at_gradient(trainer, model, grad_norm=None):
            seen["gradient"] = {name: weight.grad.clone() for name, weight in model.named_parameters()}
            seen["weights"] = {name: weight.clone() for name, weight in model.named_parameters()}
            return get_grad_norm(trainer, model, grad_norm)

        monkeypatch.setattr(PretrainingTrainer, "compute_loss", look_at_batch)
        monkeypatch.setattr(PretrainingTrainer, "_get_grad_norm", look_at_gradient)
        recipe = tiny_recipe(
            EXPERTS, **{"training__steps": 1, "training__max_gradient_norm": 0.0, "training__evaluate_every": "never"}
            | {"model__settings__attention_dropout": 0.0} | changes
        )  # fmt: skip
        pretrain(genome, tmp_path / "run", recipe, overwrite=True)
        monkeypatch.undo()
        return seen

    return run


@pytest.fixture(scope="module")
def one_window(tmp_path_factory):
    """The same 60 bases 100 times: every row is the same."""
    window = "".join(np.random.default_rng(1).choice(list("ACGT"), 60))
    file = tmp_path_factory.mktemp("same") / "same.fa"
    file.write_text(f">same\n{window * 100}\n")
    return file


def largest_difference(ours, theirs):
    """Of the gradients of any weight, relative to its norm."""
    return max(float((ours[name] - theirs[name]).norm() / theirs[name].norm()) for name in theirs)


def test_balancing_loss_weighs_the_same_whatever_the_accumulation(first_step, one_window):
    """And the same as in the model's own loss, of one batch."""
    heavy = {"model__settings__router_aux_loss_coef": 0.5, "split__validation_fraction": 0}
    at_once = first_step(one_window, training__accumulation_steps=1, **heavy)
    in_four = first_step(one_window, training__accumulation_steps=4, **heavy)
    assert len(in_four["batches"]) == 4
    assert any(name.endswith("gate.weight") for name in at_once["gradient"])
    assert largest_difference(in_four["gradient"], at_once["gradient"]) < 1e-6

    model = at_once["model"]
    model.load_state_dict(at_once["weights"])
    model.zero_grad()
    model(**at_once["batches"][0]).loss.backward()
    reference = {name: weight.grad for name, weight in model.named_parameters()}
    assert largest_difference(at_once["gradient"], reference) < 1e-5


def test_token_loss_is_that_of_one_large_batch(first_step, unequal_windows):
    short = {
        "data__short_records": "keep",
        "split__validation_fraction": 0,
        "model__settings__output_router_logits": False,
    }
    at_once = first_step(unequal_windows, training__rows_per_batch=36, training__accumulation_steps=1, **short)
    in_five = first_step(unequal_windows, training__rows_per_batch=8, training__accumulation_steps=5, **short)
    targets = [int((batch["labels"][:, 1:] >= 0).sum()) for batch in in_five["batches"]]
    assert len(set(targets)) == 5
    assert largest_difference(in_five["gradient"], at_once["gradient"]) < 1e-5
