"""A run that turns out slower than it was timed ends in about its time all the same, with its schedule finished.

A processor that grows hot, or other work, slows a run down after its first steps were timed. Its end is then moved
forward, and what is left of the schedule goes by in the steps that are left: the learning rate does not jump, and comes
to the end of its schedule. Where the pace recovers, the end is moved back, no further than planned. A run that would
end in its time is not touched.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from primase import processes

LOOKS = 50
"""How often the pace is looked at, at least, in a run of as many steps or more."""

FIRST_LOOK = 0.1
"""Share of the planned steps, and of the time, before which nothing is decided: compiling takes its time once."""

LEAST_TAKEN, TIME_TAKEN = 0.93, 0.98
"""Share of the time below which a shortened run is given steps back, and that in which it is to end: a little is left
for a pace that falls further."""

LEAST_LEFT = 0.05
"""Steps left to a shortened run, as a share of those it has made: no schedule ends at once."""


def place_in_schedule(step: int, planned_steps: int, shortened: Sequence[tuple[int, int]]) -> float:
    """Which of the planned steps this one stands for; itself where the run was not shortened.

    Each of `shortened` is a step and the last step that was set there: from then on the rest of the planned steps goes
    by evenly until that one.
    """
    place, since, last = 0.0, 0, planned_steps

    def later(step: int) -> float:
        return place + (step - since) * (planned_steps - place) / (last - since)

    for at, new_last in shortened:
        if step < at:
            break
        place, since, last = later(at), at, new_last
    return later(step)


class TimeLimit(TrainerCallback):
    """Calls `end_at` with another last step where the run would not end within `seconds` of its beginning.

    The seconds are the clock's. `seconds_beside` gives those that went into measuring and saving so far, which come in
    lumps, and so must not decide what a step takes. The main process decides for all.
    """

    def __init__(self, seconds: float, seconds_beside: Callable[[], float], end_at: Callable[[int], None]) -> None:
        self.seconds, self.seconds_beside, self.end_at = seconds, seconds_beside, end_at
        self._planned_steps = 0
        self._begun = 0.0
        self._looks: list[tuple[int, float]] = []
        """Steps, and the seconds of training after which they were over."""
        self._longest_beside = self._beside = 0.0
        self._next_look = 0.0
        """Seconds since the beginning."""

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, *_: Any, **__: Any) -> None:
        self._planned_steps, self._begun = state.max_steps, time.perf_counter()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        step, last = state.global_step, state.max_steps
        if step >= last or not self._is_time_to_look(step):
            return
        new_last = processes.by_main(lambda: self._new_last(step, last))
        if new_last != last:
            self.end_at(new_last)

    def _is_time_to_look(self, step: int) -> bool:
        """By the steps, and by the clock as well while they are few: some runs are far too slow from the beginning.

        The same in all processes, whose clocks differ: in several the steps decide alone.
        """
        if step % max(1, self._planned_steps // LOOKS) == 0:
            return True
        is_early = processes.count() == 1 and step < FIRST_LOOK * self._planned_steps
        return is_early and time.perf_counter() - self._begun >= self._next_look

    def _new_last(self, step: int, last: int) -> int:
        """The step to end at; `last` itself where that is in time and, of a shortened run, not far too early."""
        elapsed, beside = time.perf_counter() - self._begun, self.seconds_beside()
        self._longest_beside = max(self._longest_beside, beside - self._beside)
        self._beside = beside
        self._looks.append((step, elapsed - beside))
        self._next_look = elapsed + self.seconds / LOOKS
        is_early = step < FIRST_LOOK * self._planned_steps and elapsed < FIRST_LOOK * self.seconds
        if is_early or len(self._looks) < 2:
            return last
        pace = self._pace() + beside / step
        end = elapsed + (last - step) * pace
        if end <= self.seconds and (last == self._planned_steps or end >= LEAST_TAKEN * self.seconds):
            return last
        # The last measurement comes after the last step.
        affordable = int((TIME_TAKEN * self.seconds - elapsed - self._longest_beside) / pace)
        return min(step + max(affordable, int(LEAST_LEFT * step), 2), self._planned_steps)

    def _pace(self) -> float:
        """Seconds of training a step, over the newer half of the steps."""
        step, seconds = self._looks[-1]
        before = max((look for look in self._looks[:-1] if look[0] <= step / 2), default=self._looks[0])
        return (seconds - before[1]) / (step - before[0])
