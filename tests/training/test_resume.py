"""A run that was stopped and resumed is the undisturbed run: same weights bit for bit, same metrics, each step once."""

import shutil
import signal

import pytest

from primase.corpus.rows import TrainingRows
from primase.errors import CheckpointError
from primase.run_folder import RunFolder
from primase.training import checkpoints, training_setup
from primase.training.checkpoints import MARKER, complete_checkpoints
from primase.training.run import pretrain, resume
from primase.training.time_limit import TimeLimit
from primase.training.trainer import PretrainingTrainer
from tests.training.runs import (
    DENSE,
    EXPERTS,
    assert_same_run,
    metrics,
    timeless_metrics,
    tiny_recipe,
    unequal,
    weights,
)

RECIPES = {
    "experts": tiny_recipe(EXPERTS),
    "bf16": tiny_recipe(EXPERTS, training__precision="bf16"),
    "muon": tiny_recipe(
        DENSE,
        training__optimizer="muon",
        training__strands="random",
        training__shift_rows=True,
        training__row_tokens=12,
        training__accumulation_steps=1,
        training__rows_per_batch=8,
    ),
    "pairs": tiny_recipe(DENSE, model__start="pairs"),
    # 13 steps end in the middle of an epoch; the checkpoint of step 10 is written before that epoch's measurement.
    "epochs": tiny_recipe(EXPERTS, training__steps=13, training__evaluate_every="epoch", training__save_every=10),
}


@pytest.fixture(scope="module")
def undisturbed(genome, tmp_path_factory):
    results = {}

    def get(name):
        if name not in results:
            results[name] = pretrain(genome, tmp_path_factory.mktemp(name) / "run", RECIPES[name])
        return results[name]

    return get


def stopped_after(batches, before_batch):
    """SIGTERM while the micro-batch after so many is computed, so that it is noticed at its end."""
    before_batch(batches - 1, lambda trainer: signal.raise_signal(signal.SIGTERM))


@pytest.mark.parametrize(
    ("name", "batches"),
    [
        pytest.param("experts", 22, id="after step 11"),
        pytest.param("experts", 23, id="in the middle of step 12"),
        pytest.param("experts", 30, id="when a measurement is due"),
        pytest.param("experts", 20, id="at the end of an epoch, when a measurement is due"),
        pytest.param("experts", 21, id="in the first step of an epoch"),
        pytest.param("experts", 1, id="in the first step"),
        pytest.param("experts", 2, id="after the first step"),
        pytest.param("experts", 40, id="after the last step"),
        pytest.param("bf16", 23, id="bf16"),
        pytest.param("muon", 11, id="muon, after step 11"),
        pytest.param("muon", 10, id="muon, at the end of an epoch"),
        pytest.param("pairs", 22, id="from counted pairs"),
        pytest.param("epochs", 20, id="at the end of an epoch, measured by epochs"),
        pytest.param("epochs", 25, id="in the middle of the last step"),
        pytest.param("epochs", 26, id="after the last step, in the middle of an epoch"),
    ],
)
def test_stop_and_go(name, batches, undisturbed, genome, before_batch, tmp_path):
    reference = undisturbed(name)
    stopped_after(batches, before_batch)
    stopped = pretrain(genome, tmp_path / "run", RECIPES[name])
    assert stopped.interrupted == "SIGTERM"
    assert not (stopped.run / "final").exists()

    resumed = resume(stopped.run)
    assert_same_run(stopped.run, reference.run)
    assert (resumed.steps, resumed.best_step) == (reference.steps, reference.best_step)
    assert resumed.validation_bits_per_base == reference.validation_bits_per_base
    assert resumed.interrupted is None


def test_stop_and_go_twice_in_one_accumulation(undisturbed, genome, before_batch, tmp_path):
    stopped_after(23, before_batch)
    stopped = pretrain(genome, tmp_path / "run", RECIPES["experts"])
    stopped_after(1, before_batch)
    assert resume(stopped.run).steps == stopped.steps == 11
    resume(stopped.run)
    assert_same_run(stopped.run, undisturbed("experts").run)


def test_stopped_while_measuring(genome, tmp_path, monkeypatch):
    """The measurement is given up at once, and made when the run goes on."""
    monkeypatch.setattr(training_setup, "BASES_MEASURED_AT_ONCE", 100)
    recipe = RECIPES["muon"]  # one batch a step: a step more would be a measurement less
    reference = pretrain(genome, tmp_path / "reference", recipe)
    score_windows, scored = training_setup.score_windows, []

    def score_and_signal(*args, **kwargs):
        scored.append(1)
        if len(scored) == 8:
            signal.raise_signal(signal.SIGTERM)
        return score_windows(*args, **kwargs)

    monkeypatch.setattr(training_setup, "score_windows", score_and_signal)
    stopped = pretrain(genome, tmp_path / "run", recipe)
    assert (stopped.interrupted, stopped.steps, stopped.best_step) == ("SIGTERM", 10, 5)
    assert len(scored) == 8  # of twice 6
    resume(stopped.run)
    assert_same_run(stopped.run, reference.run)


def test_a_complete_checkpoint_is_not_written_again(genome, before_batch, tmp_path, monkeypatch):
    """While it is replaced there would be none."""
    written, writing_checkpoint = [], checkpoints.writing_checkpoint
    monkeypatch.setattr(
        checkpoints,
        "writing_checkpoint",
        lambda run, step, *facts: written.append(step) or writing_checkpoint(run, step, *facts),
    )
    stopped_after(21, before_batch)
    assert pretrain(genome, tmp_path / "run", RECIPES["experts"]).steps == 10
    assert written == [5, 10]


def test_damaged_checkpoints_are_named_and_passed_over_when_asked(undisturbed, genome, before_batch, tmp_path):
    """One without its marker, one with a file cut off: the run goes on from the one before, and makes them again."""
    stopped_after(35, before_batch)
    stopped = pretrain(genome, tmp_path / "run", RECIPES["experts"].replace({"training.keep_checkpoints": 9}))
    step_10, step_15, step_17 = complete_checkpoints(stopped.run)[-3:]
    (step_17.folder / MARKER).unlink()
    optimizer = step_15.folder / "optimizer.pt"
    optimizer.write_bytes(optimizer.read_bytes()[:-1])
    assert complete_checkpoints(stopped.run)[-1] == step_10
    shutil.copytree(step_17.folder, step_17.folder.with_name(".step-000016.partial"))

    with pytest.raises(CheckpointError) as error:
        resume(stopped.run)
    assert f"{step_17.folder / MARKER} is missing" in str(error.value)
    assert f"(step 10) with primase pretrain --resume {stopped.run} --skip-damaged" in str(error.value)
    begun = []
    resume(stopped.run, skip_damaged=True, on_step=lambda step, *_: begun.append(step))
    assert begun == list(range(11, 21))
    assert_same_run(stopped.run, undisturbed("experts").run)
    assert list(stopped.run.glob("checkpoints/.*")) == []


def test_a_run_that_is_over_stays_as_it_is(undisturbed):
    for name in ("experts", "epochs"):
        reference = undisturbed(name)
        before = timeless_metrics(reference.run)
        steps = []
        again = resume(reference.run, on_step=lambda step, *_, steps=steps: steps.append(step))
        assert steps == []
        assert (again.steps, again.best_step) == (reference.steps, reference.best_step)
        assert timeless_metrics(reference.run) == before


def test_each_step_is_logged_once_and_the_last_one_always(undisturbed):
    lines = metrics(undisturbed("experts").run)
    assert [line["step"] for line in lines if "tokens" in line] == [3, 6, 9, 12, 15, 18, 20]
    assert [line["step"] for line in lines if "eval_bits_per_base" in line] == [5, 10, 15, 20]


def test_the_written_recipe_repeats_a_run_by_the_clock(genome, tmp_path, monkeypatch):
    monkeypatch.setattr(TimeLimit, "on_step_end", lambda *_, **__: None)  # a fifth of a second is soon over
    by_clock = tiny_recipe(DENSE, training__steps=None, training__minutes=0.003, training__precision="auto")
    first = pretrain(genome, tmp_path / "first", by_clock)
    again = pretrain(genome, tmp_path / "again", first.run / "recipe.toml")
    assert_same_run(again.run, first.run)
    written = (first.run / "recipe.toml").read_text()
    assert written == (again.run / "recipe.toml").read_text()
    assert 'precision = "auto"' not in written


def test_resuming_reads_no_rows_before_its_place(genome, before_batch, tmp_path, monkeypatch):
    """Deep in an epoch as at its beginning: rows that were trained on are skipped by number, and not fetched."""
    fetched, get_row = [], TrainingRows.__getitem__
    monkeypatch.setattr(TrainingRows, "__getitem__", lambda rows, row: fetched.append(row) or get_row(rows, row))
    for step in (1, 9, 11, 19):  # an epoch is ten steps of eight rows
        run = tmp_path / f"after-{step}"
        with monkeypatch.context() as patch:
            patch.setattr(PretrainingTrainer, "training_step", _stopping_in_the_step_after(step))
            assert pretrain(genome, run, RECIPES["experts"]).steps == step
        fetched.clear()
        rows_before_step = []
        resume(run, on_step=lambda *_, seen=rows_before_step: seen.append(len(fetched)))
        assert rows_before_step[0] <= 8 + 4, "those of the step, and a batch that is fetched ahead"
        assert len(fetched) == 8 * (20 - step)


def _stopping_in_the_step_after(step):
    training_step = PretrainingTrainer.training_step

    def stopping(trainer, *args, **kwargs):
        if trainer.state.global_step == step:
            signal.raise_signal(signal.SIGTERM)
        return training_step(trainer, *args, **kwargs)

    return stopping


def test_killed_before_the_first_checkpoint_a_run_begins_anew(undisturbed, genome, tmp_path, monkeypatch):
    """With lines of the metrics on disk, and the lock of the killed process."""

    class Killed(BaseException):
        pass

    def kill(*_):
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(checkpoints, "writing_checkpoint", kill)
        pretrain(genome, tmp_path / "run", RECIPES["experts"])
    assert [line["step"] for line in metrics(tmp_path / "run")] == [3, 5]
    resume(tmp_path / "run")
    assert_same_run(tmp_path / "run", undisturbed("experts").run)


def test_a_metrics_file_that_somebody_shortened(undisturbed, genome, before_batch, tmp_path):
    """What is gone is gone; the steps after it are there once, whatever stops the run afterwards."""
    stopped_after(21, before_batch)
    run = pretrain(genome, tmp_path / "run", RECIPES["experts"]).run
    file = run / "metrics.jsonl"
    file.write_text("".join(file.read_text().splitlines(keepends=True)[2:]))
    stopped_after(13, before_batch)
    assert resume(run).steps == 16
    resume(run)
    assert timeless_metrics(run) == timeless_metrics(undisturbed("experts").run)[2:]


def test_a_damaged_best_checkpoint_does_not_become_the_final_model(genome, before_batch, tmp_path, validation_gives):
    """The last weights can be taken instead, by the options that the message names."""
    validation_gives(1.0, 1.9, 1.9, 1.9)
    best = tmp_path / "run" / "checkpoints" / "step-000005" / "model.safetensors"

    def flip_a_bit(_trainer):
        content = bytearray(best.read_bytes())
        content[-1] ^= 1
        best.write_bytes(content)

    before_batch(30, flip_a_bit)
    with pytest.raises(CheckpointError, match=r"step-000005/model\.safetensors has changed .*keep_best=false") as error:
        pretrain(genome, tmp_path / "run", RECIPES["experts"])
    assert "\n" not in str(error.value) and not (tmp_path / "run" / "final").exists()
    recipe = RunFolder(tmp_path / "run").recipe().replace({"training.keep_best": False})
    resume(tmp_path / "run", recipe=recipe, accept_changes=True)
    last = complete_checkpoints(tmp_path / "run")[-1].folder
    assert unequal(weights(tmp_path / "run" / "final"), weights(last)) == []


def test_killed_while_preparing_there_is_nothing_to_go_on_from(genome, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "recipe.toml").write_text(RECIPES["experts"].to_toml())
    with pytest.raises(CheckpointError, match=r"stopped before it was prepared.*start again with --overwrite"):
        resume(tmp_path / "run")
    pretrain(genome, tmp_path / "run", RECIPES["experts"].replace({"training.steps": 1}), overwrite=True)
