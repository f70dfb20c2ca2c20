"""The file beside a simulated genome: design, seed and lengths, from which genome and entropy follow again."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from primase.errors import InputError, MissingFileError
from primase.simulate import forward
from primase.simulate.design import GenomeDesign
from primase.simulate.draw import SimulatedRecord, simulate
from primase.simulate.model import GenomeModel


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

    def write(self, path: str | Path) -> None:
        """Write as JSON; `read_simulation` gives it back. Raises OSError."""
        Path(path).write_text(self.model_dump_json(indent=1) + "\n", "utf-8")


def read_simulation(path: str | Path) -> Simulation:
    """Read what `Simulation.write` wrote. Raises MissingFileError, or InputError where it is something else."""
    try:
        return Simulation.model_validate_json(Path(path).read_text("utf-8"))
    except FileNotFoundError as error:
        raise MissingFileError(
            f"{path}: no such file; give the .json that was written beside the genome"
        ) from error
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(map(str, problem["loc"])) or "the file"
        raise InputError(
            f"{path}: {where}: {problem['msg']}; give the .json that was written beside the genome"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({error}); give the .json beside the genome") from error
