"""How often each k-mer occurs, for k small enough that all of them fit into an array."""

from collections.abc import Iterable, Iterator

import numpy as np

from primase import dna

PIECE_BASES = 2**20
"""Read at once; some 30 bytes a base are held meanwhile."""


def kmer_counts(sequences: Iterable[np.ndarray | bytes], k: int) -> np.ndarray:
    """int64 [4**k]: every k-mer of A, C, G, T on the strand that is given, its first base most significant."""
    counts = np.zeros(4**k, np.int64)
    for sequence in _joined(sequences):
        for begin in range(0, len(sequence) - k + 1, PIECE_BASES):
            codes = dna.codes(sequence[begin : begin + PIECE_BASES + k - 1])
            numbers, is_known = np.zeros(len(codes) - k + 1, np.int64), np.ones(len(codes) - k + 1, bool)
            for place in range(k):
                letters = codes[place : place + len(numbers)]
                numbers = numbers * 4 + letters
                is_known &= letters < dna.UNKNOWN_CODE
            counts += np.bincount(numbers[is_known], minlength=4**k)
    return counts


def _joined(sequences: Iterable[np.ndarray | bytes]) -> Iterator[np.ndarray | bytes]:
    """Short sequences together, an N between them, which is part of no k-mer: counting has a price for each call."""
    waiting, bases = [], 0
    for sequence in sequences:
        if len(sequence) >= PIECE_BASES:
            yield sequence
            continue
        waiting += [np.frombuffer(sequence, np.uint8), np.frombuffer(b"N", np.uint8)]
        bases += len(sequence)
        if bases >= PIECE_BASES:
            yield np.concatenate(waiting)
            waiting, bases = [], 0
    if waiting:
        yield np.concatenate(waiting)


def both_strands(counts: np.ndarray) -> np.ndarray:
    """Counts [4**k] of k-mers together with those of their reverse complements."""
    k = (len(counts).bit_length() - 1) // 2
    numbers, other = np.arange(len(counts)), np.zeros(len(counts), np.int64)
    for _ in range(k):
        other = other * 4 + 3 - numbers % 4
        numbers //= 4
    return counts + counts[other]
