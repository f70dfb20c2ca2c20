"""What is measured: stretches of bases, cut into cells that sums are kept of, with the class of every base.

A stretch is read from its start with a context that slides; a cell is a window of the corpus, or a piece of a record
of the user's. Bits are summed in cells because intervals resample them, and copies in the training part are known by
window.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from primase import dna
from primase.corpus.store import Corpus
from primase.errors import InputError
from primase.evaluation.routing import NO_CLASS
from primase.formats import read_records
from primase.formats.annotations import Annotations

CELL_BASES = 10_000
"""Length of a cell in sequences of the user's."""

REPEAT_CLASSES = ("repeat", "non-repeat")


@dataclass(frozen=True)
class Place:
    """Where a stretch lies: name of its record and 0-based start in it."""

    record: str
    start: int


@dataclass(frozen=True)
class Sample:
    """Held-out stretches, or sequences of the user's."""

    stretches: list[np.ndarray]
    """uint8 ASCII [bases] each, case kept."""
    places: list[Place]
    cell_bases: list[np.ndarray]
    """int64 [cells] of each stretch: the length of its cells, which add up to the stretch."""
    windows: np.ndarray | None
    """int64 [cells]: index of the window in the corpus, where the cells are windows."""
    class_names: tuple[str, ...]
    labels: list[tuple[np.ndarray, ...]]
    """For each stretch, one array uint8 [bases] a scheme of classes (repeats; annotations): the index into
    `class_names`, or NO_CLASS."""

    @classmethod
    def of_corpus(cls, corpus: Corpus, indices: np.ndarray, annotations: Annotations | None) -> "Sample":
        """The windows `indices` of a corpus, in genome order; those that touch one another are one stretch.

        Raises InputError where the annotations name none of the corpus' records.
        """
        ranges = corpus.stretches(indices).tolist()
        firsts = indices[[first for first, _ in ranges]]
        places = [Place(record, start) for record, start in corpus.places(firsts)]
        lengths = corpus.windows["length"][indices].astype(np.int64)
        return cls._labelled(
            list(corpus.iterate_stretches(indices)),
            places,
            [lengths[first:after] for first, after in ranges],
            indices,
            annotations,
        )

    @classmethod
    def of_files(cls, files: Sequence[str | Path], column: str | None, annotations: Annotations | None) -> "Sample":
        """All records of FASTA files or tables, U as T, cut wherever a letter is not A, C, G or T.

        A run of N is no sequence: models are trained without it, and the rivals pay nothing for it.
        """
        stretches, places = [], []
        for record in read_records(files, column=column):
            bases = dna.to_acgtn(record.sequence.encode("ascii"))
            is_base = np.r_[False, dna.is_acgt(bases), False]
            for start, end in np.flatnonzero(np.diff(is_base)).reshape(-1, 2).tolist():
                stretches.append(bases[start:end])
                places.append(Place(record.name, start))
        if not stretches:
            raise InputError(f"{files[0]}: no A, C, G or T in it; give sequences with bases")
        return cls._labelled(stretches, places, [_cells(len(s)) for s in stretches], None, annotations)

    @classmethod
    def _labelled(
        cls,
        stretches: list[np.ndarray],
        places: list[Place],
        cell_bases: list[np.ndarray],
        windows: np.ndarray | None,
        annotations: Annotations | None,
    ) -> "Sample":
        if annotations and not any(annotations.has(place.record) for place in places):
            raise InputError(
                f"the annotations name none of the measured records ({places[0].record}, …); they name "
                f"{', '.join(annotations.records[:5])}: give the annotations of this genome"
            )
        masked = [dna.is_soft_masked(stretch) for stretch in stretches]
        # A genome all in lower case is written so, and not masked.
        has_repeats = any(mask.any() for mask in masked) and not all(mask.all() for mask in masked)
        marked = annotations.classes if annotations else ()
        if has_repeats:  # a BED file may name its own repeats
            marked = tuple(f"{name} (annotated)" if name in REPEAT_CLASSES else name for name in marked)
        names = (REPEAT_CLASSES if has_repeats else ()) + marked
        labels = []
        for stretch, mask, place in zip(stretches, masked, places, strict=True):
            schemes = []
            if has_repeats:
                schemes.append(np.where(mask, 0, 1).astype(np.uint8))
            if annotations:
                first = len(REPEAT_CLASSES) if has_repeats else 0
                codes = annotations.labels(place.record, place.start, len(stretch)) + np.uint8(first)
                # A record that the file does not name is not known to be intergenic.
                schemes.append(codes if annotations.has(place.record) else np.full(len(stretch), NO_CLASS, np.uint8))
            labels.append(tuple(schemes))
        return cls(stretches, places, cell_bases, windows, names, labels)

    @property
    def cells(self) -> int:
        return sum(map(len, self.cell_bases))

    @property
    def lengths(self) -> np.ndarray:
        """int64 [cells]: the length of every cell."""
        return np.concatenate(self.cell_bases)

    def reverse_complements(self) -> Iterator[np.ndarray]:
        return (dna.reverse_complement(stretch) for stretch in self.stretches)

    def finest_labels(self) -> list[np.ndarray] | None:
        """One array a stretch: the annotated classes where there are any, else repeats; None without classes."""
        return [schemes[-1] for schemes in self.labels] if self.class_names else None

    def tally(self, priced: Iterable[np.ndarray | tuple[np.ndarray, np.ndarray]]) -> "Tally":
        """Sum the bits of each base (float [bases] a stretch; NaN where there is no A, C, G, T) to cells and classes.

        A pair of arrays is bits of bases, and bits at the same places that belong to no base and hence to no class.
        Raises ValueError where a base has no finite price.
        """
        classes = len(self.class_names)
        cells, by_class = np.zeros(self.cells), np.zeros((self.cells, classes + 1))
        first = 0
        for values, stretch, lengths, labels in zip(priced, self.stretches, self.cell_bases, self.labels, strict=True):
            bits, without = values if isinstance(values, tuple) else (values, 0.0)
            bits = np.where(dna.is_acgt(stretch), bits, 0.0)
            if not np.isfinite(bits).all():
                raise ValueError("a base without a finite price cannot be summed")
            after = first + len(lengths)
            cell = np.repeat(np.arange(len(lengths)), lengths)
            cells[first:after] = np.bincount(cell, bits + without, minlength=len(lengths))
            for label in labels:
                column = np.minimum(label, classes).astype(np.int64)  # NO_CLASS: a column that is left out
                sums = np.bincount(cell * (classes + 1) + column, bits, minlength=len(lengths) * (classes + 1))
                by_class[first:after] += sums.reshape(len(lengths), classes + 1)
            first = after
        return Tally(cells, by_class[:, :classes])

    def base_counts(self) -> "Tally":
        """A, C, G and T in each cell and class."""
        return self.tally(dna.is_acgt(stretch).astype(np.float64) for stretch in self.stretches)


@dataclass(frozen=True)
class Tally:
    """Sums over the bases of each cell."""

    cells: np.ndarray
    """float64 [cells]."""
    classes: np.ndarray
    """float64 [cells, classes]."""

    @property
    def total(self) -> float:
        return float(self.cells.sum())


def _cells(bases: int) -> np.ndarray:
    return np.diff(np.r_[np.arange(0, max(bases, 1), CELL_BASES), bases])
