"""How long the evaluation of a run will take on this machine, and what a pretraining takes beside its steps.

A model of one step is trained and evaluated twice, on few and on more bases of the training part, each time with as
many bases to count on as the corpus has for each one to measure. Time is taken to be linear in the bases. Of the
held-out part nothing is measured; the self-tests of the model of one step read some of it.
"""

import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from primase.corpus.store import Corpus
from primase.errors import InputError
from primase.evaluation.ensembles import LEARNING_BASES
from primase.evaluation.evaluate import evaluate
from primase.recipe import Recipe
from primase.training.run import pretrain

FEW_BASES, MORE_BASES = 5_000, 100_000

SAFETY = 1.15
"""Tables of counts that have outgrown the processor's caches are slower a base than those of a rehearsal."""


@dataclass(frozen=True)
class Expected:
    """Seconds."""

    around_training: float
    """The plan, the final model, its self-tests and its report."""
    evaluation: float


def rehearse(corpus: Corpus, recipe: Recipe) -> Expected:
    """Raises InputError where the training part is too small for it."""
    shortest = {
        "training.steps": 1,
        "training.minutes": None,
        "training.epochs": None,
        "training.evaluate_every": "never",
    }
    heldout = corpus.part_bases("heldout")
    validation = corpus.part_bases("validation")
    measured = min(heldout, recipe.evaluation.max_bases or heldout) + min(validation, LEARNING_BASES)
    if not measured:
        raise InputError(f"{corpus.folder}: nothing is held out, so there is nothing to evaluate on")
    counted_per_base = corpus.part_bases("train") / measured
    more = min(MORE_BASES, int(corpus.part_bases("train") / (2 + counted_per_base)))
    few = min(FEW_BASES, more // 4)
    if few < 1:
        raise InputError(f"{corpus.folder}: too few training bases for a rehearsal; give a longer genome")
    with tempfile.TemporaryDirectory() as folder:
        begun = time.perf_counter()
        run = pretrain(corpus.folder, Path(folder, "run"), recipe.replace(shortest)).run
        around_training = time.perf_counter() - begun

        def seconds(bases: int) -> float:
            pieces = _pieces(corpus, [bases, int(bases * counted_per_base)])
            files = [_written(piece, Path(folder, f"{number}.fa")) for number, piece in enumerate(pieces)]
            begun = time.perf_counter()
            evaluate(run, sequences=files[0], count_on=files[1])
            return time.perf_counter() - begun

        seconds(few)  # compiles
        fixed, longer = seconds(few), seconds(more)
    a_base = max(0.0, longer - fixed) / (more - few)
    return Expected(around_training, SAFETY * (fixed + a_base * (measured - few)))


def _pieces(corpus: Corpus, sizes: list[int]) -> Iterator[np.ndarray]:
    """uint8 [bases] of each of the sizes, one after another from the windows of the training part."""
    bases = np.concatenate(list(corpus.iterate(corpus.part("train"))))
    yield from np.split(bases, np.cumsum(sizes))[: len(sizes)]


def _written(bases: np.ndarray, file: Path) -> Path:
    file.write_bytes(b">piece\n" + bases.tobytes() + b"\n")
    return file
