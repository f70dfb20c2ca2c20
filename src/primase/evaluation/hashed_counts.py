"""Counts of long contexts in tables of fixed size, for genomes whose sorted lists would not fit into memory.

A cell is 64 bits: 16 of check and four counts of 12. A context may lie in any of the four cells of its bucket. Where
all four are taken, the rarest gives way if it was seen once, and else is halved: of a large genome's contexts most
come once, and the frequent ones stay.
"""

import numpy as np
from numba import njit

from primase.evaluation.context_models import hash_of

CELL_BYTES = 8
BUCKET_CELLS = 4
MOST_COUNT = 4095
_CHECK = np.uint64(0xFFFF) << np.uint64(48)
_HALVES = np.uint64(0x7FF7FF7FF7FF)


def new_table(cells: int) -> np.ndarray:
    """Empty cells, uint64 [the next lower power of two, at least one bucket]."""
    return np.zeros(max(BUCKET_CELLS, 1 << (max(int(cells), 1).bit_length() - 1)), np.uint64)


@njit(cache=True)
def count_hashed(table, words, bases):
    """Count each base, 0 to 3, after the context that its word stands for, uint64 [bases]; 0 is no context."""
    for i in range(words.size):
        if words[i] == 0:
            continue
        word = hash_of(words[i])
        cell = _cell_of(table, word)
        if cell < 0:
            cell = _room_for(table, word)
            if cell < 0:
                continue
        shift = np.uint64(12 * bases[i])
        if (table[cell] >> shift) & np.uint64(MOST_COUNT) == np.uint64(MOST_COUNT):
            table[cell] = _halved(table[cell])
        table[cell] += np.uint64(1) << shift


@njit(cache=True)
def look_up_hashed(table, words, counts):
    """Fill float64 [bases, 4] with how often each base followed the context of each word."""
    for i in range(words.size):
        cell = _cell_of(table, hash_of(words[i])) if words[i] != 0 else -1
        for base in range(4):
            counts[i, base] = (
                np.float64((table[cell] >> np.uint64(12 * base)) & np.uint64(MOST_COUNT)) if cell >= 0 else 0.0
            )


@njit(cache=True)
def _cell_of(table, word):
    first = np.int64(word & np.uint64(table.size - BUCKET_CELLS))
    for cell in range(first, first + BUCKET_CELLS):
        if table[cell] != 0 and (table[cell] ^ word) & _CHECK == 0:
            return cell
    return -1


@njit(cache=True)
def _room_for(table, word):
    """An emptied cell for a new context, or -1 where its bucket is full of contexts that came before."""
    first = np.int64(word & np.uint64(table.size - BUCKET_CELLS))
    rarest = first
    for cell in range(first + 1, first + BUCKET_CELLS):
        if _total(table[cell]) < _total(table[rarest]):
            rarest = cell
    if _total(table[rarest]) > 1:
        table[rarest] = _halved(table[rarest])
        return -1
    table[rarest] = word & _CHECK
    return rarest


@njit(cache=True)
def _halved(cell):
    return (cell & _CHECK) | ((cell >> np.uint64(1)) & _HALVES)


@njit(cache=True)
def _total(cell):
    total = np.int64(0)
    for base in range(4):
        total += np.int64((cell >> np.uint64(12 * base)) & np.uint64(MOST_COUNT))
    return total
