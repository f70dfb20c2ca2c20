"""A run that is slower than it was timed ends in its time, with its schedule finished."""

import signal
from itertools import pairwise

import pytest

from primase.training import run as run_module
from primase.training import time_limit
from primase.training.run import pretrain, resume
from primase.training.time_limit import TimeLimit, place_in_schedule
from tests.training.runs import DENSE, assert_same_run, metrics, tiny_recipe, unequal, weights

RECIPE = tiny_recipe(DENSE, training__log_every=1, training__warmup_fraction=0.1, training__accumulation_steps=1)


class Clock:
    """Time that passes by so many seconds from step to step."""

    def __init__(self, seconds_of_step):
        self.seconds_of_step, self.step = seconds_of_step, 0

    def perf_counter(self):
        return sum(map(self.seconds_of_step, range(self.step)))


@pytest.fixture
def slow(monkeypatch):
    """`slow(seconds, seconds_of_step)`: later trainings are to end within so many seconds of a clock of their own."""

    def arm(seconds, seconds_of_step):
        clock = Clock(seconds_of_step)

        class Limited(TimeLimit):
            def __init__(self, _, end_at):
                super().__init__(seconds, end_at)

            def on_train_begin(self, *rest, **more):
                clock.step = 0
                super().on_train_begin(*rest, **more)

            def on_step_end(self, args, state, control, **rest):
                clock.step = state.global_step
                super().on_step_end(args, state, control, **rest)

        monkeypatch.setattr(time_limit, "time", clock)
        monkeypatch.setattr(run_module, "TimeLimit", Limited)
        return clock

    return arm


@pytest.fixture(scope="module")
def recipe():
    return RECIPE.replace({"training.steps": 20, "training.minutes": 60.0})


def rates(run):
    return [line["learning_rate"] for line in metrics(run) if "learning_rate" in line]


def test_place_in_schedule():
    assert [place_in_schedule(step, 100, []) for step in (0, 1, 33, 100)] == [0, 1, 33, 100]
    once = [(20, 60)]  # 80 planned steps in 40
    assert [place_in_schedule(step, 100, once) for step in (20, 40, 60)] == [20, 60, 100]
    twice = [(20, 60), (40, 50)]  # what is left of them, 40, in 10
    assert [place_in_schedule(step, 100, twice) for step in (40, 45, 50)] == [60, 80, 100]


def test_quick_enough(genome, recipe, slow, tmp_path):
    """In just the time that was asked for: the run without a limit, bit for bit."""
    slow(20, lambda step: 1)
    reference = pretrain(genome, tmp_path / "reference", recipe.replace({"training.minutes": None}))
    limited = pretrain(genome, tmp_path / "limited", recipe)
    assert (limited.steps, limited.planned_steps, limited.is_shortened) == (20, 20, False)
    assert_same_run(limited.run, reference.run)


def test_too_slow(genome, recipe, slow, tmp_path):
    """Twice as slow from the sixth step on: 5 + 2 * 15 seconds for 20 steps, where 26 are given."""
    clock = slow(26, lambda step: 1 if step < 5 else 2)
    result = pretrain(genome, tmp_path / "run", recipe)
    assert result.is_shortened
    assert result.planned_steps == 20
    assert 12 <= result.steps <= 15
    clock.step = result.steps
    assert clock.perf_counter() <= 26
    lines = metrics(result.run)
    assert [line["last_step"] for line in lines if "last_step" in line][-1] == result.steps == lines[-1]["step"]
    assert lines[-1]["eval_bits_per_base"]  # measured at its end, wherever that falls
    falling = rates(result.run)[2:]
    steps_down = [before - after for before, after in pairwise(falling)]
    assert all(down > 0 for down in steps_down)
    assert steps_down[-1] > 1.2 * steps_down[0]
    assert falling[-1] == pytest.approx(steps_down[-1])  # one more step down would be to zero


@pytest.mark.parametrize("batches", [11, 13])
def test_goes_on_shortened(genome, recipe, slow, before_batch, tmp_path, batches):
    slow(26, lambda step: 1 if step < 5 else 2)
    reference = pretrain(genome, tmp_path / "reference", recipe)
    before_batch(batches - 1, lambda trainer: signal.raise_signal(signal.SIGTERM))
    stopped = pretrain(genome, tmp_path / "run", recipe)
    assert (stopped.steps, stopped.is_shortened) == (batches, True)
    if batches == reference.steps:
        return
    resumed = resume(stopped.run)
    assert (resumed.is_shortened, resumed.planned_steps) == (True, 20)
    assert unequal(weights(resumed.run / "final"), weights(reference.run / "final")) == []
    assert rates(resumed.run)[: resumed.steps] == rates(reference.run)[: resumed.steps]


def test_other_steps_that_are_accepted_win(genome, recipe, slow, before_batch, tmp_path):
    slow(26, lambda step: 1 if step < 5 else 2)
    before_batch(11, lambda trainer: signal.raise_signal(signal.SIGTERM))
    stopped = pretrain(genome, tmp_path / "run", recipe)
    longer = recipe.replace({"training.steps": 24, "training.minutes": None})
    resumed = resume(stopped.run, recipe=longer, accept_changes=True)
    assert (resumed.steps, resumed.is_shortened) == (24, False)


def test_a_schedule_is_not_ended_in_one_step(slow):
    """Where the time is over, a twentieth of the steps made remains."""
    ends = []
    slow(10, lambda step: 1)
    limit = time_limit.TimeLimit(10, ends.append)

    class State:
        global_step, max_steps = 0, 100

    limit.on_train_begin(None, State)
    for State.global_step in range(1, 61):
        time_limit.time.step = State.global_step
        limit.on_step_end(None, State, None)
    assert ends[0] == 10 + 1
    assert ends[-1] == 60 + 3
