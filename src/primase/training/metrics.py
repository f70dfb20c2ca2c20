"""What is counted during the training, and the file it goes to: metrics.jsonl.

The counters travel with every checkpoint, so that a resumed run writes the lines of the undisturbed one.
"""

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from primase import processes
from primase.models.routers import find_routers, watch_choices


@dataclass
class Progress:
    """The counters of a run; `_since_log` are sums over the steps after the newest training line of metrics.jsonl."""

    tokens: int = 0
    bases: int = 0
    seconds: float = 0.0
    tokens_since_log: int = 0
    bases_since_log: int = 0
    nats_since_log: float = 0.0
    seconds_since_log: float = 0.0
    expert_load_since_log: list[list[int]] = field(default_factory=list)
    """[layers][experts]: see `RouterHealth.load`."""
    metrics_lines: int = 0
    measured_step: int = 0
    """The step of the newest measurement on the validation part."""
    measurements_without_better: int = 0

    def begin_line(self) -> None:
        """Set the sums for the next line to zero."""
        self.tokens_since_log = self.bases_since_log = 0
        self.nats_since_log = self.seconds_since_log = 0.0

    def write(self, file: Path) -> None:
        file.write_text(json.dumps(asdict(self)), "utf-8")

    @classmethod
    def read(cls, file: Path) -> "Progress":
        return cls(**json.loads(file.read_text("utf-8")))


class MetricsFile:
    """metrics.jsonl: one line a logging event, each step once, whatever was interrupted."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.lines = 0

    def keep(self, lines: int) -> None:
        """Forget the lines after the first `lines`: their steps will be made again."""
        written = self.file.read_text("utf-8").splitlines(keepends=True) if self.file.exists() else []
        partial_file = self.file.with_name(f".{self.file.name}.partial")
        partial_file.write_text("".join(written[:lines]), "utf-8")
        partial_file.replace(self.file)
        self.lines = lines

    def append(self, values: dict[str, Any]) -> None:
        with open(self.file, "a", encoding="utf-8") as out:
            out.write(json.dumps(values) + "\n")
        self.lines += 1


class RouterHealth:
    """How the routers of a mixture of experts share out the tokens, from their own choices."""

    def __init__(self, model: nn.Module, expert_count: int) -> None:
        self.load = torch.zeros(len(find_routers(model)), expert_count, dtype=torch.int64)
        """int64 [layers, experts]: how often each expert was chosen since it was last read. No rows: a dense model."""
        self._is_real: torch.Tensor | None = None
        watch_choices(model, self._count)

    @contextmanager
    def counting(self, is_real: torch.Tensor) -> Iterator[None]:
        """Count the choices for the tokens where `is_real` (bool [rows, tokens]) in the forward pass of this block."""
        self._is_real = is_real.flatten()
        try:
            yield
        finally:
            self._is_real = None

    def _count(self, layer: int, chosen: torch.Tensor) -> None:
        if self._is_real is None:
            return  # a measurement, not training
        chosen = chosen.reshape(len(self._is_real), -1)
        self.load = self.load.to(chosen.device)
        times = self._is_real.long().repeat_interleave(chosen.shape[1])
        self.load[layer].scatter_add_(0, chosen.flatten(), times)

    def everywhere(self) -> torch.Tensor:
        """int64 [layers, experts]: the load of all processes together."""
        counts = processes.total(*self.load.flatten().tolist()) if self.load.numel() else []
        return torch.tensor(counts, dtype=torch.int64).reshape(self.load.shape)

    def read(self) -> dict[str, float]:
        """`router_entropy`, the entropy of the load in bits, mean over layers (log2 of the number of experts when all
        are used alike), and `dead_experts`, the (layer, expert) pairs that no token chose; empty for a dense model.
        """
        load = self.everywhere().double()
        if not load.any():
            return {}
        share = load / load.sum(dim=1, keepdim=True)
        entropy = torch.special.entr(share).sum(dim=1) / math.log(2)
        self.load.zero_()
        return {"router_entropy": float(entropy.mean()), "dead_experts": int((load == 0).sum())}
