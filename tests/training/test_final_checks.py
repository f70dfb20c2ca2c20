"""The self-tests at the end of a training: of the final model, and only where there is one."""

import signal

from primase.results import Checks
from primase.run_folder import RunFolder
from primase.training.run import pretrain, resume
from tests.training.runs import DENSE, EXPERTS, tiny_recipe


def test_an_interrupted_run_has_none_until_it_is_over(genome, before_batch, tmp_path):
    recipe = tiny_recipe(EXPERTS, training__steps=4)
    reference = pretrain(genome, tmp_path / "reference", recipe)
    before_batch(3, lambda trainer: signal.raise_signal(signal.SIGTERM))
    stopped = pretrain(genome, tmp_path / "run", recipe)
    file = RunFolder(stopped.run).checks_file
    assert (stopped.interrupted, stopped.passed_checks, stopped.failed_checks) == ("SIGTERM", (), ())
    assert not file.exists()
    resumed = resume(stopped.run)
    assert resumed.passed_checks == reference.passed_checks
    ours, theirs = (
        Checks.model_validate_json(RunFolder(run).checks_file.read_text()) for run in (stopped.run, reference.run)
    )
    assert ours.checks == theirs.checks
    assert ours.checks[-1].name == "router"


def test_a_failure_is_no_error(genome, tmp_path):
    """A recipe that trains on all there is: it is tested on what it was trained on."""
    recipe = tiny_recipe(
        DENSE,
        training__steps=1,
        training__evaluate_every="never",
        split__validation_fraction=0,
        split__heldout_fraction=0,
    )
    assert pretrain(genome, tmp_path / "dense", recipe).failed_checks == ()
    dead = {"preset": "mixtral-1m", "settings": EXPERTS["settings"] | {"num_experts_per_tok": 1}}
    dead["settings"]["output_router_logits"] = False
    result = pretrain(genome, tmp_path / "dead", recipe.replace({"model": dead}))
    assert result.failed_checks == ("router",)
