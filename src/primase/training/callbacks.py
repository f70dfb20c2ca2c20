"""What listens to the training: the metrics file, the progress display, the signals, the router's health."""

import json
import math
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

Report = Callable[[int, int, dict[str, float]], None]
"""Called with the step, the last step of the run, and the newest metrics."""


class MetricsFile:
    """metrics.jsonl: one line a logging event, each step once, whatever was interrupted."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def drop_after(self, step: int) -> None:
        """Forget lines of steps that will be made again. Written beside and renamed, so that nothing is half gone."""
        if not self.file.exists():
            return
        kept = [line for line in self.file.read_text("utf-8").splitlines() if _step_of(line) <= step]
        partial = self.file.with_suffix(".partial")
        partial.write_text("".join(f"{line}\n" for line in kept), "utf-8")
        partial.replace(self.file)

    def append(self, values: dict[str, Any]) -> None:
        with open(self.file, "a", encoding="utf-8") as out:
            out.write(json.dumps(values) + "\n")


def _step_of(line: str) -> float:
    """The step of a line; a line cut off by a crash counts as infinitely late."""
    try:
        return json.loads(line)["step"]
    except (ValueError, KeyError):
        return math.inf


class ProgressReport(TrainerCallback):
    """Passes each finished step on to a display."""

    def __init__(self, report: Report) -> None:
        self.report = report
        self.newest: dict[str, float] = {}

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, logs=None, **_: Any
    ) -> None:
        self.newest.update(logs or {})

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        self.report(state.global_step, state.max_steps, self.newest)


class StopSignals(TrainerCallback):
    """Ctrl-C or SIGTERM: save a checkpoint at once, even in the middle of an accumulation, and stop.

    The weights change only at the end of an accumulation, so what has been accumulated is given up and made again after
    the run is resumed. A second signal has its usual effect.
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

    def on_epoch_end(self, args: Any, state: Any, control: TrainerControl, **_: Any) -> None:
        self._stop(control)

    def _stop(self, control: TrainerControl) -> None:
        if self.received:
            control.should_training_stop = True
            control.should_evaluate = False
            control.should_save = True


class RouterHealth:
    """Load of the experts in the micro-batches since it was last read, from the routers' own choices.

    The mean over layers of the entropy of the load, in bits (log2 of the number of experts when all are used alike),
    and the number of (layer, expert) pairs that no token chose.
    """

    def __init__(self, model: nn.Module, expert_count: int) -> None:
        self._expert_count = expert_count
        self._load: dict[str, torch.Tensor] = {}
        routers = [
            (name, module)
            for name, module in model.named_modules()
            if type(module).__name__.endswith("Router")
        ]
        for name, module in routers:
            module.register_forward_hook(
                lambda _module, _inputs, output, name=name: self._count(name, output)
            )

    def _count(self, name: str, output: Any) -> None:
        if not torch.is_grad_enabled():
            return  # a measurement, not training
        chosen = output[-1].detach().reshape(-1)
        load = torch.bincount(chosen, minlength=self._expert_count)
        self._load[name] = self._load[name] + load if name in self._load else load

    def read(self) -> dict[str, float]:
        """`router_entropy` in bits and `dead_experts`; empty for a dense model."""
        if not self._load:
            return {}
        load = torch.stack(list(self._load.values())).double().cpu()
        share = load / load.sum(dim=1, keepdim=True)
        entropy = -(share * torch.log2(share.clamp_min(1e-300))).sum(dim=1)
        self._load.clear()
        return {"router_entropy": float(entropy.mean()), "dead_experts": int((load == 0).sum())}
