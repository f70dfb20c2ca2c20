"""What measurements return: frozen types with units in their names, written as JSON with a schema version."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict


class Result(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    def write(self, file: Path) -> None:
        """Write as JSON, beside and renamed, so that a reader never sees half of it."""
        partial = file.with_name(f".{file.name}.partial")
        try:
            partial.write_text(self.model_dump_json(indent=2) + "\n", "utf-8")
            partial.replace(file)
        finally:
            partial.unlink(missing_ok=True)


class Estimate(Result):
    """Bits per base with a block-bootstrap 95 % interval."""

    bits_per_base: float
    low: float
    high: float
    bases: int
    """A, C, G and T that the figure is a mean over."""


class Rival(Result):
    """Another predictor on the same bases."""

    name: str
    bits_per_base: float
    model_advantage_millibits: float
    """Rival minus model, in thousandths of a bit per base: positive where the model is better."""
    low: float
    high: float
    """Block-bootstrap 95 % interval of the advantage; both resampled together."""


class Evaluation(Result):
    """evaluation.json: what a model is worth on bases it has not seen."""

    schema_version: int = 1
    model: str
    part: str
    """heldout, or validation where nothing was held out."""
    split_strategy: str
    windows: int
    tokens: int
    unknown_tokens: int
    context_tokens: int
    stride_fraction: float
    bootstrap_blocks: int
    """Stretches of the genome that were resampled for the intervals; with fewer than ten, they say little."""
    nats_per_token: float
    forward: Estimate
    reverse_complement: Estimate
    both_strands_mean: Estimate
    repeat: Estimate | None
    """Soft-masked bases, forward strand; None where the genome has none."""
    non_repeat: Estimate | None
    rivals: list[Rival]
    """Uniform guessing, the best Markov model, the untrained twin; the source itself where it is known."""
    markov_bits_per_base: list[float]
    """Order 0, 1, 2, …; forward strand."""
    best_markov_order: int
    true_entropy_bits_per_base: float | None = None
    """Of the simulated source, on the same windows: no model can do better on average."""
    verdict: str
