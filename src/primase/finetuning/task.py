"""What the labels mean: the kind of task, its classes, and targets and probabilities in terms of them."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from primase.errors import InputError
from primase.finetuning.results import TaskKind
from primase.formats import LabelledRecord
from primase.formats.columns import as_number

MOST_INTEGER_CLASSES = 20
"""Whole numbers with more values than this are taken to be measurements."""

KINDS = ("binary", "multi-class", "multi-label", "regression")

LEADING_METRIC = {"binary": "mcc", "multi-class": "mcc", "multi-label": "f1", "regression": "spearman"}
"""By which training stops, models are chosen, and the verdict is spoken."""


@dataclass(frozen=True)
class Task:
    """The labels of the training part, understood."""

    kind: TaskKind
    labels: tuple[str, ...]
    """Classes, in numeric or alphabetical order; the labels of a multi-label task; the column of values."""
    columns: tuple[str, ...]
    separator: str | None = None
    """Between the labels in one cell of a multi-label task."""
    mean: float = 0.0
    deviation: float = 1.0
    """Of the training values of a regression: the model is trained on, and gives, (value - mean) / deviation."""

    @property
    def outputs(self) -> int:
        """Logits of a sequence."""
        return len(self.labels)

    @property
    def leading_metric(self) -> str:
        return LEADING_METRIC[self.kind]

    @property
    def problem_type(self) -> str:
        """What transformers calls the task."""
        return {"regression": "regression", "multi-label": "multi_label_classification"}.get(
            self.kind, "single_label_classification"
        )

    def targets(self, records: Sequence[LabelledRecord]) -> np.ndarray:
        """int64 [rows] class numbers; float32 [rows, labels] of 0 and 1; or float32 [rows] standardised values.

        Raises InputError, with the row, for a label that the training part does not have.
        """
        if self.kind == "regression":
            values = [_number(record, self.columns[0]) for record in records]
            return ((np.array(values) - self.mean) / self.deviation).astype(np.float32)
        number = {label: i for i, label in enumerate(self.labels)}
        if self.kind != "multi-label":
            return np.array([self._class_number(record, number) for record in records], np.int64)
        targets = np.zeros((len(records), len(self.labels)), np.float32)
        for row, record in enumerate(records):
            if self.separator is None:
                targets[row] = [_flag(record, place, column) for place, column in enumerate(self.columns)]
                continue
            for label in _several(record.labels[0], self.separator):
                if label not in number:
                    raise self._unseen(record, label)
                targets[row, number[label]] = 1
        return targets

    def _class_number(self, record: LabelledRecord, number: dict[str, int]) -> int:
        label = _canonical(record.labels[0])
        if label not in number:
            raise self._unseen(record, label)
        return number[label]

    def _unseen(self, record: LabelledRecord, label: str) -> InputError:
        known = ", ".join(self.labels[:10]) + (", ..." if len(self.labels) > 10 else "")
        return InputError(
            f"{record.source}: row {record.row}: label {label!r} is not among the training rows ({known}); "
            "remove the row, or give training rows of it"
        )

    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        """float64 [rows, outputs]: of the classes (they add up to 1), or of each label; for a regression the values."""
        logits = logits.astype(np.float64)
        if self.kind == "regression":
            return logits * self.deviation + self.mean
        if self.kind == "multi-label":
            return 1 / (1 + np.exp(-np.clip(logits, -700, 700)))
        odds = np.exp(logits - logits.max(axis=1, keepdims=True))
        return odds / odds.sum(axis=1, keepdims=True)


def understand(
    records: Sequence[LabelledRecord], columns: Sequence[str], kind: str | None, separator: str | None
) -> Task:
    """The task that the labels of the training rows set: of that `kind`, or else guessed.

    Several columns, or a separator, are multi-label; numbers that are not whole, or have more than 20 values, are
    regression; two labels are binary; all else is multi-class. Raises InputError where the labels do not allow it.
    """
    columns = tuple(columns)
    if kind is not None and kind not in KINDS:
        raise InputError(f"task {kind!r}: choose {', '.join(KINDS)}")
    several = len(columns) > 1 or separator is not None
    if several and kind not in (None, "multi-label"):
        raise InputError(f"task {kind}: takes one label column and no separator; leave the others out")
    if len(columns) > 1 and separator is not None:
        raise InputError("several label columns hold 0 or 1 each; leave the label separator out, or give one column")
    if separator is not None:
        found = {label for record in records for label in _several(record.labels[0], separator)}
        return _several_labels(records, tuple(sorted(found, key=_order)), columns, separator)
    if several:
        return _several_labels(records, columns, columns, None)
    if kind == "multi-label":
        raise InputError("task multi-label: give several --label columns of 0 and 1, or --label-separator")
    values = {_canonical(record.labels[0]) for record in records}
    kind = kind or _guess(values, len(records), columns[0], records[0].source)
    if kind == "regression":
        return _regression(records, columns)
    return _classes(records[0].source, values, columns, kind)


def _classes(source: str, values: set[str], columns: tuple[str, ...], kind: str) -> Task:
    labels = tuple(sorted(values, key=_order))
    if len(labels) == 1:
        raise InputError(f"{source}: column {columns[0]!r} holds one label only, {labels[0]!r}; give rows of another")
    if kind == "binary" and len(labels) != 2:
        raise InputError(
            f"{source}: column {columns[0]!r} holds {len(labels)} labels, not two; leave out --task binary"
        )
    return Task("binary" if len(labels) == 2 else "multi-class", labels, columns)


def _guess(values: set[str], rows: int, column: str, source: str) -> TaskKind:
    if all(_as_number(value) is not None for value in values):
        is_whole = all(float(value).is_integer() for value in values)
        return "multi-class" if is_whole and len(values) <= MOST_INTEGER_CLASSES else "regression"
    if len(values) > max(MOST_INTEGER_CLASSES, rows // 2):
        raise InputError(
            f"{source}: column {column!r} holds {len(values):,} different texts in {rows:,} rows: no classes; "
            "choose the column of the labels"
        )
    return "multi-class"


def _regression(records: Sequence[LabelledRecord], columns: tuple[str, ...]) -> Task:
    values = np.array([_number(record, columns[0]) for record in records])
    if values.std() == 0:
        raise InputError(f"{records[0].source}: column {columns[0]!r} holds one value only; give rows of others")
    return Task("regression", columns, columns, mean=float(values.mean()), deviation=float(values.std()))


def _several_labels(
    records: Sequence[LabelledRecord], labels: tuple[str, ...], columns: tuple[str, ...], separator: str | None
) -> Task:
    task = Task("multi-label", labels, columns, separator)
    source = records[0].source
    if len(labels) < 2:
        raise InputError(f"{source}: column {columns[0]!r} holds {len(labels)} labels; a multi-label task has several")
    shares = task.targets(records).mean(axis=0)
    for label, share in zip(labels, shares, strict=True):
        if share in (0.0, 1.0):
            raise InputError(f"{source}: label {label!r} is the same in every row; leave it out, or give other rows")
    return task


def _several(text: str, separator: str) -> list[str]:
    return [label.strip() for label in text.split(separator) if label.strip()]


def _flag(record: LabelledRecord, place: int, column: str) -> float:
    value = {"0": 0.0, "1": 1.0, "false": 0.0, "true": 1.0}.get(_canonical(record.labels[place]).lower())
    if value is None:
        raise InputError(
            f"{record.source}: row {record.row}: column {column!r} holds {record.labels[place]!r}; of several label "
            "columns each holds 0 or 1"
        )
    return value


def _number(record: LabelledRecord, column: str) -> float:
    value = _as_number(record.labels[0])
    if value is None:
        raise InputError(
            f"{record.source}: row {record.row}: column {column!r} holds {record.labels[0]!r}, no number; a "
            "regression needs numbers"
        )
    return value


def _as_number(text: str) -> float | None:
    value = as_number(text)
    return value if value is not None and math.isfinite(value) else None


def _canonical(text: str) -> str:
    """1.0 and 1 are one label: pandas writes whole numbers so where a cell was once empty. 007 and 7 are two names."""
    return text.partition(".")[0] if re.fullmatch(r"-?\d+\.0*", text) else text


def _order(label: str) -> tuple[bool, float, str]:
    value = _as_number(label)
    return (value is None, value or 0.0, label)
