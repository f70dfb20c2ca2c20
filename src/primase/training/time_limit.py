"""A run that turns out slower than it was timed ends in its time all the same, with its schedule finished.

A processor that grows hot, or other work, slows a run down after its first steps were timed. Its end is then moved
forward, and what is left of the schedule goes by in the steps that are left: the learning rate does not jump, and is
zero at the end. A run that is as quick as planned, or quicker, is not touched.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from primase import processes

LOOKS = 50
"""How often the pace is looked at, in a run of the planned length."""

FIRST_LOOK = 0.1
"""Share of the planned steps before which nothing is decided: compiling takes its time once."""

TIME_TAKEN = 0.98
"""Share of the time in which a shortened run is to end; a little is left for a pace that falls further."""

LEAST_LEFT = 0.05
"""Steps left to a shortened run, as a share of those it has made: a schedule cannot end in one step."""


def place_in_schedule(step: int, planned_steps: int, shortened: Sequence[tuple[int, int]]) -> float:
    """Which of the planned steps this one stands for; itself where the run was not shortened.

    Each of `shortened` is a step and the last step that was set there: from then on the rest of the planned steps goes
    by evenly until that one.
    """
    place, since, last = 0.0, 0, planned_steps
    for at, new_last in (*shortened, (step, step)):
        place += (at - since) * (planned_steps - place) / max(last - since, 1)
        since, last = at, new_last
    return place


class TimeLimit(TrainerCallback):
    """Calls `end_at` with an earlier last step where the run would not end within `seconds` of its beginning.

    The seconds are the clock's, measuring and saving included. All processes end at the same step.
    """

    def __init__(self, seconds: float, end_at: Callable[[int], None]) -> None:
        self.seconds, self.end_at = seconds, end_at
        self._looks: list[tuple[int, float]] = []
        """Steps, and the seconds since the beginning at which they were over."""
        self._planned_steps = 0
        self._begun = 0.0

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, *_: Any, **__: Any) -> None:
        self._planned_steps, self._begun = state.max_steps, time.perf_counter()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        step, last = state.global_step, state.max_steps
        if step % max(1, self._planned_steps // LOOKS) or step >= last:
            return
        elapsed = processes.largest(time.perf_counter() - self._begun)
        self._looks.append((step, elapsed))
        if step < FIRST_LOOK * self._planned_steps or len(self._looks) < 2:
            return
        pace = self._pace()
        if elapsed + (last - step) * pace > self.seconds:
            affordable = int((TIME_TAKEN * self.seconds - elapsed) / pace)
            new_last = step + max(affordable, int(LEAST_LEFT * step), 1)
            if new_last < last:
                self.end_at(new_last)

    def _pace(self) -> float:
        """Seconds a step, over the newer half of the steps."""
        step, elapsed = self._looks[-1]
        before = max((look for look in self._looks[:-1] if look[0] <= step / 2), default=self._looks[0])
        return (elapsed - before[1]) / (step - before[0])
