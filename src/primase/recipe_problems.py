"""What is wrong with a recipe, in one line: pydantic's findings in the words of somebody who writes TOML."""

import difflib
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ValidationError


def first_problem(error: ValidationError, model: type[BaseModel]) -> str:
    """What is wrong with one of the values that are wrong, and what it may be; a key that is unknown comes first."""
    problems = sorted(error.errors(), key=lambda problem: problem["type"] != "extra_forbidden")
    first, known = problems[0], flattened(_known_keys(model))
    where = _dotted(first)
    if first["type"] == "extra_forbidden":
        close = difflib.get_close_matches(where, [*known, *model.model_fields], n=1, cutoff=0.5)
        return f"unknown key {where}" + (f"; did you mean {close[0]}?" if close else "")
    if first["type"] == "missing":
        return f"{where} is missing; see a shipped recipe for the form"
    if first["type"] == "value_error":
        message = first["msg"].removeprefix("Value error, ")
        return f"{where}: {message}" if where else message
    # A setting that may be of several types has a problem with each: a whole number, or one of some words.
    setting = next((key for key in known if f"{where}.".startswith(f"{key}.")), where)
    wanted = dict.fromkeys(_wanted(p, setting) for p in problems if _dotted(p).startswith(setting))
    return f"{setting}: must be {' or '.join(wanted)} (given: {first['input']!r})"


def _dotted(problem: Mapping[str, Any]) -> str:
    return ".".join(str(part) for part in problem["loc"])


def _wanted(problem: Mapping[str, Any], setting: str) -> str:
    """What a value must be, by the name that pydantic gives to the problem, else in its words."""
    words = {
        "int": "a whole number",
        "float": "a number",
        "bool": "true or false",
        "string": "text",
        "dict": "a table of keys and values",
        "model": f"a section: set its keys, as in {setting}.key=value",
        "tuple": f"a list, as in {setting}=['...', '...']",
    }
    return words.get(problem["type"].partition("_")[0]) or problem["msg"].removeprefix("Input should be ")


def _known_keys(model: type[BaseModel]) -> dict[str, Any]:
    return {
        name: _known_keys(field.annotation)
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
        else None
        for name, field in model.model_fields.items()
    }


def flattened(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one, with dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            flat |= flattened(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat
