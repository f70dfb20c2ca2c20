"""The plan: counts that the training then makes true."""

import tempfile
from pathlib import Path

import pytest

from primase.models.build import count_parameters
from primase.run_folder import RunFolder
from primase.training import plan as plan_module
from primase.training.plan import _measuring_seconds, _steps, plan_training, steps_per_epoch
from primase.training.run import open_or_prepare, plan, pretrain
from primase.training.training_setup import TrainingSetup
from tests.training.runs import DENSE, metrics, tiny_recipe


@pytest.mark.parametrize(
    ("rows", "rows_per_batch", "accumulation_steps", "steps"),
    [(80, 4, 2, 10), (81, 4, 2, 11), (80, 4, 3, 7), (3, 4, 2, 1), (1, 1, 1, 1), (79_999, 32, 50, 50)],
)
def test_steps_per_epoch(rows, rows_per_batch, accumulation_steps, steps):
    recipe = tiny_recipe(training__rows_per_batch=rows_per_batch, training__accumulation_steps=accumulation_steps)
    assert steps_per_epoch(rows, recipe.training) == steps


def test_the_training_does_what_was_planned(genome, tmp_path):
    """An epoch whose last accumulation is a smaller one."""
    recipe = tiny_recipe(DENSE, training__steps=None, training__epochs=1.5, training__accumulation_steps=3)
    planned = []
    result = pretrain(genome, tmp_path / "run", recipe, on_plan=planned.append)
    (cost,) = planned
    assert (cost.steps_per_epoch, cost.steps, result.steps) == (7, 11, 11)
    assert (cost.rows_per_epoch, cost.train_windows, cost.train_bases) == (80, 80, 4800)
    assert cost.tokens_per_epoch == 1600
    line = [line for line in metrics(result.run) if "tokens" in line][-1]
    assert line["tokens"] == 1600 + 4 * 3 * 4 * 20
    assert line["epoch"] == pytest.approx(1.6)
    assert cost.parameters == count_parameters(TrainingSetup.open(recipe, RunFolder(result.run).corpus()).config).total
    assert any("more parameters" in warning for warning in cost.warnings)
    assert cost.warnings == result.warnings


def test_limits():
    def steps(compiling_seconds=0.0, **changes):
        training = tiny_recipe(**changes).training
        return _steps(training, training.most_epochs(10**6), 10, 0.5, 5.0, compiling_seconds)

    assert steps(training__steps=7) == 7
    assert steps(training__steps=7, training__epochs=3) == 7
    assert steps(training__steps=None, training__epochs=3.01) == 31
    # A step and its share of a measurement each five steps take 1.5 seconds.
    assert steps(training__steps=None, training__minutes=1) == int(0.95 * 60 / 1.5)
    assert steps(training__steps=None, training__minutes=1, training__evaluate_every="never") == int(0.95 * 60 / 0.5)
    assert steps(training__steps=7, training__minutes=1) == 7
    # The time of the compiler is taken off.
    assert steps(27.0, training__steps=None, training__minutes=1) == int((0.95 * 60 - 27) / 1.5)


def test_epochs_by_the_size_of_the_genome():
    left_open = tiny_recipe(training__epochs="auto").training
    assert [left_open.most_epochs(bases) for bases in (50_000, 499_999, 500_000, 10**9)] == [12, 12, 24, 24]
    assert tiny_recipe(training__epochs=3.5).training.most_epochs(50_000) == 3.5
    assert tiny_recipe(training__epochs=None).training.most_epochs(50_000) is None


def test_a_small_genome_is_read_twelve_times(genome, tmp_path):
    recipe = tiny_recipe(DENSE, training__steps=None, training__epochs="auto", training__minutes=1000)
    assert plan(genome, tmp_path, recipe).epochs == 12


@pytest.fixture
def timed(genome, tmp_path, monkeypatch):
    """`timed(...)`: the plan of a run whose steps take a second, or half of it where the layers are compiled."""

    def measure(setup, *, is_compiled):
        return plan_module._Speed(0.5 if is_compiled else 1.0, 0.0, 20.0, 30.0 if is_compiled else 0.0)

    def run(precision="bf16", compiler=True, **changes):
        monkeypatch.setattr(plan_module, "_measure", measure)
        monkeypatch.setattr(plan_module, "can_compile", lambda device: compiler)
        recipe = tiny_recipe(DENSE, training__precision=precision, training__evaluate_every="never",
            training__accumulation_steps=1, **{"training__compile": "auto"} | changes)  # fmt: skip
        return plan(genome, Path(tempfile.mkdtemp(dir=tmp_path)), recipe)

    return run


def test_layers_are_compiled_where_it_pays(timed):
    short, long = timed(training__steps=200), timed(training__steps=2000)
    assert (short.is_compiled, short.seconds_per_step) == (False, 1.0)
    assert (long.is_compiled, long.seconds_per_step) == (True, 0.5)
    assert timed(precision="fp32", training__steps=2000).is_compiled
    assert not timed(compiler=False, training__steps=2000).is_compiled
    assert not timed(training__steps=2000, training__compile="no").is_compiled
    assert timed(training__steps=2, training__compile="yes").is_compiled
    in_time = timed(training__steps=None, training__minutes=10)
    assert in_time.steps == int((0.95 * 600 - 30) / 0.5)


def test_windows_shorter_than_the_recipe_is_for_are_told(tmp_path):
    file = tmp_path / "contigs.fa"
    contig = "ACGTTGCAACGTAGCTAGCA" * 10
    file.write_text("".join(f">c{number}\n{contig}\n" for number in range(60)) + f">long\n{contig * 15}\n")
    recipe = tiny_recipe(DENSE, data__window_bases=3000, data__short_records="keep", training__row_tokens=401)
    (warning,) = [text for text in plan(file, tmp_path / "work", recipe).warnings if text.startswith("windows")]
    assert "bases on average, where the recipe is for 3,000: its steps hold 1/" in warning
    assert not [text for text in plan(file, tmp_path / "work2", tiny_recipe(DENSE, data__short_records="keep")).warnings
        if text.startswith("windows")]  # fmt: skip


def test_windows_too_long_for_the_genome_are_told(tmp_path):
    file = tmp_path / "phage.fa"
    file.write_text(">phage\n" + "ACGTTGCAACGTAGCTAGCA" * 240 + "\n")

    def told(window_bases):
        recipe = tiny_recipe(DENSE, data__window_bases=window_bases, split__strategy="blocks", split__gap_bases=100)
        work = tmp_path / str(window_bases)
        return [text for text in plan(file, work, recipe).warnings if "bases are trained on" in text]

    (warning,) = told(1000)
    assert "of 4,800 bases are trained on: windows of 1,000 are too long" in warning
    assert warning.endswith("set data.window_bases=100") and not told(100)


def test_the_longest_row_is_among_those_that_are_timed(tmp_path):
    file = tmp_path / "contigs.fa"
    short = [f">c{number}\n{'ACGTTGCAAC' * 2}\n" for number in range(100)]
    file.write_text("".join([*short[:50], f">long\n{'ACGTTGCAAC' * 6}\n", *short[50:]]))
    recipe = tiny_recipe(DENSE, data__short_records="keep", split__heldout_fraction=0, split__validation_fraction=0,
        training__evaluate_every="never")  # fmt: skip
    corpus = open_or_prepare([file], RunFolder(tmp_path), recipe, lambda what, share: None)
    setup = TrainingSetup.open(recipe, corpus)
    batches = plan_module._spread_batches(setup.rows, setup.collator, 4)
    assert max(batch["input_ids"].shape[1] for batch in batches) == 21


def test_a_corpus_of_few_rows(tmp_path):
    """Fewer rows than a batch holds."""
    file = tmp_path / "few.fa"
    file.write_text(">few\n" + "ACGTTGCAACGTAGCTAGCA" * 9)
    recipe = tiny_recipe(DENSE, split__heldout_fraction=0, split__validation_fraction=0.4, training__rows_per_batch=8)
    assert plan(file, tmp_path / "work", recipe).rows_per_epoch == 1


def test_measuring_is_planned_at_its_cost(genome, tmp_path):
    """The same validation part costs twice as much where a context slides over it by half."""
    whole = tiny_recipe(DENSE)
    sliding = tiny_recipe(DENSE, training__row_tokens=12)
    corpus = open_or_prepare([genome], RunFolder(tmp_path), whole, lambda what, share: None)
    seconds = [_measuring_seconds(TrainingSetup.open(recipe, corpus), 1000.0) for recipe in (whole, sliding)]
    assert seconds == pytest.approx([600 / 3 / 1000 / 3, 2 * 600 / 3 / 1000 / 3])
    assert plan_training(TrainingSetup.open(whole, corpus)).training_seconds > 0
