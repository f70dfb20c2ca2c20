"""Several processes train the model of one: same losses, same rows a step, exact resume, one line for an error."""

import hashlib
import json
import os
import re
import signal

import pytest

from primase.corpus.prepare import prepare
from primase.errors import RecipeError
from primase.training.checkpoints import complete_checkpoints
from primase.training.run import pretrain, resume
from primase.training.trainer import PretrainingTrainer
from tests.several import command_line, results, together
from tests.training.runs import DENSE, EXPERTS, assert_same_run, metrics, tiny_recipe

WITHOUT_DROPOUT = EXPERTS | {"settings": EXPERTS["settings"] | {"attention_dropout": 0.0}}
UNEQUAL = {"data__short_records": "keep", "split__validation_fraction": 0.2}

RECIPES = {
    "whole micro-batches": tiny_recipe(DENSE),
    "split micro-batches": tiny_recipe(DENSE, training__accumulation_steps=1, training__rows_per_batch=9),
    # 24 windows in steps of 5: the last step of an epoch has rows for some of the processes only.
    "unequal rows": tiny_recipe(DENSE, **UNEQUAL, training__rows_per_batch=5, training__accumulation_steps=1),
    "experts": tiny_recipe(WITHOUT_DROPOUT, training__steps=12),
    "fsdp2": tiny_recipe(DENSE, training__sharding="fsdp2"),
    "fsdp2 of experts, the last model": tiny_recipe(
        WITHOUT_DROPOUT, training__sharding="fsdp2", training__keep_best=False, training__steps=12
    ),
    "muon": tiny_recipe(DENSE, training__optimizer="muon", training__strands="random", training__steps=12),
    "pairs": tiny_recipe(DENSE, model__start="pairs", training__strands="random", training__steps=12),
}
DROPOUT = tiny_recipe(EXPERTS, training__accumulation_steps=4, training__rows_per_batch=2)


def losses(run):
    names = ("loss_nats_per_token", "eval_bits_per_base", "router_entropy")
    return [(line["step"], name, line[name]) for line in metrics(run) for name in names if name in line]


def assert_same_losses(run, reference):
    """Within 1e-5, relative."""
    ours, theirs = losses(run), losses(reference)
    assert [line[:2] for line in ours] == [line[:2] for line in theirs] and len(ours) > 5
    assert [line[2] for line in ours] == pytest.approx([line[2] for line in theirs], rel=1e-5)
    assert [(line["step"], line["tokens"], line["bases"]) for line in metrics(run) if "tokens" in line] == [
        (line["step"], line["tokens"], line["bases"]) for line in metrics(reference) if "tokens" in line
    ]


@pytest.fixture(scope="module")
def corpora(genome, unequal_windows, tmp_path_factory):
    """Prepared once: all recipes but one have the same."""
    folder = tmp_path_factory.mktemp("corpora")
    prepare([genome], folder / "same", tiny_recipe(DENSE))
    prepare([unequal_windows], folder / "unequal", RECIPES["unequal rows"])
    return {name: folder / ("unequal" if name == "unequal rows" else "same") for name in RECIPES}


@pytest.fixture
def corpus(corpora):
    return corpora["whole micro-batches"]


@pytest.fixture(scope="module")
def in_two(corpora, tmp_path_factory):
    """`in_two(name)`: the run folder and the results of a recipe in two processes."""
    done = {}

    def get(name):
        if name not in done:
            run = tmp_path_factory.mktemp("two") / "run"
            done[name] = run, results(together(pretrain, corpora[name], run, RECIPES[name]))
        return done[name]

    return get


@pytest.mark.parametrize("name", RECIPES)
def test_the_losses_are_those_of_one_process(name, in_two, corpora, tmp_path):
    one = pretrain(corpora[name], tmp_path / "one", RECIPES[name])
    run, two = in_two(name)
    assert_same_losses(run, one.run)
    assert two[0] == two[1]
    assert (two[0].steps, two[0].best_step, two[0].failed_checks) == (one.steps, one.best_step, one.failed_checks)


def stopped_in_one(batches, by, work, *arguments):
    """`work`, and one of the processes gets SIGTERM while it computes the micro-batch after so many."""
    training_step, computed = PretrainingTrainer.training_step, [0]

    def step(trainer, *inputs):
        if computed[0] == batches and trainer.args.process_index == by:
            signal.raise_signal(signal.SIGTERM)
        computed[0] += 1
        return training_step(trainer, *inputs)

    PretrainingTrainer.training_step = step
    return work(*arguments)


@pytest.mark.parametrize("sharding", ["none", "fsdp2"])
def test_stop_and_go(sharding, corpus, tmp_path):
    """A signal to one process stops both, in the middle of a step; with dropout, of which each has its own."""
    recipe = DROPOUT.replace({"training.sharding": sharding})
    results(together(pretrain, corpus, tmp_path / "undisturbed", recipe))
    stopped = results(together(stopped_in_one, 22, 1, pretrain, corpus, tmp_path / "run", recipe))
    assert [(end.interrupted, end.steps) for end in stopped] == [("SIGTERM", 11)] * 2
    states = [(tmp_path / "run/checkpoints/step-000011" / f"rng_state_{rank}.pth").read_bytes() for rank in (0, 1)]
    assert states[0] != states[1]
    assert results(together(resume, tmp_path / "run"))[0].steps == 20
    assert_same_run(tmp_path / "run", tmp_path / "undisturbed")


@pytest.mark.parametrize("name", ["whole micro-batches", "fsdp2"])
@pytest.mark.parametrize(("begun", "resumed"), [(2, 1), (1, 3)])
def test_another_number_of_processes_goes_on(name, begun, resumed, in_two, corpus, tmp_path):
    arguments = stopped_in_one, 15, 0, pretrain, corpus, tmp_path / "run", RECIPES[name]
    assert results(together(*arguments, processes=begun))[0].interrupted == "SIGTERM"
    assert 0 < complete_checkpoints(tmp_path / "run")[-1].step < 20
    results(together(resume, tmp_path / "run", processes=resumed))
    assert_same_losses(tmp_path / "run", in_two(name)[0])


def spoiled_in_one(*arguments):
    """The loss of one process is not finite in its ninth micro-batch."""
    compute_loss, computed = PretrainingTrainer.compute_loss, [0]

    def compute(trainer, model, inputs, **rest):
        computed[0] += 1
        if computed[0] == 9 and trainer.args.process_index == 1:
            with_nan = trainer.model.get_output_embeddings().weight.data
            with_nan[0, 0] = float("nan")
        return compute_loss(trainer, model, inputs, **rest)

    PretrainingTrainer.compute_loss = compute
    return command_line(*arguments)


def exploding_in_all(*arguments):
    """The weights of every process are spoilt after twelve steps: finite, and beyond what 50 small steps could mend."""
    training_step, computed = PretrainingTrainer.training_step, [0]

    def step(trainer, *inputs):
        computed[0] += 1
        if computed[0] == 13:
            trainer.model.get_output_embeddings().weight.data.mul_(100_000)
        return training_step(trainer, *inputs)

    PretrainingTrainer.training_step = step
    return command_line(*arguments)


def lines_told(ends):
    return [line for end in ends for line in end.printed.splitlines() if line.startswith("primase: ")]


@pytest.fixture
def recipe_file(tmp_path):
    file = tmp_path / "recipe.toml"
    file.write_text(tiny_recipe(DENSE).to_toml())
    return file


def test_a_loss_that_is_not_finite_in_one_stops_all(corpus, recipe_file, tmp_path):
    ends = together(spoiled_in_one, "pretrain", corpus, "-o", tmp_path / "run", "-r", recipe_file)
    assert [end.result for end in ends] == [2, 2]
    assert len(lines_told(ends)) == 1 and "is not finite at step 9" in lines_told(ends)[0]
    assert [checkpoint.step for checkpoint in complete_checkpoints(tmp_path / "run")] == [5]


def test_a_loss_that_explodes_stops_all(corpus, recipe_file, tmp_path):
    settings = ("steps=100", "learning_rate=1e-4", "save_every=5", "evaluate_every=never")
    options = [part for setting in settings for part in ("--set", f"training.{setting}")]
    ends = together(exploding_in_all, "pretrain", corpus, "-o", tmp_path / "run", "-r", recipe_file, *options)
    assert [(end.result, end.error) for end in ends] == [(2, None)] * 2, ends
    assert len(lines_told(ends)) == 1 and "exploded" in lines_told(ends)[0] and "step-000010" in lines_told(ends)[0]
    assert [checkpoint.step for checkpoint in complete_checkpoints(tmp_path / "run")] == [5, 10]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(["missing.fa"], "missing.fa", id="found by the main process"),
        pytest.param(["{genome}", "--set", "training.stepz=3"], "stepz", id="found by all"),
        pytest.param(["{genome}", "--set", "training.rows_per_batch=1"], "2 processes share the rows", id="too many"),
    ],
)
def test_a_mistake_is_told_once(arguments, message, genome, recipe_file, tmp_path):
    arguments = [argument.format(genome=genome) for argument in arguments]
    options = ["--set", "training.accumulation_steps=1", "-o", tmp_path / "run", "-r", recipe_file]
    ends = together(command_line, "pretrain", *arguments, *options)
    assert [(end.result, end.error) for end in ends] == [(2, None)] * 2
    assert len(lines_told(ends)) == 1 and message in lines_told(ends)[0]
    assert "Traceback" not in "".join(end.printed for end in ends)
    assert not (tmp_path / "run").exists()


def killed_in_one(batches, *arguments):
    training_step, computed = PretrainingTrainer.training_step, [0]

    def step(trainer, *inputs):
        if computed[0] == batches and trainer.args.process_index == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        computed[0] += 1
        return training_step(trainer, *inputs)

    PretrainingTrainer.training_step = step
    return command_line(*arguments)


def test_a_process_that_dies_takes_the_others_down(in_two, genome, recipe_file, tmp_path):
    """Within a minute, with the reason; the run goes on from its last checkpoint, and one process prints."""
    command = ["pretrain", genome, "-o", tmp_path / "run", "-r", recipe_file, "--resume-if-begun"]
    ends = together(killed_in_one, 12, *command, seconds=60)
    assert [end.exit_code for end in ends] == [0, -signal.SIGKILL] and ends[0].result == 2
    assert re.search(r"process 0 of 2 lost another one.*--resume", lines_told(ends)[0]) and len(lines_told(ends)) == 1
    assert "Traceback" not in ends[0].printed
    assert [checkpoint.step for checkpoint in complete_checkpoints(tmp_path / "run")] == [5, 10]

    ends = together(command_line, *command)
    assert [end.result for end in ends] == [0, 0]
    assert "Trained 20 steps" in ends[0].printed and ends[1].printed == ""
    assert_same_run(tmp_path / "run", in_two("whole micro-batches")[0])
    assert '"processes": 2' in (tmp_path / "run" / "environment.json").read_text()


def test_muon_is_not_sharded():
    with pytest.raises(RecipeError, match=r"fsdp2.*muon.*training\.optimizer=adamw"):
        tiny_recipe(DENSE).replace({"training.sharding": "fsdp2", "training.optimizer": "muon"})


def test_a_run_of_before_the_setting_keeps_its_digest():
    plain, sharded = tiny_recipe(DENSE), tiny_recipe(DENSE, training__sharding="fsdp2")
    assert plain.digest() != sharded.digest()
    without = plain.model_dump(mode="json")
    del without["training"]["sharding"], without["split"]["homology_share"], without["split"]["heldout_regions"]
    assert plain.digest() == hashlib.sha256(json.dumps(without, sort_keys=True).encode()).hexdigest()[:16]
