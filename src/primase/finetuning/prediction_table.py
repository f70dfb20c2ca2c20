"""Predictions as a table that is written row by row: CSV, TSV or Parquet, whole or not there.

Columns: name; label, and probability_X for each label X, or, for a regression, value. The labels of a multi-label
task that hold (probability above one half) are joined with ;.
"""

import csv
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from primase.errors import InputError, OutputExistsError
from primase.finetuning.task import Task

FORMATS = (".csv", ".tsv", ".parquet")
SEPARATOR = ";"
DIGITS = 6


def refuse(output: Path, *, overwrite: bool) -> None:
    """Raises InputError for an ending that is not known, OutputExistsError where something is there that stays."""
    if output.suffix not in FORMATS:
        raise InputError(f"{output}: predictions are written as {', '.join(FORMATS)}; choose one of these endings")
    if output.is_dir():
        raise OutputExistsError(f"{output}: is a folder; choose another file")
    if output.exists() and not overwrite:
        raise OutputExistsError(f"{output}: already exists; choose another file or pass --overwrite")


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
        partial = output.with_name(f".{os.getpid()}.partial.{output.name}")
        try:
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
            partial.replace(output)
        finally:
            partial.unlink(missing_ok=True)

    def write(self, names: Sequence[str], logits: np.ndarray, truth: Sequence[str] | None = None) -> list[str]:
        """Append rows; returns their predicted labels (none for a regression). Figures have six decimals."""
        probabilities = self.task.probabilities(logits)
        columns: list = [list(names), *([list(truth)] if truth is not None else [])]
        labels = [] if self.task.kind == "regression" else predicted_labels(self.task, probabilities)
        if labels:
            columns.append(labels)
        columns.extend(np.round(column, DIGITS).tolist() for column in probabilities.T)
        self._write(columns)
        return labels
