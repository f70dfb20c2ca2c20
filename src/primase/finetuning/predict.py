"""Prediction (`primase predict`): a classifier's labels and probabilities for any sequences, streamed."""

import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np

from primase.errors import InputError
from primase.finetuning.classifier import load_classifier, logits_of
from primase.finetuning.prediction_table import PredictionTable, predicted_labels, refuse
from primase.finetuning.results import PredictionSummary
from primase.finetuning.task import Task
from primase.finetuning.windows import token_rows
from primase.formats import read_records
from primase.scoring import LoadedModel, refuse_not_finite
from primase.sequence_encoder import unknown_in_words
from primase.whole_files import refuse_unwritable

SEQUENCES_OF_A_GROUP = 512
BASES_OF_A_GROUP = 4_000_000
"""Sequences that are read and sorted by length together, at most so many, and about so many bases."""


@dataclass(frozen=True)
class Predictions:
    """What a classifier says of sequences."""

    labels: list[str]
    """Classes, or labels, in the order of the columns of `probabilities`; the one column of values of a regression."""
    predicted: list[str]
    """The likeliest class of each sequence, or the labels that are likelier than not joined with ;. Of a regression
    nothing."""
    probabilities: np.ndarray = field(repr=False)
    """float64 [sequences, labels]; of a regression the values."""
    logits: np.ndarray = field(repr=False)
    """float32 [sequences, labels], as transformers gives them: of a regression before it is brought to scale."""


def predict(
    model: str | Path,
    sequences: str | Path | Sequence[str | bytes],
    *,
    column: str | None = None,
    on_unknown: Callable[[int], None] | None = None,
) -> Predictions:
    """Labels and probabilities of DNA sequences, or of the records of a file (FASTA, CSV, TSV or Parquet).

    `model`: a run of `finetune`, a folder, or a Hub name of any sequence classifier. A sequence longer than the model's
    context is cut into windows side by side of about equal length, and their logits are averaged, as in training.
    `on_unknown`, or else a Python warning, tells how many tokens the tokenizer could not spell, if any.

    Raises ModelError for a model that is no classifier, InputError for sequences that cannot be used.
    """
    loaded, task = load_classifier(model)
    if isinstance(sequences, str | Path):
        records = ((record.name, record.sequence) for record in read_records([sequences], column=column))
    else:
        records = (("", _as_text(sequence)) for sequence in sequences)
    groups = list(_groups(loaded, records))
    logits = np.concatenate([group.logits for group in groups]) if groups else np.empty((0, task.outputs), np.float32)
    _tell_of_unknown(sum(group.unknown_tokens for group in groups), on_unknown)
    probabilities = task.probabilities(logits) if len(logits) else logits.astype(np.float64)
    predicted = [] if task.kind == "regression" or not len(logits) else predicted_labels(task, probabilities)
    return Predictions(list(task.labels), predicted, probabilities, logits)


def predict_to_file(
    model: str | Path,
    sources: Sequence[str | Path],
    output: str | Path,
    *,
    overwrite: bool = False,
    column: str | None = None,
    progress: Callable[[int], None] = lambda done: None,
    on_unknown: Callable[[int], None] | None = None,
) -> PredictionSummary:
    """As `predict`, for all records of files, streamed into the table `output` (see `prediction_table`).

    Nothing is left at `output` unless all went well. `progress` is called with the number of sequences done. Raises as
    `predict` does, and OutputExistsError where `output` is there and `overwrite` is not set.
    """
    output = Path(output)
    refuse(output, overwrite=overwrite)
    loaded, task = load_classifier(model)
    records = ((record.name, record.sequence) for record in read_records(sources, column=column))
    counts: Counter[str] = Counter()
    done = long = unknown = 0
    refuse_unwritable(output)
    with PredictionTable.open(output, task) as table:
        for group in _groups(loaded, records):
            counts.update(table.write(group.names, group.logits))
            done, long = done + len(group.names), long + group.long_sequences
            unknown += group.unknown_tokens
            progress(done)
    _tell_of_unknown(unknown, on_unknown)
    return PredictionSummary(
        model=str(model),
        output=str(output),
        task=task.kind,
        labels=list(task.labels),
        sequences=done,
        long_sequences=long,
        unknown_tokens=unknown,
        predicted=_in_order(task, counts),
    )


@dataclass(frozen=True)
class _Group:
    names: list[str]
    logits: np.ndarray
    long_sequences: int
    unknown_tokens: int


def _groups(loaded: LoadedModel, records: Iterator[tuple[str, str]]) -> Iterator[_Group]:
    """Sequences in order, group by group, with their logits."""
    done = 0
    while first := list(islice(records, 1)):
        group, bases = first, len(first[0][1])
        while len(group) < SEQUENCES_OF_A_GROUP and bases < BASES_OF_A_GROUP and (more := list(islice(records, 1))):
            group += more
            bases += len(more[0][1])
        for number, (name, sequence) in enumerate(group, done + 1):
            if not sequence:
                raise InputError(f"sequence {number}{f' ({name})' if name else ''} is empty; remove it")
        rows = token_rows(loaded, [sequence.encode("ascii", "replace") for _, sequence in group])
        logits = logits_of(loaded, rows.rows)
        refuse_not_finite(logits)
        yield _Group([name for name, _ in group], logits, rows.long_sequences, rows.unknown_tokens)
        done += len(group)


def _as_text(sequence: str | bytes) -> str:
    return sequence.decode("ascii", "replace") if isinstance(sequence, bytes) else sequence


def _tell_of_unknown(tokens: int, on_unknown: Callable[[int], None] | None) -> None:
    if tokens and on_unknown:
        on_unknown(tokens)
    elif tokens:
        warnings.warn(f"{unknown_in_words(tokens)}: it cannot spell every letter", stacklevel=3)


def _in_order(task: Task, counts: Counter[str]) -> dict[str, int]:
    if task.kind == "multi-label":
        return dict(sorted(counts.items()))
    return {label: counts[label] for label in task.labels if counts}
