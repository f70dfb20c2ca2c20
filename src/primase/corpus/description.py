"""What corpus.json must hold for its readers, checked before any of them trusts it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, NonNegativeInt, PositiveInt, ValidationError, model_validator

from primase.errors import InputError


class _Parts(BaseModel):
    train: NonNegativeInt
    validation: NonNegativeInt
    heldout: NonNegativeInt
    unused: NonNegativeInt = 0
    outside_windows: int = 0
    """Below 0 where windows overlap."""


class _BaseCounts(BaseModel):
    A: NonNegativeInt
    C: NonNegativeInt
    G: NonNegativeInt
    T: NonNegativeInt
    N: NonNegativeInt
    soft_masked: NonNegativeInt = 0


class _Split(BaseModel):
    strategy: str


class _Source(BaseModel):
    name: str


class _Description(BaseModel):
    """Further keys may be there."""

    sources: list[_Source]
    records: NonNegativeInt
    base_counts: _BaseCounts
    windows: _Parts
    bases: _Parts
    split: _Split
    tokenizer_sha256: str
    digest: str
    recipe_digest: str = ""
    token_dtype: Literal["uint16", "uint32"] | None = None
    tokens: PositiveInt | None = None
    unknown_tokens: NonNegativeInt = 0

    @model_validator(mode="after")
    def _tokens_are_counted(self) -> "_Description":
        if (self.token_dtype is None) != (self.tokens is None):
            raise ValueError("token_dtype and tokens belong together")
        return self


def checked_description(file: Path, values: Mapping[str, Any]) -> dict[str, Any]:
    """The values, with what older corpora lack. Raises InputError where one in corpus.json is missing or cannot be."""
    try:
        _Description.model_validate(values, strict=True)
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(str(part) for part in problem["loc"])
        raise InputError(
            f"{file}: damaged: {where}: {problem['msg']}; run primase prepare again, or pretrain again"
        ) from None
    return {"recipe_digest": "", "unknown_tokens": 0} | dict(values)
