"""The model in company: the mean over its reading frames, and the copy mixture with the model as one more member.

A small network knows what bases follow one another in general; counting and copying know where a stretch stood before.
Neither sees a base before it is priced, so the ensemble of both is a language model as well, and its bits are those
of a compressor.
"""

from collections.abc import Callable, Iterator

import numpy as np

from primase.base_predictions import predict_bases, surprisal
from primase.evaluation.bits_per_base import BlockBootstrap
from primase.evaluation.copy_mixture import CopyMixture
from primase.evaluation.rivals import Priced, as_rival, bits_per_base_by_class
from primase.evaluation.sample import Sample, Tally
from primase.results import Ensemble
from primase.scoring import LoadedModel

LEARNING_BASES = 300_000
"""Of the validation part at most, on which the mixture learns how far to trust the model."""


def can_be_member(loaded: LoadedModel) -> bool:
    """Whether what `predict_bases` gives at a base depends on nothing behind it: for single bases and k-mers.

    A byte-pair tokenizer chooses where tokens end with the bases behind in view.
    """
    return loaded.encoder.regular_k is not None or int(loaded.encoder.letters_per_token.max()) <= 1


def price_ensembles(
    loaded: LoadedModel,
    sample: Sample,
    mixture: CopyMixture,
    validation: list[np.ndarray],
    stride_fraction: float,
    progress: Callable[[float], None],
) -> list[Priced]:
    """`mixture` has read the training bases; `validation` uint8 ASCII [bases] each are stretches beside the sample.

    For a model that `can_be_member`; one of single bases has one reading frame, and no mean over them.
    Raises ModelError where the tokenizer cannot spell the bases letter by letter.
    """
    frames = loaded.encoder.regular_k or 1
    bases = int(sample.lengths.sum()) + sum(map(len, validation))
    done = 0

    def predicted(stretches: list[np.ndarray]) -> Iterator[np.ndarray]:
        nonlocal done
        predictions = predict_bases(loaded, stretches, stride_fraction=stride_fraction)
        for stretch, prediction in zip(stretches, predictions, strict=True):
            yield prediction
            done += len(stretch)
            progress(done / bases)

    with_model = mixture.with_model(validation, predicted(validation))
    frames_bits: list[np.ndarray] = []

    def heard() -> Iterator[np.ndarray]:
        for stretch, prediction in zip(sample.stretches, predicted(sample.stretches), strict=True):
            frames_bits.append(surprisal(prediction, stretch))
            yield prediction

    together = sample.tally(with_model.surprisal(sample.stretches, heard()))
    priced = [Priced("with-copy-mixture", "with the copy mixture", together)]
    if frames > 1:
        priced.insert(0, Priced("frames", f"mean over {frames} reading frames", sample.tally(frames_bits)))
    return priced


def as_ensemble(
    priced: Priced, others: list[Priced], bases: Tally, bootstrap: BlockBootstrap, class_names: tuple[str, ...]
) -> Ensemble:
    """The ensemble beside the others: the model alone, and who has read the same training bases."""
    return Ensemble(
        kind=priced.kind,
        name=priced.name,
        figure=bootstrap.estimate(priced.tally.cells, bases.cells),
        classes=bits_per_base_by_class(priced.tally, bases, class_names),
        rivals=[as_rival(other, priced.tally, bases, bootstrap, class_names) for other in others],
    )
