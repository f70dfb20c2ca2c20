"""Sampling a genome from a `GenomeModel`, and writing it as FASTA."""

from bisect import bisect
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from primase.errors import InputError
from primase.formats.bgzip import open_to_write
from primase.simulate.model import GenomeModel

UPPER, LOWER = np.frombuffer(b"ACGT", np.uint8), np.frombuffer(b"acgt", np.uint8)


@dataclass(frozen=True, eq=False)
class SimulatedRecord:
    """One record: `bases` uint8 ASCII [bases], lower case in repeats, and the hidden `states` uint16 [bases]."""

    name: str
    bases: np.ndarray
    states: np.ndarray


def simulate(model: GenomeModel, record_bases: Sequence[int], seed: int) -> list[SimulatedRecord]:
    """Draw records sim1, sim2, … of the given lengths, each an independent stretch of the stationary process.

    A record depends on the seed and on its place in the list, not on the other lengths. Raises InputError for a
    negative length.
    """
    for number, bases in enumerate(record_bases, start=1):
        if bases < 0:
            raise InputError(f"record sim{number}: {bases} bases; give a length of 0 or more")
    return [
        _draw_record(model, f"sim{number}", bases, np.random.default_rng([seed, number]))
        for number, bases in enumerate(record_bases, start=1)
    ]


def write_fasta(records: Iterable[SimulatedRecord], path: str | Path, line_bases: int = 60) -> None:
    """Write records as FASTA (.gz too), the soft mask kept; an existing file is replaced. Raises OSError."""
    with closing(open_to_write(Path(path))) as file:
        for record in records:
            letters = record.bases.tobytes()
            file.write(f">{record.name}\n".encode())
            for start in range(0, len(letters), line_bases):
                file.write(letters[start : start + line_bases] + b"\n")


def _draw_record(model: GenomeModel, name: str, bases: int, rng: np.random.Generator) -> SimulatedRecord:
    shares = np.cumsum(model.stationary.ravel())
    state, context = divmod(bisect(shares / shares[-1], rng.random()), model.contexts)
    path = _draw_path(model, state, rng.random(bases))
    codes = _draw_codes(model, path, context, rng.random(bases))
    states = np.array(path, dtype=np.uint16)
    return SimulatedRecord(name, np.where(model.soft_masked[states], LOWER[codes], UPPER[codes]), states)


def _draw_path(model: GenomeModel, state: int, uniforms: np.ndarray) -> list[int]:
    """The hidden states, beginning with `state`."""
    targets = [np.flatnonzero(row).tolist() for row in model.transitions]
    cumulative = [_cumulative(row[target]).tolist() for row, target in zip(model.transitions, targets, strict=True)]
    path = []
    for uniform in uniforms.tolist():
        path.append(state)
        ways = targets[state]
        state = ways[0] if len(ways) == 1 else ways[bisect(cumulative[state], uniform)]
    return path


def _draw_codes(model: GenomeModel, path: list[int], context: int, uniforms: np.ndarray) -> np.ndarray:
    """One base for each state of the path, as codes uint8 [bases]; `context` comes before the first."""
    contexts = model.contexts
    cumulative = _cumulative(model.emissions.reshape(-1, 4)).tolist()
    codes = bytearray()
    for state, uniform in zip(path, uniforms.tolist(), strict=True):
        code = bisect(cumulative[state * contexts + context], uniform)
        codes.append(code)
        context = (context * 4 + code) % contexts
    return np.frombuffer(codes, np.uint8)


def _cumulative(probabilities: np.ndarray) -> np.ndarray:
    """Ends at exactly 1 with the last possible outcome, so that rounding never draws an impossible one."""
    sums = np.cumsum(probabilities, axis=-1)
    return sums / sums[..., -1:]
