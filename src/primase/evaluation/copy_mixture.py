"""The strong rival: an adaptive mixture of finite-context models and repeat models, as in DNA compressors.

In the manner of XM (Cao et al., 2007) and GeCo (Pratas et al., 2016; mixed by gradient steps since Silva et al.,
2020): every base is predicted from all bases before it, then learnt. So its bits are those of a compressor.
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import repeat as endless
from math import log2

import numpy as np
from numba import njit

from primase.evaluation.context_models import find_contexts, learn_counts, predict_dense, predict_hashed
from primase.evaluation.copy_mixture_state import (
    CONFIDENCES,
    NO_BASE,
    NOWHERE,
    OWN_MODELS,
    State,
    new_state,
    with_room_for_a_model,
)
from primase.evaluation.kmer_counts import as_codes
from primase.evaluation.mixing import learn_weights, mix, take_logarithms
from primase.evaluation.repeat_models import find_repeats, forget_repeats, learn_repeats, predict_repeats

PIECE_BASES = 2**18
DEFAULT_MEMORY_BYTES = 2**30
NO_PREDICTIONS = np.zeros((0, 4), np.float32)


class CopyMixture:
    """A mixture that has read its training stretches and goes on learning from what it scores.

    Each base is predicted by finite-context models of order 1 to 20, which count both strands, and by followers of
    earlier stretches, forward and inverted. A letter other than A, C, G, T and the end of a stretch break the
    context; what was learnt before stays.
    """

    def __init__(self, state: State) -> None:
        self._state = state

    @classmethod
    def fit(
        cls,
        stretches: Iterable[np.ndarray],
        *,
        expected_bases: int | None = None,
        max_memory_bytes: int = DEFAULT_MEMORY_BYTES,
        progress: Callable[[int], None] = lambda bases: None,
    ) -> "CopyMixture":
        """Read the training stretches, which may be a stream, in their order; none is enough.

        A stretch is uint8 [bases], ASCII of either case or codes of `primase.dna`. `expected_bases`, of training
        and scoring together, sizes the tables; None makes them as large as allowed. `max_memory_bytes` holds for
        two copies of the tables, as `surprisal` works on a copy. `progress` is told the bases read so far.

        Raises InputError for another kind of array, and where not even the smallest tables fit.
        """
        state = new_state(expected_bases, max_memory_bytes // 2)
        bases = 0
        for stretch in stretches:
            for piece in _read_stretch(state, stretch):
                bases += piece.size
                progress(bases)
        return cls(state)

    def with_model(self, stretches: Iterable[np.ndarray], predictions: Iterable[np.ndarray]) -> "CopyMixture":
        """A mixture with one more model, whose predictions are given; `self` does not change.

        How far it is trusted, beside the models that were there, is learnt on these stretches, of which nothing else
        is remembered. `predictions` float32 [bases, 4] of each: probabilities of A, C, G, T given the bases before,
        anything where the base is none of these. Without stretches its weight begins as the others' did.
        """
        state = with_room_for_a_model(self._state.copy())
        for stretch, predicted in zip(stretches, predictions, strict=True):
            for _ in _read_stretch(state, stretch, predicted):
                pass
        return CopyMixture(self._state._replace(mixer=state.mixer))

    def surprisal(
        self, stretches: Iterable[np.ndarray], predictions: Iterable[np.ndarray] | None = None
    ) -> Iterator[np.ndarray]:
        """Bits of each base of each stretch, float32 [bases]; NaN where it is not A, C, G or T.

        A base is priced before it is learnt, and what was read stays known in the stretches after. `self` does
        not change: a second call gives the same bits. `predictions` of a mixture `with_model`, as there: they must
        come from a model that sees no base before it is priced. Raises InputError for an array that `fit` would refuse,
        ValueError for predictions without such a model or the other way round.
        """
        if (predictions is not None) != (self._state.mixer.confidences.size > OWN_MODELS):
            raise ValueError("predictions are for a mixture with_model, which needs them")
        state = self._state.copy()
        given = endless(NO_PREDICTIONS) if predictions is None else predictions
        for stretch, predicted in zip(stretches, given, strict=predictions is not None):
            yield np.concatenate([np.zeros(0, np.float32), *_read_stretch(state, stretch, predicted)])


def _read_stretch(state: State, stretch: np.ndarray, predictions: np.ndarray = NO_PREDICTIONS) -> Iterator[np.ndarray]:
    """Bits of each base, piece by piece; the context goes on from piece to piece."""
    codes = as_codes(stretch)
    _break(state.clock, state.history, state.contexts, state.repeats)
    for start in range(0, codes.size, PIECE_BASES):
        piece = codes[start : start + PIECE_BASES]
        bits = np.empty(piece.size, np.float32)
        _read(*state, piece, predictions[start : start + PIECE_BASES], bits)
        yield bits


@njit(cache=True)
def _read(clock, words, history, contexts, repeats, mixer, codes, predictions, bits):
    """Predict, price and learn one base after the other; `predictions` [bases, 4] are of the mixer's last model."""
    exponents = np.empty(mixer.logs.size, np.float32)
    mantissas = np.empty(mixer.logs.size, np.int32)
    for number in range(codes.size):
        base = np.int64(codes[number])
        if base >= NO_BASE:
            bits[number] = np.nan
            _break(clock, history, contexts, repeats)
            continue
        predict_dense(contexts, mixer.probabilities, mixer.confidences)
        order = predict_hashed(contexts, mixer.probabilities, mixer.confidences)
        repeat = predict_repeats(repeats, history, contexts.orders.size, mixer.probabilities, mixer.confidences)
        context = np.int64(words[0] & np.uint64(255)) if clock[0] >= 4 else 0
        if predictions.shape[0] > 0:
            _predict_as_given(predictions[number], mixer.probabilities, mixer.confidences)
        take_logarithms(mixer, exponents, mantissas)
        mix(mixer, repeat, context, order)
        bits[number] = -log2(mixer.mixed[base])

        learn_weights(mixer, repeat, context, order, base, clock[2])
        learn_counts(contexts, base, clock[0])
        learn_repeats(repeats, history.size, base)
        _remember(clock, words, history, base)
        find_contexts(contexts, words, clock[0])
        find_repeats(repeats, history, clock[1], words, clock[0])


@njit(cache=True)
def _predict_as_given(prediction, probabilities, confidences):
    """The model from outside: its confidence is that of its likeliest base."""
    model = confidences.size - 1
    probabilities[model] = prediction
    likeliest = max(max(prediction[0], prediction[1]), max(prediction[2], prediction[3]))
    confidences[model] = min(np.int64((likeliest - 0.25) / 0.75 * CONFIDENCES), CONFIDENCES - 1)


@njit(cache=True)
def _break(clock, history, contexts, repeats):
    """End of a stretch, or a letter that is no base: nothing follows from what came before."""
    contexts.slots[:] = NOWHERE
    contexts.waiting[:] = NOWHERE
    forget_repeats(repeats)
    if clock[0] > 0:  # a run of N takes one place
        history[clock[1]] = NO_BASE
        clock[1] = (clock[1] + 1) & (history.size - 1)
    clock[0] = 0


@njit(cache=True)
def _remember(clock, words, history, base):
    history[clock[1]] = base
    clock[0] += 1
    clock[1] = (clock[1] + 1) & (history.size - 1)
    clock[2] += 1
    words[0] = (words[0] << np.uint64(2)) | np.uint64(base)
    words[1] = (words[1] >> np.uint64(2)) | (np.uint64(3 - base) << np.uint64(62))
