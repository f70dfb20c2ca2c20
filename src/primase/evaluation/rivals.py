"""The rivals of a model, each pricing the very bases that the model did: counting, copying, and no training at all."""

import copy
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from primase import dna
from primase.evaluation.bits_per_base import BlockBootstrap, base_bits
from primase.evaluation.copy_mixture import CopyMixture
from primase.evaluation.markov import MarkovModels
from primase.evaluation.sample import Sample, Tally
from primase.models.build import build_model
from primase.recipe import ModelSettings
from primase.results import Rival
from primase.scoring import LoadedModel, score_windows

PIECE_BASES = 5_000
"""Of the sample, that the untrained twin is scored on: longer than most contexts."""


@dataclass(frozen=True)
class TrainingBases:
    """What the counting rivals learn from."""

    read: Callable[[], Iterable[np.ndarray]]
    """Gives the stretches, uint8 ASCII [bases] each, anew at each call."""
    bases: int


@dataclass(frozen=True)
class Priced:
    """What a predictor paid for a sample."""

    kind: str
    name: str
    tally: Tally


@dataclass(frozen=True)
class Counted(Priced):
    """A rival that prices base by base."""

    base_bits: list[np.ndarray]
    """float16 [bases] of each stretch, for pictures."""

    @classmethod
    def of(cls, kind: str, name: str, sample: Sample, bits: Iterable[np.ndarray]) -> "Counted":
        kept: list[np.ndarray] = []

        def keeping() -> Iterator[np.ndarray]:
            for values in bits:
                kept.append(values.astype(np.float16))
                yield values

        return cls(kind, name, sample.tally(keeping()), kept)


@dataclass(frozen=True)
class MarkovRivals:
    """All orders on the sample, and the best of them base by base."""

    by_order: np.ndarray
    """Bits per base, float64 [orders]."""
    best: Counted

    @property
    def best_order(self) -> int:
        return int(np.argmin(self.by_order))


def markov_rivals(sample: Sample, training: TrainingBases, max_order: int) -> MarkovRivals:
    """Counted on both strands of `training`; the order that does best on the sample is the rival."""
    models = MarkovModels.fit(training.read(), max_order=max_order, both_strands=True)
    score = models.score(sample.stretches, sample.cell_bases)
    best = score.best_order
    bits = (models.surprisal(stretch, best) for stretch in sample.stretches)
    return MarkovRivals(score.bits_per_base, Counted.of("markov", f"Markov, order {best}, both strands", sample, bits))


def read_copy_mixture(sample: Sample, training: TrainingBases | None, progress: Callable[[float], None]) -> CopyMixture:
    """The copy mixture, which has read `training`; its tables have room for the sample too."""
    bases = training.bases if training else 0
    return CopyMixture.fit(
        training.read() if training else (),
        expected_bases=bases + int(sample.lengths.sum()),
        progress=lambda read: progress(read / max(bases, 1)),
    )


def copy_rival(sample: Sample, mixture: CopyMixture) -> Counted:
    """It goes on learning from the sample's own past."""
    return Counted.of("copy-mixture", "copy mixture, both strands", sample, mixture.surprisal(sample.stretches))


def source_rival(sample: Sample, surprisal: Callable[[list[np.ndarray]], list[np.ndarray]]) -> Counted:
    """The simulated source itself."""
    return Counted.of("source", "the simulated source itself", sample, surprisal(sample.stretches))


def untrained_bits_per_base(
    loaded: LoadedModel, settings: ModelSettings, seed: int, sample: Sample, bases: int
) -> float:
    """The same architecture with fresh weights, on pieces of about `bases` in all, drawn evenly from the sample."""
    fresh = build_model(settings, copy.deepcopy(loaded.model.config), seed).eval().to(loaded.model.device)
    twin = replace(loaded, model=fresh)
    pieces = list(evenly(sample.stretches, bases))
    scores = score_windows(twin, pieces, stride_fraction=1.0)
    twin_bits = 0.0
    for piece, score in zip(pieces, scores, strict=True):
        with_bases, without = base_bits(piece, score, twin.encoder.bases_per_token)
        twin_bits += with_bases.sum() + without.sum()
    return float(twin_bits / sum(int(dna.is_acgt(piece).sum()) for piece in pieces))


def evenly(stretches: list[np.ndarray], bases: int) -> Iterator[np.ndarray]:
    """Pieces of PIECE_BASES at even distances, about `bases` in all, that hold a base; the first one always."""
    pieces = [stretch[i : i + PIECE_BASES] for stretch in stretches for i in range(0, len(stretch), PIECE_BASES)]
    pieces = [piece for piece in pieces if dna.is_acgt(piece).any()]
    every = max(1, round(sum(map(len, pieces)) / bases))
    return iter(pieces[::every])


def as_rival(
    rival: Priced, model: Tally, bases: Tally, bootstrap: BlockBootstrap, class_names: tuple[str, ...] = ()
) -> Rival:
    """The rival beside the model: both are resampled together, so that what is hard for both does not widen it."""
    paid = rival.tally
    advantage = 1000 * bootstrap.ratios(paid.cells - model.cells, bases.cells)
    low, high = np.quantile(advantage, (0.025, 0.975))
    return Rival(
        kind=rival.kind,
        name=rival.name,
        bits_per_base=paid.total / bases.total,
        model_advantage_millibits=1000 * (paid.total - model.total) / bases.total,
        low=low,
        high=high,
        classes=bits_per_base_by_class(paid, bases, class_names),
    )


def bits_per_base_by_class(tally: Tally, bases: Tally, class_names: tuple[str, ...]) -> dict[str, float]:
    """Of the classes that have bases."""
    return {
        class_name: float(tally.classes[:, column].sum() / bases.classes[:, column].sum())
        for column, class_name in enumerate(class_names)
        if bases.classes[:, column].sum()
    }
