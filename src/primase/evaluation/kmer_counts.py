"""How often each base followed each context: the counts under `evaluation.markov`.

Orders up to 11 have dense tables (90 MB in all). Longer contexts are kept as sorted lists, 8 bytes for each
counted base: a context of any order is then a range of the list, so that one list serves every order. Genomes for
which that is too much have hashed tables of fixed size instead (`hashed_counts`).
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from primase.dna import codes as codes_of
from primase.errors import InputError
from primase.evaluation.counting_loops import count_dense, count_listed, look_up_dense
from primase.evaluation.hashed_counts import CELL_BYTES, count_hashed, look_up_hashed, new_table

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

    def __init__(self, max_order: int, max_listed_contexts: int, hashed_bytes: int | None = None) -> None:
        if not 0 <= max_order <= MAX_ORDER:
            raise InputError(f"max_order is {max_order}: choose 0 to {MAX_ORDER}")
        self.max_order = max_order
        self.max_listed_contexts = max_listed_contexts
        dense_orders = range(min(max_order, MAX_DENSE_ORDER) + 1)
        self._tables = [np.zeros((4**order, 4), dtype=np.uint32) for order in dense_orders]
        self._long_orders = range(MAX_DENSE_ORDER + 1, max_order + 1)
        # One list for each following base; the first array of each is sorted, the others wait for `sort`.
        self._lists = [[np.empty(0, dtype=np.uint64)] for _ in range(4)]
        self.listed_contexts = 0
        self._hashed = None
        if hashed_bytes is not None and self._long_orders:
            cells = hashed_bytes // CELL_BYTES // len(self._long_orders)
            self._hashed = [new_table(cells) for _ in self._long_orders]

    @classmethod
    def of(
        cls,
        windows: Iterable[np.ndarray],
        *,
        max_order: int,
        both_strands: bool,
        max_listed_contexts: int,
        hashed_bytes: int | None = None,
    ) -> "ContextCounts":
        """Count windows, which may be a stream, and their reverse complements if both strands are asked for.

        With `hashed_bytes`, orders above 11 are counted in hashed tables of that size in all: rare contexts may be
        missing. Raises InputError for an order outside 0 to 21 and, without it, beyond `max_listed_contexts`.
        """
        counts = cls(max_order, max_listed_contexts, hashed_bytes)
        for batch in batches(windows, flank_bases=max_order):
            counts.add(batch)
            if both_strands:
                counts.add(batch.reverse_complement())
        counts.sort()
        return counts

    def add(self, batch: Batch) -> None:
        """Count the bases of a batch; call `sort` before the next `lookup`."""
        counted = np.flatnonzero(batch.counted)
        for order, table in enumerate(self._tables):
            count_dense(table, batch.codes, counted, order)
        if not self._long_orders:
            return
        keys, bases = self._long_contexts(batch.codes)[counted], batch.codes[counted]
        if self._hashed is not None:
            for order, table in zip(self._long_orders, self._hashed, strict=True):
                count_hashed(table, self._words(keys, order), bases)
            return
        long_enough = self._words(keys, MAX_DENSE_ORDER + 1) > 0
        self.listed_contexts += int(np.count_nonzero(long_enough))
        if self.listed_contexts > self.max_listed_contexts:
            raise InputError(
                f"training bases give over {self.max_listed_contexts:,} contexts of 8 bytes: "
                f"raise max_listed_contexts, or stay at max_order={MAX_DENSE_ORDER}, which needs none"
            )
        for base in range(4):
            self._lists[base].append(keys[long_enough & (bases == base)])

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
        counted = np.flatnonzero(batch.counted)
        for order, table in enumerate(self._tables):
            counts = np.empty((counted.size, 4))
            look_up_dense(table, batch.codes, counted, order, counts)
            yield counts
        if not self._long_orders:
            return
        keys = self._long_contexts(batch.codes)[counted]
        if self._hashed is not None:
            for order, table in zip(self._long_orders, self._hashed, strict=True):
                counts = np.empty((counted.size, 4))
                look_up_hashed(table, self._words(keys, order), counts)
                yield counts
            return
        # Sorted queries walk through the lists in order, which the processor's cache rewards tenfold.
        ranking = np.argsort(keys)
        keys = keys[ranking]
        shifts = np.array([3 * (self.max_order - order) for order in self._long_orders], dtype=np.uint64)
        columns = np.empty((4, shifts.size, keys.size))
        for base, (listed,) in enumerate(self._lists):
            count_listed(listed, keys, shifts, columns[base])
        for row in range(shifts.size):
            counts = np.empty((keys.size, 4))
            counts[ranking] = columns[:, row].T
            yield counts

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

    def _words(self, keys: np.ndarray, order: int) -> np.ndarray:
        """The contexts of one order, uint64 [bases]; 0 where a context is broken before."""
        words = keys >> np.uint64(3 * (self.max_order - order))
        return words * (words & np.uint64(7) > 0)


def _shifted(codes: np.ndarray, distance: int) -> np.ndarray:
    """The code `distance` positions before each position; 4 before the start."""
    shifted = np.full(codes.size, NO_BASE, dtype=np.uint8)
    shifted[distance:] = codes[: max(codes.size - distance, 0)]
    return shifted
