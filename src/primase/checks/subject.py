"""What the self-tests look at, and how they measure: windows of DNA, rows of tokens, prices in nats."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from primase import dna
from primase.corpus.store import Corpus
from primase.errors import InputError
from primase.formats.sequences import read_pieces
from primase.models.build import is_mixture
from primase.results import Check
from primase.scoring import LoadedModel, layer_outputs, score_windows

BASES = 6_000
WINDOW_BASES = 750
"""A self-test looks at windows of at most WINDOW_BASES, BASES in all."""

ROWS = 4
ROW_TOKENS = 128
"""Where single rows are looked at: so many of at most so many tokens."""

LEAST_BASES = 64
"""Shorter windows, the ends of records, are looked at where there are no others."""

LARGEST_FIGURE = 1e30
"""Stands for what is not finite, which JSON cannot hold."""


@dataclass(frozen=True)
class Subject:
    """What is tested, and what it is tested on."""

    loaded: LoadedModel
    windows: list[np.ndarray]
    """uint8 [bases] each: BASES in all."""
    few: list[np.ndarray]
    """The first ROWS of them."""
    rows: list[np.ndarray]
    """int64 [tokens] each: the beginnings of `few`, after the tokenizer's start token."""
    folder: Path | None
    """Where a copy of the model may be written; None for the system's temporary folder."""

    @classmethod
    def of(cls, loaded: LoadedModel, windows: list[np.ndarray], folder: Path | None) -> "Subject":
        """Raises InputError where no window has two tokens."""
        usable = [window for window in _cut(windows) if len(loaded.encoder.encode(window)) >= 2]
        if not usable:
            raise InputError("the self-tests need a sequence of two tokens or more; give longer sequences")
        few, prefix = usable[:ROWS], np.asarray(loaded.encoder.prefix_ids, np.int64)
        longest = min(ROW_TOKENS, loaded.context_tokens)
        rows = [np.concatenate([prefix, ids])[:longest] for ids in loaded.encoder.encode_many(few)]
        return cls(loaded, usable, few, rows, folder)


def _cut(windows: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    bases = 0
    for window in windows:
        if bases >= BASES:
            return
        if len(window):
            yield window[:WINDOW_BASES]
            bases += min(len(window), WINDOW_BASES)


def corpus_windows(corpus: Corpus, seed: int) -> list[np.ndarray]:
    """A fixed draw of windows of LEAST_BASES, where there are any; the corpus is read no further than it is used."""
    lengths, parts = corpus.windows["length"], [corpus.part(name) for name in ("heldout", "validation", "train")]
    enough = [part[lengths[part] >= LEAST_BASES] for part in parts]
    indices = next(part for part in (*enough, *parts) if len(part))
    order = np.random.default_rng(seed).permutation(indices)
    bases = np.cumsum(np.minimum(lengths[order], WINDOW_BASES), dtype=np.int64)
    return list(corpus.iterate(order[: int(np.searchsorted(bases, BASES)) + 1]))


def given_windows(sequences: str | Path | Sequence[str | bytes], column: str | None) -> list[np.ndarray]:
    """From the beginning of a file, without what holds no A, C, G or T, as the ends of chromosomes often do not."""
    if isinstance(sequences, str | Path):
        pieces = read_pieces([sequences], column=column, piece_bases=WINDOW_BASES)
        return list(_cut(dna.to_acgtn(piece.bases) for piece in pieces if dna.is_acgt(piece.bases).any()))
    texts = [text.encode("latin-1", "replace") if isinstance(text, str) else text for text in sequences]
    return [dna.to_acgtn(text) for text in texts]


def random_windows() -> list[np.ndarray]:
    bases = np.random.default_rng(0).choice(np.frombuffer(dna.ACGT, np.uint8), BASES)
    return list(bases.reshape(-1, WINDOW_BASES))


def row_nats(loaded: LoadedModel, rows: list[np.ndarray], targets: list[np.ndarray]) -> list[np.ndarray]:
    """float64 [tokens - 1] for each row: the price of the tokens of `targets` from the second on, in one batch."""
    nats = []
    for logits, ids in zip(layer_outputs(loaded, rows, "logits"), targets, strict=True):
        log_probabilities = torch.log_softmax(torch.from_numpy(logits[:-1]).double(), dim=-1)
        nats.append(-log_probabilities.gather(1, torch.from_numpy(ids[1:, None])).numpy()[:, 0])
    return nats


def window_nats(loaded: LoadedModel, windows: list[np.ndarray]) -> list[np.ndarray]:
    return [score.nats for score in score_windows(loaded, windows)]


def largest(ours: np.ndarray, theirs: np.ndarray) -> float:
    """The largest difference of two arrays; infinite where they are not of one length."""
    if len(ours) != len(theirs):
        return math.inf
    return float(np.abs(ours - theirs).max()) if len(ours) else 0.0


def largest_of(ours: list[np.ndarray], theirs: list[np.ndarray]) -> float:
    return float(np.max([largest(a, b) for a, b in zip(ours, theirs, strict=True)]))


def over_rows(subject: Subject, figures: list[float]) -> float:
    """The largest; in a mixture of experts the one in the middle.

    There rounding alone may decide between two experts that a router likes equally, and the row goes another way: rare,
    and no mistake. A mistake shows in every row.
    """
    if not figures:
        return 0.0
    return float(np.median(figures) if is_mixture(subject.loaded.model.config) else np.max(figures))


def checked(*, name: str, figure: float, unit: str, limit: float, meaning: str, at_least: bool = False) -> Check:
    """What is not finite has not passed, whatever was measured."""
    passed = math.isfinite(figure) and (figure >= limit if at_least else figure <= limit)
    figure = figure if math.isfinite(figure) else LARGEST_FIGURE
    return Check(name=name, passed=passed, figure=figure, unit=unit, limit=limit, meaning=meaning)
