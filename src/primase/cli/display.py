"""How long work looks: a progress bar with the time left on a terminal, a line now and then without one."""

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING

from primase import processes

if TYPE_CHECKING:  # rich is imported where a display begins: `--help` must answer at once
    from rich.console import Console
    from rich.progress import Progress

SECONDS_BETWEEN_LINES = 30.0


def duration(seconds: float) -> str:
    """Seconds for a reader: '42 s', '7 min', '3.5 h', '12 days'."""
    for limit, unit, name in ((90, 1, "s"), (5400, 60, "min"), (172_800, 3600, "h")):
        if seconds < limit:
            return (
                f"{seconds / unit:.0f} {name}" if seconds >= 10 * unit or unit == 1 else f"{seconds / unit:.1f} {name}"
            )
    return f"{seconds / 86_400:.0f} days"


class Display:
    """Progress on stderr, of the main process. `stage` is for work with a share done, `step` for training steps."""

    def __init__(self) -> None:
        from rich.console import Console

        # Neither FORCE_COLOR nor a continuous-integration service makes a log file a terminal.
        is_terminal = sys.stderr.isatty()
        self.console = Console(stderr=True, force_terminal=is_terminal)
        self._bar = _bar(self.console) if is_terminal and not self.console.is_dumb_terminal else None
        self._task: int | None = None
        self._what = ""
        self._begun = self._last_line = time.monotonic()

    def __enter__(self) -> "Display":
        if self._bar:
            self._bar.start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._bar:
            self._bar.stop()

    def stage(self, what: str, share: float, note: str = "") -> None:
        """`share` of the work called `what` is done, 0 to 1."""
        if not processes.is_main():
            return
        if self._bar:
            if what != self._what:
                if self._task is not None:
                    self._bar.remove_task(self._task)
                self._task = self._bar.add_task(what, total=None, note=note)
            # Without a share done the bar pulses: it works, and nobody knows for how long.
            total, note = (1.0, f"left  {note}") if share > 0 else (None, note)
            self._bar.update(self._task, completed=share, total=total, note=note)
        else:
            self._write_line(what, share, note)
        self._what = what

    def _write_line(self, what: str, share: float, note: str) -> None:
        now = time.monotonic()
        if what != self._what:
            self._begun = now
        elif now - self._last_line < SECONDS_BETWEEN_LINES and share < 1:
            return
        left = (now - self._begun) * (1 - share) / share if share > 0 else 0
        remaining = f", about {duration(left)} left" if left >= 1 else ""
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


def _bar(console: "Console") -> "Progress":
    """One line; on a narrow terminal the end of the note gives way, and never the time left."""
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
    from rich.table import Column

    fixed, yielding = Column(no_wrap=True), Column(no_wrap=True, overflow="ellipsis", ratio=1)
    return Progress(
        TextColumn("{task.description}", table_column=fixed),
        BarColumn(bar_width=16),
        TaskProgressColumn(table_column=fixed),
        TimeRemainingColumn(table_column=fixed),
        TextColumn("{task.fields[note]}", table_column=yielding),
        console=console,
        expand=True,
        # What is printed meanwhile appears above the bar, unless it goes into a file.
        redirect_stdout=sys.stdout.isatty(),
    )
