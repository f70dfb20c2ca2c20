"""The file beside a simulated genome: design, seed and lengths, from which genome and entropy follow again."""

import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from primase.errors import InputError
from primase.own_files import read_json
from primase.simulate import forward
from primase.simulate.demo import demo_genome_design
from primase.simulate.design import GenomeDesign
from primase.simulate.draw import SimulatedRecord, simulate, write_fasta
from primase.simulate.model import GenomeModel

SCHEMA_VERSION = 1


class Simulation(BaseModel):
    """A design and the draw that was made from it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    seed: int
    record_bases: tuple[int, ...]
    design: GenomeDesign

    @cached_property
    def model(self) -> GenomeModel:
        return self.design.model()

    def records(self) -> list[SimulatedRecord]:
        """The genome, as `simulate` draws it."""
        return simulate(self.model, self.record_bases, self.seed)

    def window_bits(self, windows: Sequence[np.ndarray]) -> np.ndarray:
        """-log2 P of each window of the genome, float64 [windows]; see `primase.simulate.forward`."""
        return forward.window_bits(self.model, windows)

    def surprisal(self, stretches: Sequence[np.ndarray]) -> list[np.ndarray]:
        """-log2 P of each base of each stretch given those before it, float64 [bases] each."""
        return forward.surprisal_bits(self.model, stretches)

    def write(self, path: str | Path) -> None:
        """Write as JSON; `read_simulation` gives it back. Raises OSError."""
        Path(path).write_text(self.model_dump_json(indent=1) + "\n", "utf-8")


def simulate_to_file(path: str | Path, *, bases: int, records: int = 10, seed: int = 0) -> Simulation:
    """Draw a demo genome of `bases` in `records` of equal length, write it as FASTA and `simulation_file` beside it.

    The seed settles the source and the draw. Existing files are replaced. Raises InputError where there are fewer
    bases than records, OSError where a file cannot be written.
    """
    if not 1 <= records <= bases:
        raise InputError(f"{path}: {bases} bases in {records} records; give each record a base or more")
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    lengths = tuple(bases // records + (number < bases % records) for number in range(records))
    simulation = Simulation(seed=seed, record_bases=lengths, design=demo_genome_design(seed))
    write_fasta(simulation.records(), path)
    simulation.write(simulation_file(path))
    return simulation


def simulation_file(path: str | Path) -> Path:
    """Where the simulation of the genome at `path` is kept: its name with .json behind it."""
    return Path(f"{path}.json")


def read_simulation(path: str | Path) -> Simulation:
    """Read what `Simulation.write` wrote. Raises MissingFileError, or InputError where it is something else."""
    remedy = "give the .json that was written beside the genome"
    values = read_json(Path(path), schema=SCHEMA_VERSION, remedy=remedy)
    try:
        simulation = Simulation.model_validate_json(json.dumps(values))
        _ = simulation.model  # of numbers that are a source
        return simulation
    except ValidationError as error:
        problem = error.errors()[0]
        where = "".join(f"{part}: " for part in problem["loc"])
        raise InputError(f"{path}: {where}{problem['msg'].removeprefix('Value error, ')}; {remedy}") from error
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
