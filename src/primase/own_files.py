"""Files that Primase itself wrote, read again: an older one is read, a newer one refused by name, a damaged one told.

Whatever is wrong with such a file leaves here as an InputError of one line.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from primase.errors import InputError, MissingFileError, NewerFileError


def read_json(file: Path, *, schema: int, remedy: str) -> dict[str, Any]:
    """The object in a JSON file. One without a schema version is of version 1.

    Raises MissingFileError where nothing is there, and InputError for what is damaged and for anything but an object,
    and NewerFileError for a schema version above `schema`. Nothing that is written holds a number that is not finite.
    """
    try:
        values = json.loads(file.read_text("utf-8"), parse_float=_finite, parse_constant=_finite)
    except FileNotFoundError:
        raise MissingFileError(f"{file}: no such file; {remedy}") from None
    except (ValueError, OSError, RecursionError) as error:
        raise InputError(f"{file}: not readable ({one_line(error)}); {remedy}") from None
    if not isinstance(values, dict):
        raise InputError(f"{file}: damaged: holds no object; {remedy}")
    refuse_newer(file, values, schema=schema, remedy=remedy)
    return values


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:20]} is no finite number")
    return value


def refuse_newer(file: Path, values: Mapping[str, Any], *, schema: int, remedy: str) -> None:
    """NewerFileError where `values` of a file have a schema version above `schema`, InputError where it is none."""
    version = values.get("schema_version", 1)
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise InputError(f"{file}: damaged: schema version {version!r:.40}; {remedy}")
    if version > schema:
        raise NewerFileError(
            f"{file}: written by a newer Primase (schema version {version}, this program reads up to {schema}); "
            "update Primase"
        )


def read_array(file: Path, *, dtype: DTypeLike, remedy: str) -> np.ndarray:
    """A one-dimensional array of that type from a .npy file. Raises InputError for anything else."""
    try:
        values = np.load(file, allow_pickle=False)
    except Exception as error:  # a damaged header is read as Python, and fails as Python does, in many ways
        raise InputError(f"{file}: not readable ({one_line(error)}); {remedy}") from None
    if not isinstance(values, np.ndarray) or values.dtype != dtype or values.ndim != 1:
        found = f"{values.dtype} of shape {list(values.shape)}" if isinstance(values, np.ndarray) else "no array"
        raise InputError(f"{file}: damaged: holds {found:.200}; {remedy}")
    return values


def one_line(error: Exception) -> str:
    """What an error says, short; its type where it says nothing."""
    return " ".join(str(error).split())[:160] or type(error).__name__
