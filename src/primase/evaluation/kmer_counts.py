"""How often each base followed each context: the counts under `evaluation.markov`.

Orders up to 11 have dense tables (90 MB in all). Longer contexts are kept as sorted lists, 8 bytes for each
counted base: a context of any order is then a range of the list, so that one list serves every order.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from primase.dna import codes as codes_of
from primase.errors import InputError

MAX_DENSE_ORDER = 11  # 4**12 cells of 4 bytes are 67 MB; one order more would be 268 MB
MAX_ORDER = 21  # 3 bits a base in a 64-bit word
BLOCK_BASES = 4096
BATCH_BASES = 2**20
NO_BASE = 4
_COMPLEMENT = np.array([3, 2, 1, 0, NO_BASE], dtype=np.uint8)


@dataclass(frozen=True)
class Batch:
    """Blocks of windows, laid end to end with a breaking code 4 after each; all arrays are [positions]."""

    codes: np.ndarray  # uint8: A 0, C 1, G 2, T 3, other 4
    own: np.ndarray  # bool: neither a separator nor in a flank, which is there as context only
    window: np.ndarray  # int64: number of the window in the stream
    place: np.ndarray  # int64: place in the window, of separators and flanks too

    @property
    def counted(self) -> np.ndarray:
        """bool [positions]: the blocks' own A, C, G and T, the bases to count or to score."""
        return self.own & (self.codes < NO_BASE)

    def reverse_complement(self) -> "Batch":
        return Batch(_COMPLEMENT[self.codes[::-1]], self.own[::-1], self.window[::-1], self.place[::-1])


def batches(windows: Iterable[np.ndarray], flank_bases: int) -> Iterator[Batch]:
    """Cut long windows into blocks and join blocks into batches of about a million positions.

    A block carries up to `flank_bases` of its window on either side, so that cutting changes no context on
    either strand. An empty window still yields its separator, so that every window is numbered.
    """
    blocks, positions = [], 0
    for window_number, window in enumerate(windows):
        codes = as_codes(window)
        for start in range(0, max(codes.size, 1), BLOCK_BASES):
            stop = min(start + BLOCK_BASES, codes.size)
            left, right = max(start - flank_bases, 0), min(stop + flank_bases, codes.size)
            blocks.append((codes[left:right], start - left, stop - left, window_number, left))
            positions += right - left + 1
            if positions >= BATCH_BASES:
                yield _join(blocks, positions)
                blocks, positions = [], 0
    if blocks:
        yield _join(blocks, positions)


def as_codes(window: np.ndarray) -> np.ndarray:
    """Codes of a window given as ASCII or as codes, uint8 [bases]. Raises InputError for another array."""
    window = np.asarray(window)
    if window.dtype != np.uint8 or window.ndim != 1:
        raise InputError(f"a window must be a uint8 array [bases], not {window.dtype} {list(window.shape)}")
    # ASCII letters are all above 4: a window with nothing above 4 already holds codes.
    return codes_of(window) if window.size and window.max() > NO_BASE else window


def _join(blocks: list[tuple[np.ndarray, int, int, int, int]], positions: int) -> Batch:
    codes = np.full(positions, NO_BASE, dtype=np.uint8)
    own = np.zeros(positions, dtype=bool)
    at = 0
    for part, first, last, *_ in blocks:
        codes[at : at + part.size] = part
        own[at + first : at + last] = True
        at += part.size + 1
    lengths = [part.size + 1 for part, *_ in blocks]
    window = np.repeat([block[3] for block in blocks], lengths)
    ends = np.cumsum(lengths)
    place = np.arange(positions) - np.repeat(ends - lengths - [block[4] for block in blocks], lengths)
    return Batch(codes, own, window, place)


class ContextCounts:
    """Counts of the base that followed each context of 0 to `max_order` bases."""

    def __init__(self, max_order: int, max_listed_contexts: int) -> None:
        if not 0 <= max_order <= MAX_ORDER:
            raise InputError(f"max_order is {max_order}: choose 0 to {MAX_ORDER}")
        self.max_order = max_order
        self.max_listed_contexts = max_listed_contexts
        dense_orders = range(min(max_order, MAX_DENSE_ORDER) + 1)
        self._tables = [np.zeros((4**order, 4), dtype=np.uint32) for order in dense_orders]
        # One list for each following base; the first array of each is sorted, the others wait for `sort`.
        self._lists = [[np.empty(0, dtype=np.uint64)] for _ in range(4)]
        self.listed_contexts = 0

    @classmethod
    def of(
        cls, windows: Iterable[np.ndarray], *, max_order: int, both_strands: bool, max_listed_contexts: int
    ) -> "ContextCounts":
        """Count windows, which may be a stream, and their reverse complements if both strands are asked for.

        Raises InputError for an order outside 0 to 21 and beyond `max_listed_contexts`.
        """
        counts = cls(max_order, max_listed_contexts)
        for batch in batches(windows, flank_bases=max_order):
            counts.add(batch)
            if both_strands:
                counts.add(batch.reverse_complement())
        counts.sort()
        return counts

    def add(self, batch: Batch) -> None:
        """Count the bases of a batch; call `sort` before the next `lookup`."""
        for order, context, known in self._dense_contexts(batch):
            cells = context[known] * 4 + batch.codes[known]
            np.add.at(self._tables[order].reshape(-1), cells, np.uint32(1))
        if self.max_order <= MAX_DENSE_ORDER:
            return
        keys = self._long_contexts(batch.codes)
        long_enough = batch.counted & (self._prefix(keys, MAX_DENSE_ORDER + 1) & np.uint64(7) > 0)
        self.listed_contexts += int(np.count_nonzero(long_enough))
        if self.listed_contexts > self.max_listed_contexts:
            raise InputError(
                f"training bases give over {self.max_listed_contexts:,} contexts of 8 bytes: "
                f"raise max_listed_contexts, or stay at max_order={MAX_DENSE_ORDER}, which needs none"
            )
        for base in range(4):
            self._lists[base].append(keys[long_enough & (batch.codes == base)])

    @property
    def bases(self) -> int:
        """How many bases were counted."""
        return int(self._tables[0].sum())

    def sort(self) -> None:
        for base in range(4):
            merged = np.concatenate(self._lists[base])
            self._lists[base] = []  # frees the parts before the sort needs room
            merged.sort()
            self._lists[base] = [merged]

    def lookup(self, batch: Batch) -> Iterator[np.ndarray]:
        """For each order: how often A, C, G, T followed the context of each counted base, float64 [bases, 4].

        A base with too little context before it has no evidence at that order: four zeros.
        """
        for order, context, known in self._dense_contexts(batch):
            counts = self._tables[order][context[batch.counted]]
            yield counts * known[batch.counted, None].astype(np.float64)
        if self.max_order <= MAX_DENSE_ORDER:
            return
        # Sorted queries walk through the lists in order, which the processor's cache rewards tenfold.
        keys = self._long_contexts(batch.codes)[batch.counted]
        ranking = np.argsort(keys)
        keys = keys[ranking]
        for order in range(MAX_DENSE_ORDER + 1, self.max_order + 1):
            counts = np.empty((keys.size, 4))
            counts[ranking] = self._count_listed(keys, order)
            yield counts

    def _dense_contexts(self, batch: Batch) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """For each dense order: its number, the index of each context and whether it is whole, [positions]."""
        context = np.zeros(batch.codes.size, dtype=np.int64)
        known = batch.counted
        for order in range(len(self._tables)):
            if order:
                base = _shifted(batch.codes, order)
                known = known & (base < NO_BASE)
                context = context * 4 + (base & 3)
            yield order, context, known

    def _long_contexts(self, codes: np.ndarray) -> np.ndarray:
        """The bases before each position, 3 bits each, the nearest highest; 0 from the first break on."""
        keys = np.zeros(codes.size, dtype=np.uint64)
        unbroken = np.ones(codes.size, dtype=bool)
        for distance in range(1, self.max_order + 1):
            base = _shifted(codes, distance)
            unbroken &= base < NO_BASE
            keys <<= np.uint64(3)
            keys |= (base + np.uint8(1)) * unbroken
        return keys

    def _prefix(self, keys: np.ndarray, order: int) -> np.ndarray:
        return keys >> np.uint64(3 * (self.max_order - order))

    def _count_listed(self, keys: np.ndarray, order: int) -> np.ndarray:
        shift = np.uint64(3 * (self.max_order - order))
        prefix = self._prefix(keys, order)
        first, after = prefix << shift, (prefix + np.uint64(1)) << shift
        columns = [np.searchsorted(listed, after) - np.searchsorted(listed, first) for (listed,) in self._lists]
        return np.stack(columns, axis=1) * (prefix & np.uint64(7) > 0)[:, None]


def _shifted(codes: np.ndarray, distance: int) -> np.ndarray:
    """The code `distance` positions before each position; 4 before the start."""
    shifted = np.full(codes.size, NO_BASE, dtype=np.uint8)
    shifted[distance:] = codes[: max(codes.size - distance, 0)]
    return shifted
