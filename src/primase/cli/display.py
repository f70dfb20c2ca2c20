"""How long work looks: a progress bar with the time left on a terminal, a line now and then without one."""

import sys
import time
from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

SECONDS_BETWEEN_LINES = 30.0


def duration(seconds: float) -> str:
    """Seconds for a reader: '42 s', '7 min', '3.5 h', '12 days'."""
    for limit, unit, name in ((90, 1, "s"), (5400, 60, "min"), (172_800, 3600, "h")):
        if seconds < limit:
            return (
                f"{seconds / unit:.0f} {name}"
                if seconds >= 10 * unit or unit == 1
                else f"{seconds / unit:.1f} {name}"
            )
    return f"{seconds / 86_400:.0f} days"


class Display:
    """Progress on stderr. `stage` is for work with a share done, `step` for training steps with metrics."""

    def __init__(self) -> None:
        self.console = Console(stderr=True)
        self._bar: Progress | None = None
        self._task: int | None = None
        self._what = ""
        self._begun = self._last_line = time.monotonic()

    def __enter__(self) -> "Display":
        if self.console.is_terminal:
            self._bar = Progress(
                TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn(),
                TextColumn("left"), TimeRemainingColumn(elapsed_when_finished=False), TextColumn("{task.fields[note]}"),
                console=self.console,
            )  # fmt: skip
            self._bar.start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._bar:
            self._bar.stop()

    def stage(self, what: str, share: float, note: str = "") -> None:
        """`share` of the work called `what` is done, 0 to 1."""
        if self._bar:
            if what != self._what:
                self._task = self._bar.add_task(what, total=1.0, note=note)
            self._bar.update(self._task, completed=share, note=note)
        else:
            self._write_line(what, share, note)
        self._what = what

    def _write_line(self, what: str, share: float, note: str) -> None:
        now = time.monotonic()
        if what != self._what:
            self._begun = now
        elif now - self._last_line < SECONDS_BETWEEN_LINES and share < 1:
            return
        left = (now - self._begun) * (1 - share) / share if share > 0 else None
        remaining = f", about {duration(left)} left" if left is not None and share < 1 else ""
        print(f"{what}: {share:.0%}{remaining}{'  ' + note if note else ''}", file=sys.stderr, flush=True)
        self._last_line = now

    def step(self, step: int, steps: int, metrics: dict[str, float]) -> None:
        """One optimizer step of `steps` is done."""
        parts = [f"step {step:,}/{steps:,}"]
        if "bits_per_base" in metrics:
            parts.append(f"{metrics['bits_per_base']:.4f} bits/base")
        if "eval_bits_per_base" in metrics:
            parts.append(f"validation {metrics['eval_bits_per_base']:.4f}")
        if "tokens_per_second" in metrics:
            parts.append(f"{metrics['tokens_per_second']:,.0f} tokens/s")
        self.stage("training", step / steps, "  ".join(parts))
