"""How a fine-tuning is done: frozen settings, written to finetuning.toml."""

from typing import Any, Literal

import tomli_w
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from primase.errors import RecipeError

Method = Literal["full", "lora", "probe"]

LEARNING_RATE = {"full": 3e-4, "lora": 1e-3, "probe": 0.0}
"""Where none is given; a probe is solved and not walked to."""


class FinetuningSettings(BaseModel):
    """Every option of `primase finetune` that changes the result."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    label: tuple[str, ...] = Field(min_length=1)
    """Columns of the labels; several are a multi-label task."""
    label_separator: str | None = Field(default=None, min_length=1)
    """Between the labels in one cell of a multi-label task."""
    column: str | None = None
    """Column of the sequences; else text, or sequence."""
    task: Literal["binary", "multi-class", "multi-label", "regression"] | None = None
    """None: guessed from the labels."""
    method: Method = "full"
    """All weights; low-rank updates of the linear layers, merged at the end; or a linear head on the frozen body."""
    class_weights: Literal["none", "balanced"] = "none"
    """balanced: each class weighs the same in the loss, however rare."""
    epochs: int = Field(default=10, ge=1)
    """At most; training stops when the validation part gets no better."""
    patience: int = Field(default=3, ge=1)
    """Epochs without a better leading metric on the validation part, after which training stops."""
    learning_rate: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """Peak; None: 3e-4 for full, 1e-3 for lora."""
    warmup_fraction: float = Field(default=0.1, ge=0, le=1)
    """Share of all steps in which the learning rate rises; it falls to nil in the others, both linearly."""
    weight_decay: float = Field(default=0.01, ge=0, allow_inf_nan=False)
    batch_tokens: int = Field(default=2048, ge=1)
    """Most tokens of an optimizer step, padding included; a single longer sequence is a step of its own."""
    lora_rank: int = Field(default=8, ge=1)
    validation_fraction: float = Field(default=0.1, gt=0, lt=0.5)
    test_fraction: float = Field(default=0.2, gt=0, lt=0.5)
    """Shares of the training rows that are split off where no such part is given."""
    remove_duplicates: bool = False
    """Leave rows out whose sequence is in a later part too: training rows, and validation rows that are test rows."""
    max_rows: int | None = Field(default=None, ge=2)
    """Train on a stratified draw of at most so many rows; validation and test stay whole."""
    seeds: int = Field(default=1, ge=1)
    """Trainings, with seed, seed + 1, …"""
    seed: int = Field(default=0, ge=0)
    rivals: bool = True
    """Whether k-mers, a convolutional net and the untrained twin are trained beside."""

    @property
    def peak_learning_rate(self) -> float:
        return self.learning_rate or LEARNING_RATE[self.method]

    @property
    def all_seeds(self) -> list[int]:
        return list(range(self.seed, self.seed + self.seeds))

    @classmethod
    def of(cls, **values: Any) -> "FinetuningSettings":
        """Raises RecipeError for a value that does not fit."""
        try:
            return cls(**values)
        except ValidationError as error:
            first = error.errors()[0]
            name = ".".join(str(part) for part in first["loc"][:1]).replace("_", "-")
            raise RecipeError(f"--{name}: {first['msg'].lower()} (given: {first['input']!r})") from None

    def to_toml(self, model: str, data: str) -> str:
        """finetuning.toml: the settings, and what they were applied to."""
        values = {name: value for name, value in self.model_dump(mode="json").items() if value is not None}
        return tomli_w.dumps({"model": model, "data": data, **values})
