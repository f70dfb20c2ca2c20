"""The model's own price of every base of a sample, on both strands."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np

from primase.evaluation.bits_per_base import base_bits
from primase.evaluation.calibration import Calibration
from primase.evaluation.sample import Sample, Tally
from primase.scoring import LoadedModel, refuse_not_finite, score_windows


@dataclass
class ModelBits:
    """What the model's forward passes over a sample gave."""

    forward: Tally | None = None
    backward: Tally | None = None
    """Of the reverse complements; its cells are those of the forward strand."""
    base_bits: list[np.ndarray] = field(default_factory=list)
    """float16 [bases] of each stretch, forward strand, for pictures."""
    calibration: Calibration = field(default_factory=Calibration)
    tokens: int = 0
    unknown_tokens: int = 0


def model_bits(
    loaded: LoadedModel, sample: Sample, stride_fraction: float, progress: Callable[[str, float], None]
) -> ModelBits:
    """Score every stretch and its reverse complement.

    Raises ModelError where the tokenizer cannot spell a base, or where what the model computes is not finite.
    """
    result = ModelBits()
    all_bases, encoder = 2 * int(sample.lengths.sum()), loaded.encoder
    done = 0

    def priced(is_reverse: bool) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        nonlocal done
        stretches = list(sample.reverse_complements()) if is_reverse else sample.stretches
        scores = score_windows(loaded, stretches, stride_fraction=stride_fraction)
        for stretch, score in zip(stretches, scores, strict=True):
            refuse_not_finite(score.nats)
            with_bases, without = base_bits(stretch, score, encoder.bases_per_token)
            if is_reverse:
                with_bases, without = with_bases[::-1], without[::-1]
            else:
                result.tokens += len(score.ids)
                result.unknown_tokens += encoder.unknown_count(score.ids)
                first = 0 if encoder.prefix_ids else 1  # without a start token the first one is not predicted
                result.calibration.add(score.confidence[first:], score.is_likeliest[first:])
                result.base_bits.append(with_bases.astype(np.float16))
            done += len(stretch)
            progress("scoring", done / all_bases)
            yield with_bases, without

    result.forward = sample.tally(priced(False))
    result.backward = sample.tally(priced(True))
    return result
