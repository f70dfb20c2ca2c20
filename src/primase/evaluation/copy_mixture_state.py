"""Everything that the copy mixture has learnt so far, as plain arrays that compiled loops can read and write.

The sizes are fixed when the state is made; what is learnt later displaces what is older or rarer.
"""

from typing import NamedTuple

import numpy as np

from primase.errors import InputError

NO_BASE = 4
NOWHERE = -1

FAST, MEDIUM, SLOW = 20, 60, 250
DENSE_MODELS = (
    *((order, FAST) for order in (1, 2, 3, 4, 6, 8)),
    *((order, MEDIUM) for order in (9, 10, 11, 12)),
    *((order, SLOW) for order in (3, 6, 9)),
)
"""The order, and the count at which the four counts of a context are halved.

A low limit forgets soon and follows the local composition: human bases gain 10 millibits by it. E. coli gains 3 by
the slow ones.
"""
HASHED_ORDERS = (13, 16, 20)
REPEAT_BASES = (24, 20, 16, 14, 12, 11)
"""A repeat is looked for by its last bases; each length has one forward and one inverted follower."""

OWN_MODELS = len(DENSE_MODELS) + len(HASHED_ORDERS) + 2 * len(REPEAT_BASES)

COUNT_STATES = 1024  # sorted counts of a hashed context: up to 15, 7, 3 and 1
CONFIDENCES = 16
REPEAT_SETS = 5 * 12  # see predict_repeats
LENGTH_CLASSES, MISS_CLASSES = 26, 17
REPEAT_STATES = LENGTH_CLASSES * MISS_CLASSES * 4
FEWEST_BITS, MOST_HASHED_BITS, MOST_INDEX_BITS, MOST_HISTORY_BITS = 12, 25, 24, 28


class Contexts(NamedTuple):
    """Finite-context models: D dense ones, whose counts have a cell for every context, then H hashed ones."""

    orders: np.ndarray  # int64 [D + H]
    limits: np.ndarray  # int64 [D]
    offsets: np.ndarray  # int64 [D]: where the counts of each dense order start
    dense: np.ndarray  # uint8 [cells]: four counts a context
    hashed: np.ndarray  # uint32 [H, power of two]: 16 bits of check, four counts of 4 bits
    slots: np.ndarray  # int64 [D + H]: cell of the current context, or NOWHERE
    hashes: np.ndarray  # uint64 [2, H]: of the current context, and of the inverted context that waits
    waiting: np.ndarray  # int64 [2, D + H]: cell and base of the inverted context to be counted next
    ranks: np.ndarray  # int64 [H, 4]: rank of each base by its count
    count_states: np.ndarray  # int64 [H]: the sorted counts of the current context, or NOWHERE
    ranked: np.ndarray  # float32 [H, COUNT_STATES, 5]: probability of each rank; how often it was learnt


class Repeats(NamedTuple):
    """R followers of repeats; the odd ones follow inverted repeats."""

    bases: np.ndarray  # int64 [R / 2]: least length of a match
    index: np.ndarray  # uint32 [R / 2, power of two]: 3 bits of check, 1 + place after the last occurrence of a word
    candidates: np.ndarray  # int64 [R]: where the last bases occurred before, or NOWHERE
    places: np.ndarray  # int64 [R]: place in the history of the base that is predicted, or NOWHERE
    lengths: np.ndarray  # int64 [R]: bases matched
    misses: np.ndarray  # int64 [R]: the last predictions, one bit each, 1 for a miss
    rows: np.ndarray  # int64 [R]: row of `hits`, or NOWHERE
    predicted: np.ndarray  # int64 [R]
    hits: np.ndarray  # float32 [R, REPEAT_STATES]: probability that the predicted base comes


class Mixer(NamedTuple):
    """Weights of all M = D + H + R models, and of one more if it comes from outside; each the sum over four sets."""

    probabilities: np.ndarray  # float32 [M, 4]: of each model
    confidences: np.ndarray  # int64 [M]: how far each model trusts itself
    logs: np.ndarray  # float32 [M, 4]
    by_repeat: np.ndarray  # float32 [REPEAT_SETS, M]: by the best follower's confidence and its support
    by_context: np.ndarray  # float32 [256, M]: by the last four bases
    by_order: np.ndarray  # float32 [CONFIDENCES, M]: by the longest hashed context that was seen
    by_confidence: np.ndarray  # float32 [M, CONFIDENCES]: by the model's own confidence
    mixed: np.ndarray  # float64 [4]: the distribution of the next base


class State(NamedTuple):
    clock: np.ndarray  # int64 [3]: bases since the last break, place in the history, bases read
    words: np.ndarray  # uint64 [2]: the last 32 bases, 2 bits each, newest lowest; their reverse complement
    history: np.ndarray  # uint8 [power of two]: codes of what was read, as a ring
    contexts: Contexts
    repeats: Repeats
    mixer: Mixer

    @property
    def nbytes(self) -> int:
        return sum(part.nbytes if isinstance(part, np.ndarray) else sum(a.nbytes for a in part) for part in self)

    def copy(self) -> "State":
        parts = (
            part.copy() if isinstance(part, np.ndarray) else type(part)(*(a.copy() for a in part)) for part in self
        )
        return State(*parts)


def new_state(expected_bases: int | None, max_bytes: int) -> State:
    """A state that has read nothing; its tables suit `expected_bases` and are never larger than `max_bytes`.

    Raises InputError where not even the smallest tables fit.
    """
    dense_bytes = sum(4 ** (order + 1) for order, _ in DENSE_MODELS)
    hashed_bits, index_bits, history_bits = _table_bits(expected_bases, max_bytes - dense_bytes)
    return State(
        clock=np.zeros(3, np.int64),
        words=np.zeros(2, np.uint64),
        history=np.full(2**history_bits, NO_BASE, np.uint8),
        contexts=_new_contexts(2**hashed_bits),
        repeats=_new_repeats(2**index_bits),
        mixer=_new_mixer(OWN_MODELS),
    )


def _new_contexts(cells: int) -> Contexts:
    sizes = [4 ** (order + 1) for order, _ in DENSE_MODELS]
    hashed = len(HASHED_ORDERS)
    models = len(DENSE_MODELS) + hashed
    return Contexts(
        orders=np.array([order for order, _ in DENSE_MODELS] + list(HASHED_ORDERS)),
        limits=np.array([limit for _, limit in DENSE_MODELS]),
        offsets=np.cumsum([0, *sizes[:-1]]),
        dense=np.zeros(sum(sizes), np.uint8),
        hashed=np.zeros((hashed, cells), np.uint32),
        slots=np.full(models, NOWHERE),
        hashes=np.zeros((2, hashed), np.uint64),
        waiting=np.full((2, models), NOWHERE),
        ranks=np.zeros((hashed, 4), np.int64),
        count_states=np.full(hashed, NOWHERE),
        ranked=np.tile(_prior_of_ranks(), (hashed, 1, 1)),
    )


def _new_repeats(cells: int) -> Repeats:
    followers = 2 * len(REPEAT_BASES)
    return Repeats(
        bases=np.array(REPEAT_BASES),
        index=np.zeros((len(REPEAT_BASES), cells), np.uint32),
        candidates=np.full(followers, NOWHERE),
        places=np.full(followers, NOWHERE),
        lengths=np.zeros(followers, np.int64),
        misses=np.zeros(followers, np.int64),
        rows=np.full(followers, NOWHERE),
        predicted=np.zeros(followers, np.int64),
        hits=np.tile(_prior_of_hits(), (followers, 1)),
    )


def _new_mixer(models: int) -> Mixer:
    return Mixer(
        probabilities=np.full((models, 4), 0.25, np.float32),
        confidences=np.zeros(models, np.int64),
        logs=np.zeros((models, 4), np.float32),
        by_repeat=np.full((REPEAT_SETS, models), 0.15, np.float32),
        by_context=np.zeros((256, models), np.float32),
        by_order=np.zeros((CONFIDENCES, models), np.float32),
        by_confidence=np.zeros((models, CONFIDENCES), np.float32),
        mixed=np.zeros(4),
    )


def with_room_for_a_model(state: State) -> State:
    """The same state with a last model in the mixer, whose weights are those of one that has learnt nothing."""
    mixer, fresh = state.mixer, _new_mixer(1)
    model_axis = {"by_repeat": 1, "by_context": 1, "by_order": 1}
    parts = {
        name: np.concatenate([getattr(mixer, name), getattr(fresh, name)], axis=model_axis.get(name, 0))
        for name in Mixer._fields
        if name != "mixed"
    }
    return state._replace(mixer=Mixer(**parts, mixed=mixer.mixed))


def _table_bits(expected_bases: int | None, max_bytes: int) -> tuple[int, int, int]:
    """Binary logarithms of the sizes of the hashed tables, the repeat index and the history."""
    needed = 64 if expected_bases is None else max(int(expected_bases), 1).bit_length()
    bits = [min(needed + 1, MOST_HASHED_BITS), min(needed, MOST_INDEX_BITS), min(needed, MOST_HISTORY_BITS)]
    widths = (4 * len(HASHED_ORDERS), 4 * len(REPEAT_BASES), 1)
    bits = [max(size, FEWEST_BITS) for size in bits]
    while sum(width << size for width, size in zip(widths, bits, strict=True)) > max_bytes:
        bytes_of = [width << size if size > FEWEST_BITS else 0 for width, size in zip(widths, bits, strict=True)]
        if not any(bytes_of):
            raise InputError("max_memory_bytes is too small for the copy mixture: allow at least 256 MiB")
        bits[int(np.argmax(bytes_of))] -= 1
    return bits[0], bits[1], bits[2]


def _prior_of_ranks() -> np.ndarray:
    """Probabilities of the ranks before anything is learnt, from the counts themselves: [COUNT_STATES, 5]."""
    state = np.arange(COUNT_STATES)
    counts = np.stack([state >> 6, (state >> 3) & 7, (state >> 1) & 3, state & 1], axis=1) + 0.3
    return np.concatenate([counts / counts.sum(axis=1, keepdims=True), np.zeros((COUNT_STATES, 1))], 1).astype("f4")


def _prior_of_hits() -> np.ndarray:
    length, misses, _ = np.unravel_index(np.arange(REPEAT_STATES), (LENGTH_CLASSES, MISS_CLASSES, 4))
    return np.clip(0.5 + 0.02 * length - 0.06 * misses, 0.3, 0.995).astype(np.float32)
