"""What listens to the training: the progress display and the stop signals."""

import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from primase import processes

Report = Callable[[int, int, dict[str, float]], None]
"""Called with the step, the last step of the run, and the newest metrics."""


class ProgressReport(TrainerCallback):
    """Passes each finished step on to a display, and has the last one logged whatever the interval."""

    def __init__(self, report: Report) -> None:
        self.report = report
        self.newest: dict[str, float] = {}

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any) -> None:
        self.newest.update(logs or {})

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self.report(state.global_step, state.max_steps, self.newest)
        control.should_log |= state.global_step >= state.max_steps


class StopSignals(TrainerCallback):
    """Ctrl-C or SIGTERM: save a checkpoint at once, even in the middle of an accumulation, and stop.

    The weights change only at the end of an accumulation, so what has been accumulated is given up and made again after
    the run is resumed; so is a measurement. A second signal has its usual effect.
    """

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self._previous: dict[int, Any] = {}

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._note)

    def restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous.clear()

    def _note(self, number: int, _: FrameType | None) -> None:
        self.received = signal.Signals(number)
        self.restore()

    def on_substep_end(self, args: Any, state: Any, control: TrainerControl, **_: Any) -> None:
        self._stop(control)

    def on_step_end(self, args: Any, state: Any, control: TrainerControl, **_: Any) -> None:
        self._stop(control)

    def on_evaluate(self, args: Any, state: Any, control: TrainerControl, **_: Any) -> None:
        self._stop(control)

    def _stop(self, control: TrainerControl) -> None:
        if self.agree():
            control.should_training_stop = True
            control.should_save = True

    def agree(self) -> signal.Signals | None:
        """What was received by any of the processes, in all: it may come to one, or to each at its own time."""
        agreed = processes.largest(self.received or 0)
        if not agreed:
            return None  # one that came meanwhile waits for the next time
        self.received = signal.Signals(agreed)
        return self.received
