"""What is counted during the training, and the file it goes to: metrics.jsonl.

The counters travel with every checkpoint, so that a resumed run writes the lines of the undisturbed one.
"""

import json
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter, ValidationError
from torch import nn

from primase import processes
from primase.errors import CheckpointError, InputError
from primase.models.routers import find_routers, watch_choices
from primase.own_files import one_line, read_json

PROGRESS_SCHEMA_VERSION = 1


@dataclass
class Progress:
    """The counters of a run, and where it was shortened.

    `_since_log` are sums over the steps after the newest training line of metrics.jsonl.
    """

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
    lowest_step_loss: float | None = None
    """Nats a token of the best optimizer step so far."""
    exploded_steps: int = 0
    """So many of the newest steps in a row had a loss that means an explosion."""
    planned_steps: int = 0
    """What the run was begun with, or goes on with."""
    shortened: list[tuple[int, int]] = field(default_factory=list)
    """Steps at which the run was found too slow for its time, or quick again, and the last step that was set there."""

    def begin_line(self) -> None:
        """Set the sums for the next line to zero."""
        self.tokens_since_log = self.bases_since_log = 0
        self.nats_since_log = self.seconds_since_log = 0.0

    def write(self, file: Path) -> None:
        file.write_text(json.dumps({"schema_version": PROGRESS_SCHEMA_VERSION} | asdict(self)), "utf-8")

    @classmethod
    def read(cls, file: Path) -> "Progress":
        """Raises InputError for a damaged file, and for one of a newer Primase."""
        remedy = "remove this checkpoint to go on from the one before"
        values = read_json(file, schema=PROGRESS_SCHEMA_VERSION, remedy=remedy)
        values.pop("schema_version", None)
        try:
            return TypeAdapter(cls).validate_python(values)
        except ValidationError as error:
            raise InputError(f"{file}: damaged ({one_line(error)}); {remedy}") from None


class MetricsFile:
    """metrics.jsonl: one line a logging event, each step once, whatever was interrupted."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.lines = 0

    def keep(self, lines: int) -> None:
        """Forget the lines after the first `lines`: their steps will be made again."""
        self.lines = 0
        if self.file.exists():
            with open(self.file, "r+b") as written:
                sizes = [len(line) for line in islice(written, lines)]
                written.truncate(sum(sizes))
            self.lines = len(sizes)  # fewer where somebody has shortened the file

    def flush_to_disk(self) -> None:
        """A checkpoint counts on the lines before it, also where the power fails."""
        if self.file.exists():
            with open(self.file, "rb") as written:
                os.fsync(written.fileno())

    def append(self, values: dict[str, Any]) -> None:
        """Raises CheckpointError where the disk refuses the line; a half of one is forgotten when the run goes on."""
        line = json.dumps(values) + "\n"
        try:
            with open(self.file, "a", encoding="utf-8") as out:
                out.write(line)
        except OSError as error:
            raise CheckpointError(
                f"{self.file}: a line of {len(line)} bytes cannot be written ({error.strerror}); free some space on "
                f"that disk and go on with primase pretrain --resume {self.file.parent}"
            ) from error
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

    @torch.compiler.disable
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
