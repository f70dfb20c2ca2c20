"""A run that is slower than it was timed ends in its time, with its schedule finished."""

import math
import signal
from itertools import pairwise
from types import SimpleNamespace

import pytest

from primase.cli.pretrain import _print_end
from primase.training import run as run_module
from primase.training import time_limit
from primase.training.run import pretrain, resume
from primase.training.time_limit import TimeLimit, place_in_schedule
from primase.training.trainer import PretrainingTrainer
from tests.training.runs import DENSE, EXPERTS, assert_same_run, metrics, tiny_recipe, unequal, weights

RECIPES = {
    "one batch a step": tiny_recipe(
        DENSE,
        training__minutes=60.0,
        training__log_every=1,
        training__warmup_fraction=0.1,
        training__accumulation_steps=1,
    ),
    "cosine, muon": tiny_recipe(
        DENSE, training__minutes=60.0, training__optimizer="muon", training__schedule="cosine", training__log_every=1
    ),
    "measured by epochs": tiny_recipe(EXPERTS, training__minutes=60.0, training__evaluate_every="epoch"),
}


class Clock:
    """Time that passes by so many seconds in each step, and so many in the measurement after every fifth."""

    def __init__(self, seconds_of_step, seconds_of_measurement=0.0, every=5):
        self.seconds_of_step, self.seconds_of_measurement, self.every = seconds_of_step, seconds_of_measurement, every
        self.step = 0

    def beside(self):
        return self.seconds_of_measurement * (max(self.step - 1, 0) // self.every)

    def perf_counter(self):
        return sum(map(self.seconds_of_step, range(self.step))) + self.beside()


def slower(after):
    """Seconds of a step: twice as many after so many."""
    return lambda step: 1 if step < after else 2


@pytest.fixture
def limited(monkeypatch):
    """`limited(seconds, clock)`: later trainings are to end within so many seconds of that clock."""

    def arm(seconds, clock):
        class Limited(TimeLimit):
            def __init__(self, given, _, end_at):
                assert given == 3600
                super().__init__(seconds, clock.beside, end_at)

            def on_train_begin(self, *rest, **more):
                clock.step = 0
                super().on_train_begin(*rest, **more)

            def on_step_end(self, args, state, control, **rest):
                clock.step = state.global_step
                super().on_step_end(args, state, control, **rest)

        monkeypatch.setattr(time_limit, "time", clock)
        monkeypatch.setattr(run_module, "TimeLimit", Limited)

    return arm


def rates(run):
    return [line["learning_rate"] for line in metrics(run) if "learning_rate" in line]


def test_place_in_schedule():
    assert [place_in_schedule(step, 100, []) for step in (0, 1, 33, 100)] == [0, 1, 33, 100]
    once = [(20, 60)]  # 80 planned steps in 40
    assert [place_in_schedule(step, 100, once) for step in (10, 20, 40, 60)] == [10, 20, 60, 100]
    twice = [(20, 60), (40, 50)]  # what is left of them, 40, in 10
    assert [place_in_schedule(step, 100, twice) for step in (30, 40, 45, 50)] == [40, 60, 80, 100]


def test_quick_enough(genome, limited, tmp_path):
    """In just the time that was asked for: the run without a limit, bit for bit."""
    recipe = RECIPES["one batch a step"]
    limited(20, Clock(lambda step: 1))
    reference = pretrain(genome, tmp_path / "reference", recipe.replace({"training.minutes": None}))
    run = pretrain(genome, tmp_path / "run", recipe)
    assert (run.steps, run.planned_steps, run.is_shortened) == (20, 20, False)
    assert_same_run(run.run, reference.run)


def test_too_slow(genome, limited, tmp_path, capsys):
    """Twice as slow from the sixth step on: 5 + 2 * 15 seconds for 20 steps, where 26 are given."""
    limited(26, Clock(slower(after=5)))
    result = pretrain(genome, tmp_path / "run", RECIPES["one batch a step"])
    assert result.is_shortened
    assert 12 <= result.steps == result.planned_steps <= (26 - 5) / 2 + 5
    lines = metrics(result.run)
    assert [line["last_step"] for line in lines if "last_step" in line][-1] == result.steps
    assert [line["step"] for line in lines if "tokens" in line] == list(range(1, result.steps + 1))
    falling = rates(result.run)[2:]
    steps_down = [before - after for before, after in pairwise(falling)]
    assert all(down > 0 for down in steps_down)
    assert steps_down[-1] > 1.2 * steps_down[0]
    assert falling[-1] == pytest.approx(steps_down[-1])  # one more step down would be to zero
    _print_end(result)
    assert f"Trained {result.steps} steps (fewer than planned: the machine became slower)" in capsys.readouterr().out


def test_far_too_slow_from_the_beginning(monkeypatch):
    """10,000 steps were planned for 100 seconds, and each takes one: decided after a tenth of the time."""
    clock, state = Clock(lambda step: 1), SimpleNamespace(global_step=0, max_steps=10_000)
    monkeypatch.setattr(time_limit, "time", clock)
    ends = []
    limit = TimeLimit(100, lambda: 0.0, ends.append)
    limit.on_train_begin(None, state, None)
    while not ends:
        clock.step = state.global_step = state.global_step + 1
        limit.on_step_end(None, state, None)
    assert 10 <= state.global_step <= 12 and 90 <= ends[0] <= 98


@pytest.mark.parametrize("name", RECIPES)
def test_measured_at_its_end_and_goes_on_shortened(name, genome, limited, before_batch, tmp_path):
    """Stopped after the shortening, in the middle of an accumulation where there is one."""
    limited(25, Clock(slower(after=5)))
    reference = pretrain(genome, tmp_path / "reference", RECIPES[name])
    assert reference.is_shortened
    assert metrics(reference.run)[-1]["step"] == reference.steps < 20
    assert "eval_bits_per_base" in metrics(reference.run)[-1]
    before_batch(12 if name == "one batch a step" else 24, lambda trainer: signal.raise_signal(signal.SIGTERM))
    stopped = pretrain(genome, tmp_path / "run", RECIPES[name])
    assert stopped.interrupted and stopped.planned_steps < 20
    resumed = resume(stopped.run)
    assert (resumed.is_shortened, resumed.steps) == (True, stopped.planned_steps)
    assert metrics(resumed.run)[-1]["step"] == resumed.steps == reference.steps
    assert unequal(weights(resumed.run / "final"), weights(reference.run / "final")) == []
    assert rates(resumed.run) == rates(reference.run)


def test_other_steps_that_are_accepted_win(genome, limited, before_batch, tmp_path):
    limited(26, Clock(slower(after=5)))
    before_batch(11, lambda trainer: signal.raise_signal(signal.SIGTERM))
    stopped = pretrain(genome, tmp_path / "run", RECIPES["one batch a step"])
    assert stopped.is_shortened
    longer = RECIPES["one batch a step"].replace({"training.steps": 24, "training.minutes": None})
    resumed = resume(stopped.run, recipe=longer, accept_changes=True)
    assert (resumed.steps, resumed.is_shortened) == (24, False)


def test_measuring_is_not_training_time(genome, tmp_path, monkeypatch):
    ends = []
    monkeypatch.setattr(PretrainingTrainer, "end_at", lambda trainer, step: ends.append(step))
    monkeypatch.setattr(TimeLimit, "_new_last", lambda limit, step, last: last - (limit.seconds_beside() > 0))
    pretrain(genome, tmp_path / "run", RECIPES["one batch a step"])
    assert len(ends) == 20 - 1 - 5  # after each step that comes after the first measurement, but the last step


def simulated(seconds, planned, clock):
    """How many steps such a run makes, and the seconds that it takes, its last measurement included."""
    state = SimpleNamespace(global_step=0, max_steps=planned)

    def end_at(step):
        assert step > state.global_step
        state.max_steps = step

    clock.step = 0
    limit = TimeLimit(seconds, clock.beside, end_at)
    limit.on_train_begin(None, state)
    while state.global_step < state.max_steps:
        state.global_step = clock.step = state.global_step + 1
        limit.on_step_end(None, state, None)
    measurements = math.ceil(state.max_steps / clock.every)
    steps = sum(map(clock.seconds_of_step, range(state.max_steps)))
    return state.max_steps, steps + measurements * clock.seconds_of_measurement


@pytest.mark.parametrize(
    ("planned", "every", "seconds_of_measurement"), [(250, 25, 10.4), (5016, 500, 30), (100, 20, 3)]
)
def test_costly_measurements(planned, every, seconds_of_measurement, monkeypatch):
    """They are foreseen: a run that keeps its pace makes all of its steps, and a slow one ends in its time."""

    def run(seconds_of_step, seconds):
        clock = Clock(seconds_of_step, seconds_of_measurement, every)
        monkeypatch.setattr(time_limit, "time", clock)
        return simulated(seconds, planned, clock)

    steps, enough = run(lambda step: 1, 1e9)
    assert steps == planned
    assert run(lambda step: 1, enough)[0] == planned
    for after in (0, planned // 10, planned // 2):
        steps, taken = run(slower(after), enough)
        assert steps < planned
        assert 0.75 * enough < taken <= enough


def test_a_pace_that_recovers(monkeypatch):
    """Ten times as slow for fifty steps: most of what was taken is given back."""
    clock = Clock(lambda step: 10 if 300 <= step < 350 else 1)
    monkeypatch.setattr(time_limit, "time", clock)
    for seconds in (1050, 1400):
        steps, taken = simulated(seconds, 1000, clock)
        assert 0.93 * seconds <= taken == steps + 9 * 50 <= seconds
    assert simulated(2000, 1000, clock)[0] == 1000


def test_a_schedule_does_not_end_at_once(monkeypatch):
    """Where the time is over, a twentieth of the steps made remains."""
    ends, clock = [], Clock(lambda step: 1)
    monkeypatch.setattr(time_limit, "time", clock)
    limit = TimeLimit(10, clock.beside, ends.append)
    limit.on_train_begin(None, SimpleNamespace(max_steps=100))
    for clock.step in range(1, 61):
        limit.on_step_end(None, SimpleNamespace(global_step=clock.step, max_steps=100), None)
    assert (ends[0], ends[-1]) == (9, 60 + 3)
