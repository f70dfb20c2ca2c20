"""Labelled rows of the training, validation and test part: read, split where they are one file, freed of copies."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from primase.errors import InputError
from primase.finetuning.results import Duplicates, PartRows
from primase.finetuning.settings import FinetuningSettings
from primase.finetuning.split import assign, draw_rows, strand_free, strata_of
from primase.finetuning.task import Task, understand
from primase.formats import LabelledRecord, part_files, read_labelled

PARTS = ("train", "validation", "test")
MEASURED = ("validation", "test")


@dataclass
class Part:
    """The rows of one part that are used."""

    name: str
    source: str
    rows_of_part: int
    records: list[LabelledRecord] = field(repr=False)
    targets: np.ndarray = field(repr=False)
    """See `Task.targets`."""

    @property
    def sequences(self) -> list[bytes]:
        return [record.sequence.encode() for record in self.records]

    def facts(self, task: Task) -> PartRows:
        return PartRows(
            name=self.name,
            source=self.source,
            rows_of_part=self.rows_of_part,
            rows=len(self.records),
            labels=_label_counts(task, self.targets),
        )


@dataclass
class Examples:
    """All that a fine-tuning learns from and is measured on."""

    task: Task
    parts: dict[str, Part]
    duplicates: list[Duplicates]

    @property
    def train(self) -> Part:
        return self.parts["train"]

    @property
    def validation(self) -> Part:
        return self.parts["validation"]

    @property
    def test(self) -> Part:
        return self.parts["test"]


def gather(
    data: str | Path, settings: FinetuningSettings, on_note: Callable[[str], None] = lambda note: None
) -> Examples:
    """Read `data`, a table or a folder of train, dev and test tables, as the settings say.

    Parts that are not given are split off the training rows: stratified by label, equal sequences (on either strand) on
    one side. Raises InputError, with the row, for labels that cannot be used, and for parts that are left empty.
    """
    files = part_files(data)
    records = {part: _read(file, settings) for part, file in files.items()}
    task = understand(records["train"], settings.label, settings.task, settings.label_separator)
    on_note(_task_in_words(task, settings))
    parts = {name: Part(name, str(files[name]), len(rows), rows, task.targets(rows)) for name, rows in records.items()}
    missing = [part for part in MEASURED if part not in parts]
    if missing:
        on_note(_split_off(parts, missing, settings))
        if task.kind == "regression":  # mean and deviation of the rows that are trained on
            task = understand(parts["train"].records, settings.label, task.kind, None)
            for part in parts.values():
                part.targets = task.targets(part.records)
    parts = {name: parts[name] for name in PARTS}
    duplicates = _duplicates(parts, settings.remove_duplicates)
    for found in duplicates:
        on_note(_duplicates_in_words(found))
    if _draw(parts["train"], settings):
        on_note(
            f"trained on {len(parts['train'].records):,} of {parts['train'].rows_of_part:,} rows (--max-rows), every "
            "rival too"
        )
    _check(task, parts)
    return Examples(task, parts, duplicates)


def _read(file: Path, settings: FinetuningSettings) -> list[LabelledRecord]:
    may_be_empty = settings.label_separator is not None  # none of the labels holds
    return list(read_labelled(file, settings.label, column=settings.column, may_be_empty=may_be_empty))


def _split_off(parts: dict[str, Part], missing: list[str], settings: FinetuningSettings) -> str:
    """Move rows of the training part to the parts that are missing; returns a note of it."""
    shares = {"validation": settings.validation_fraction, "test": settings.test_fraction}
    shares = {name: shares[name] for name in missing}
    whole = parts["train"]
    keys = [strand_free(record.sequence) for record in whole.records]
    shares = {"train": 1 - sum(shares.values())} | shares
    assigned = assign(keys, strata_of(whole.targets), shares, settings.seed)
    for name in shares:
        rows = np.flatnonzero(assigned == name)
        source = whole.source if name == "train" else f"split off {whole.source}"
        parts[name] = Part(name, source, len(rows), [whole.records[row] for row in rows], whole.targets[rows])
    sizes = " and ".join(f"{len(parts[name].records):,} {name} rows" for name in missing)
    return (
        f"split off {whole.source}: {sizes}, stratified by label, equal sequences and reverse complements on one side "
        f"(seed {settings.seed}); neighbours in the genome may still be on both"
    )


def _duplicates(parts: dict[str, Part], remove: bool) -> list[Duplicates]:
    """Rows whose sequence another part has too, and, where asked, without them on the side nearer to the training."""
    keys = {name: [strand_free(record.sequence) for record in part.records] for name, part in parts.items()}
    found = []
    leave: dict[str, set[int]] = {name: set() for name in parts}
    for name, other in (("train", "validation"), ("train", "test"), ("validation", "test")):
        there = set(keys[other])
        rows = [row for row, key in enumerate(keys[name]) if key in there]
        if rows:
            found.append(Duplicates(part=name, also_in=other, rows=len(rows), removed=len(rows) if remove else 0))
            leave[name].update(rows)
    if remove:
        for name, rows in leave.items():
            _keep(parts[name], np.array([row for row in range(len(keys[name])) if row not in rows], np.int64))
    return found


def _draw(train: Part, settings: FinetuningSettings) -> bool:
    """Whether there were more rows than wanted; then a draw is left."""
    if settings.max_rows is None or len(train.records) <= settings.max_rows:
        return False
    _keep(train, draw_rows(strata_of(train.targets), settings.max_rows, settings.seed))
    return True


def _keep(part: Part, rows: np.ndarray) -> None:
    part.records, part.targets = [part.records[row] for row in rows.tolist()], part.targets[rows]


def _check(task: Task, parts: dict[str, Part]) -> None:
    for part in parts.values():
        if not part.records:
            raise InputError(f"{part.source}: no row is left for the {part.name} part; give more rows")
        counts = _label_counts(task, part.targets)
        if task.kind in ("binary", "multi-class") and max(counts.values()) == len(part.records):
            (label,) = (name for name, count in counts.items() if count)
            raise InputError(f"{part.source}: all rows of the {part.name} part have label {label!r}; give others too")
        if task.kind == "regression" and np.ptp(part.targets) == 0:
            raise InputError(
                f"{part.source}: all rows of the {part.name} part have the same value of {task.columns[0]!r}; give "
                "others too"
            )
        if part.name == "train" and 0 in counts.values():
            label = next(name for name, count in counts.items() if not count)
            raise InputError(f"{part.source}: no training row of label {label!r} is left; give more rows of it")
        if part.name == "train" and task.kind == "multi-label" and max(counts.values()) == len(part.records):
            label = next(name for name, count in counts.items() if count == len(part.records))
            raise InputError(f"{part.source}: all training rows have label {label!r}; give rows without it")
        if task.kind == "multi-label" and set(counts.values()) <= {0, len(part.records)}:
            raise InputError(f"{part.source}: all rows of the {part.name} part have the same labels; give others too")


def _label_counts(task: Task, targets: np.ndarray) -> dict[str, int]:
    if task.kind == "regression":
        return {}
    if task.kind == "multi-label":
        return dict(zip(task.labels, targets.sum(axis=0).astype(int).tolist(), strict=True))
    counts = Counter(targets.tolist())
    return {label: counts[i] for i, label in enumerate(task.labels)}


def _task_in_words(task: Task, settings: FinetuningSettings) -> str:
    how = "as --task says" if settings.task else "guessed from the labels; --task changes it"
    column = ", ".join(task.columns[:5]) + (", ..." if len(task.columns) > 5 else "")
    if task.kind == "regression":
        return f"task: regression on {column} ({how})"
    labels = ", ".join(task.labels[:10]) + (", ..." if len(task.labels) > 10 else "")
    return f"task: {task.kind}, {len(task.labels)} labels: {labels} ({how})"


def _duplicates_in_words(found: Duplicates) -> str:
    plural, verb = ("s", "are") if found.rows != 1 else ("", "is")
    end = "removed" if found.removed else "kept, which flatters every figure; --remove-duplicates leaves them out"
    return (
        f"{found.rows:,} {found.part} row{plural} {verb} in the {found.also_in} part too, letter for letter or reverse "
        f"complemented: {end}"
    )
