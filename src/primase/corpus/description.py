"""What corpus.json must hold for its readers, checked before any of them trusts it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, NonNegativeInt, ValidationError

from primase.errors import InputError


class _Parts(BaseModel):
    train: NonNegativeInt
    validation: NonNegativeInt
    heldout: NonNegativeInt


class _BaseCounts(BaseModel):
    A: NonNegativeInt
    C: NonNegativeInt
    G: NonNegativeInt
    T: NonNegativeInt
    N: NonNegativeInt


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
    token_dtype: Literal["uint16", "uint32"] = "uint16"
    unknown_tokens: NonNegativeInt = 0


def check_description(file: Path, values: Mapping[str, Any]) -> None:
    """Raises InputError where a value in corpus.json is missing or cannot be."""
    try:
        _Description.model_validate(values, strict=True)
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(str(part) for part in problem["loc"])
        raise InputError(
            f"{file}: damaged: {where}: {problem['msg']}; run primase prepare again, or pretrain again"
        ) from None
