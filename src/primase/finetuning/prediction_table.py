"""Predictions as a table that is written row by row: CSV, TSV or Parquet, whole or not there.

Columns: name; label, and probability_X for each label X, or, for a regression, value. The labels of a multi-label
task that hold (probability above one half) are joined with ;.
"""

import csv
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from primase.errors import InputError
from primase.finetuning.task import Task
from primase.formats import LabelledRecord
from primase.whole_files import refuse_existing, written_whole

FORMATS = (".csv", ".tsv", ".parquet")
SEPARATOR = ";"
DIGITS = 6
"""Decimals of a probability, significant digits of a value, which may be of any magnitude."""


def refuse(output: Path, *, overwrite: bool) -> None:
    """Raises InputError for an ending that is not known, OutputExistsError where something is there that stays."""
    if output.suffix not in FORMATS:
        raise InputError(f"{output}: predictions are written as {', '.join(FORMATS)}; choose one of these endings")
    refuse_existing(output, overwrite=overwrite)


def true_labels(task: Task, records: Sequence[LabelledRecord], targets: np.ndarray) -> list[str]:
    """What `predicted_labels` would give where all is right; of a regression the values as they were written."""
    if task.kind == "regression":
        return [record.labels[0] for record in records]
    return predicted_labels(task, targets if task.kind == "multi-label" else np.eye(task.outputs)[targets])


def _to_decimals(values: np.ndarray) -> list[float]:
    return np.round(values, DIGITS).tolist()


def _to_digits(values: np.ndarray) -> list[float]:
    return [float(f"{value:.{DIGITS}g}") for value in values]


def predicted_labels(task: Task, probabilities: np.ndarray) -> list[str]:
    """The likeliest class of each row, or all labels that are likelier than not."""
    if task.kind == "multi-label":
        return [SEPARATOR.join(np.array(task.labels)[row > 0.5]) for row in probabilities]
    return [task.labels[i] for i in probabilities.argmax(axis=1)]


class PredictionTable:
    """Open with `PredictionTable.open`; what is written appears when the block ends well."""

    def __init__(self, file: Path, task: Task, *, truth: bool) -> None:
        self.task = task
        names = ["name", *(["truth"] if truth else [])]
        self.columns = (
            [*names, "value"]
            if task.kind == "regression"
            else [*names, "label", *(f"probability_{label}" for label in task.labels)]
        )

    @classmethod
    @contextmanager
    def open(cls, output: Path, task: Task, *, truth: bool = False) -> Iterator["PredictionTable"]:
        """`truth`: with a column of the true labels."""
        table = cls(output, task, truth=truth)
        with written_whole(output) as partial:
            if output.suffix == ".parquet":
                numbers = [name == "value" or name.startswith("probability_") for name in table.columns]
                schema = pa.schema(
                    [
                        (name, pa.float64() if number else pa.string())
                        for name, number in zip(table.columns, numbers, strict=True)
                    ]
                )
                with pq.ParquetWriter(partial, schema) as writer:
                    table._write = lambda columns: writer.write_table(pa.table(columns, schema=schema))
                    yield table
            else:
                with open(partial, "w", encoding="utf-8", newline="") as file:
                    writer = csv.writer(file, delimiter="\t" if output.suffix == ".tsv" else ",", lineterminator="\n")
                    writer.writerow(table.columns)
                    table._write = lambda columns: writer.writerows(zip(*columns, strict=True))
                    yield table

    def write(self, names: Sequence[str], logits: np.ndarray, truth: Sequence[str] | None = None) -> list[str]:
        """Append rows; returns their predicted labels (none for a regression)."""
        probabilities = self.task.probabilities(logits)
        columns: list = [list(names), *([list(truth)] if truth is not None else [])]
        labels = [] if self.task.kind == "regression" else predicted_labels(self.task, probabilities)
        if labels:
            columns.append(labels)
        rounded = _to_digits if self.task.kind == "regression" else _to_decimals
        columns.extend(rounded(column) for column in probabilities.T)
        self._write(columns)
        return labels
