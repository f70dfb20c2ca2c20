"""The longest stretch of each sequence that a genome has letter for letter, on either strand: exact at any length."""

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numba import njit

from primase import dna

LONGEST_SEED = 12
SHORTEST_SEED = 4


def longest_copies(sequences: Sequence[bytes], genome: Callable[[], Iterable[np.ndarray]]) -> np.ndarray:
    """int64 [sequences]: bases of the longest exact copy of any part of each in the genome, forward or reverse.

    `genome` gives uint8 ASCII stretches [bases] each time that it is called; nothing is read across their ends, and
    only A, C, G and T can be copied. Seeds of the sequences, on both strands, stand in a table; the genome runs
    past it once and every seed that is met is extended. Sequences whose longest copy is shorter than a seed are looked
    at again with shorter ones. Time grows with seeds met, so it is longest for low-complexity sequences.
    """
    longest = np.zeros(len(sequences), np.int64)
    strands = [strand for sequence in sequences for strand in (sequence, dna.reverse_complement(sequence))]
    total = sum(map(len, strands))
    seed = int(np.clip(np.ceil(np.log(max(total, 2)) / np.log(4)), SHORTEST_SEED, LONGEST_SEED))
    left = np.arange(len(sequences))
    while len(left) and seed:
        own = [strand for number in left for strand in strands[2 * number : 2 * number + 2]]
        ends = np.cumsum([len(strand) + 1 for strand in own])
        codes = dna.codes(b"N".join(own) + b"N")
        owner = np.repeat(left.repeat(2), np.diff(ends, prepend=0))
        heads, nexts = np.full(4**seed, -1, np.int32), np.full(len(codes), -1, np.int32)
        _index(codes, seed, heads, nexts)
        for stretch in genome():
            _extend(dna.codes(np.ascontiguousarray(stretch)), codes, owner, seed, heads, nexts, longest)
        # A copy of `seed` bases was found wherever there is one; a shorter seed can only find shorter copies.
        left = left[longest[left] < seed]
        seed -= 1
    return longest


@njit(cache=True)
def _index(codes, seed, heads, nexts):
    mask = (1 << (2 * seed)) - 1
    word = run = 0
    for place in range(codes.size):
        if codes[place] > 3:
            run = 0
            continue
        word = ((word << 2) | codes[place]) & mask
        run += 1
        if run >= seed:
            first = place - seed + 1
            nexts[first] = heads[word]
            heads[word] = first


@njit(cache=True)
def _extend(genome, codes, owner, seed, heads, nexts, longest):
    mask = (1 << (2 * seed)) - 1
    word = run = 0
    for place in range(genome.size):
        if genome[place] > 3:
            run = 0
            continue
        word = ((word << 2) | genome[place]) & mask
        run += 1
        if run < seed:
            continue
        begin = place - seed + 1
        at = heads[word]
        while at >= 0:
            best = longest[owner[at]]
            # Only a copy that is longer than the best one matters: look at its last base first.
            may_win = begin + best < genome.size and at + best < codes.size and genome[begin + best] == codes[at + best]
            if best < seed or may_win:
                length = seed
                while (
                    begin + length < genome.size
                    and genome[begin + length] < 4
                    and genome[begin + length] == codes[at + length]
                ):
                    length += 1
                longest[owner[at]] = max(best, length)
            at = nexts[at]
