"""Checkpoints of expert models hold every weight, and every weight is read back."""

import pytest
import torch
import transformers

from primase.models.build import build_model
from primase.training.checkpoints import checkpoint_folder, load_weights
from primase.training.run import pretrain
from primase.training.trainer import PretrainingTrainer
from tests.training.runs import tiny_recipe, unequal, weights


@pytest.fixture
def at_step_5(genome, tmp_path, before_batch):
    """A run, the weights it had at its checkpoint of step 5, and its trainer."""
    seen = {}

    def look(trainer: PretrainingTrainer) -> None:
        seen["trainer"] = trainer
        seen["weights"] = {name: value.clone() for name, value in trainer.model.state_dict().items()}

    before_batch(10, look)
    result = pretrain(genome, tmp_path / "run", tiny_recipe(training__steps=6))
    return result.run, seen["weights"], seen["trainer"]


def fresh_twin(trainer: PretrainingTrainer, recipe) -> transformers.PreTrainedModel:
    return build_model(recipe.model, trainer.model.config, seed=2)


def test_every_weight_is_read_back(at_step_5):
    run, trained, trainer = at_step_5
    fresh = fresh_twin(trainer, tiny_recipe())
    untouched = len(unequal(fresh.state_dict(), trained))
    assert untouched > 10
    load_weights(fresh, checkpoint_folder(run, 5))
    assert unequal(fresh.state_dict(), trained) == []


def test_transformers_still_leaves_experts_fresh(at_step_5):
    """Upstream issue 48805. When this fails, an upgrade has repaired it: `checkpoints.load_weights` may go."""
    run, trained, trainer = at_step_5
    trainer.model = fresh_twin(trainer, tiny_recipe())
    transformers.Trainer._load_from_checkpoint(trainer, str(checkpoint_folder(run, 5)))
    wrong = unequal(trainer.model.state_dict(), trained)
    assert {name.split(".mlp.")[1] for name in wrong} == {
        "gate.weight",
        "experts.gate_up_proj",
        "experts.down_proj",
    }


@pytest.mark.parametrize("save_every", ["evaluation", 7])
@pytest.mark.parametrize(("keep_best", "step"), [(True, 10), (False, 20)])
def test_final_holds_the_best_or_the_last(keep_best, step, save_every, genome, tmp_path, validation_gives):
    validation_gives(2.0, 1.9, 1.91, 1.92)
    recipe = tiny_recipe(training__keep_best=keep_best, training__save_every=save_every)
    result = pretrain(genome, tmp_path / "run", recipe)
    assert (result.best_step, result.validation_bits_per_base) == (10, 1.9)
    final = weights(result.run / "final")
    assert unequal(final, weights(checkpoint_folder(result.run, step))) == []
    assert (unequal(final, weights(checkpoint_folder(result.run, 20))) == []) == (step == 20)


def test_final_loads_with_plain_transformers(at_step_5):
    run, *_ = at_step_5
    tokenizer = transformers.AutoTokenizer.from_pretrained(run / "final")
    model = transformers.AutoModelForCausalLM.from_pretrained(run / "final")
    assert model.dtype == torch.float32
    assert model(**tokenizer("ACGTACGTACG", return_tensors="pt")).logits.isfinite().all()
