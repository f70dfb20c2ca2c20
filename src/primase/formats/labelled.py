"""Labelled sequences from the user's tables, for fine-tuning: a sequence, its labels, and where both stand.

A folder with train, dev and test tables, as the benchmark GUE ships them, is taken apart here.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from primase.errors import InputError, MissingFileError
from primase.formats.opening import errors_explained
from primase.formats.sequences import is_table, sequence_files, table_cells

PART_NAMES = {
    "train": "train",
    "training": "train",
    "dev": "validation",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
}
"""By the name of a file up to its first dot, in any case: the part that it holds."""

_MISSING_LABELS = frozenset(("na", "nan", "null", "none"))


@dataclass(frozen=True, slots=True)
class LabelledRecord:
    """A row of a table."""

    name: str
    sequence: str
    """ASCII letters, with case and IUPAC codes as in the file."""
    labels: tuple[str, ...]
    """One a label column, without the blanks round it; empty where nothing is in the cell."""
    source: str
    row: int
    """Counted from 1, the header left out."""


def read_labelled(
    file: str | Path, labels: Sequence[str], *, column: str | None = None, may_be_empty: bool = False
) -> Iterator[LabelledRecord]:
    """The rows of a CSV, TSV or Parquet file with the columns `labels`; sequences as `read_records` gives them.

    Raises MissingFileError or InputError, with the row, for whatever is wrong with the file, a sequence, or a label
    that is missing (or NA); `may_be_empty` lets empty cells pass.
    """
    (path,) = _one_file(file)
    rows = 0
    for cells in table_cells(path, column=column, labels=labels):
        places = cells.offsets.tolist()
        for place, (name, values) in enumerate(zip(cells.names, cells.labels, strict=True)):
            rows += 1
            texts = tuple((value or "").strip() for value in values)
            for label, text in zip(labels, texts, strict=True):
                if text.lower() in _MISSING_LABELS or not (text or may_be_empty):
                    raise InputError(
                        f"{path}: row {rows}: column {label!r} holds no label; fill it in or remove the row"
                    )
            sequence = cells.letters[places[place] : places[place + 1]].tobytes().decode("ascii")
            yield LabelledRecord(name, sequence, texts, str(path), rows)


def part_files(data: str | Path) -> dict[str, Path]:
    """`train` and, where a folder holds them, `validation` and `test`: the file of each.

    A file is the training part. Raises MissingFileError where nothing is there, InputError for a folder without a
    training table, or with two of one part.
    """
    path = Path(data)
    with errors_explained(path):
        if not path.exists():
            raise MissingFileError(f"{path}: no such file or folder; check the path")
        if not path.is_dir():
            return {"train": path}
    parts: dict[str, Path] = {}
    for file in sequence_files(path):
        part = PART_NAMES.get(file.name.lower().split(".")[0])
        if part is None:
            continue
        if part in parts:
            raise InputError(f"{path}: both {parts[part].name} and {file.name} are the {part} part; remove one")
        parts[part] = file
    if "train" not in parts:
        raise InputError(f"{path}: no train.csv, .tsv or .parquet in this folder; name the table to train on so")
    return parts


def _one_file(file: str | Path) -> list[Path]:
    files = sequence_files(file)
    if len(files) != 1:
        raise InputError(f"{file}: a folder; name the table in it")
    if not is_table(files[0]):
        raise InputError(f"{file}: FASTA holds no labels; give a CSV, TSV or Parquet file")
    return files
