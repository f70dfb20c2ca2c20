"""Which stretches of a corpus resemble each other: the minimizers that they share, and the groups that follow from it.

Two units (stretches of a record) are linked where they share enough of their minimizers, on whichever strand; units
that are linked, directly or through others, are one group (single linkage). docs/decisions/0005 says why repeats do not
join everything to everything.
"""

import numpy as np
from numba import njit

from primase.corpus.kmers import Minimizers, drop_repeats, minimizer_hashes
from primase.corpus.pieces import read_segments
from primase.corpus.split import ReadBases

MINIMIZERS = Minimizers(k=15, window=10)
"""minimap2's for reads with errors (Li 2018): in a copy that is 90 % identical, a fifth of the 15-mers is left whole,
and only an eighth of the 19-mers."""

LEAST_SHARED = 3
"""Minimizers that short units must share at least: about 30 bases, by which hardly any two agree by chance."""

NEIGHBOURS = 32
"""A minimizer counts for units that are at most so many places apart in the list of those that have it, so that a
repeat with a thousand copies costs 32 thousand pairs and not half a million. What two units are found to share is exact
for minimizers that fewer have, and never too much."""

MOST_MINIMIZERS = 2**23
"""Of a genome with more of them (46 Mb) only so many are used, chosen by their hashes: the same ones in every unit."""


def linked_groups(read_bases: ReadBases, starts: np.ndarray, ends: np.ndarray, share: float) -> np.ndarray:
    """The group of each unit, int64 [units]: the index of the first unit in it.

    `starts` and `ends`, int64 [units], are the places of the units in the corpus, in order. Two units are linked where
    they have in common at least `share` of the distinct minimizers of the one that has fewer, and LEAST_SHARED of them
    (or all, where it has fewer).
    """
    unit_bits = max(1, len(starts).bit_length())
    packed = _packed_minimizers(read_bases, starts, ends, unit_bits)
    minimizers_of_unit = np.zeros(len(starts), np.int32)
    units, list_ends = np.empty(len(packed), np.int32), np.empty(len(packed), np.int32)
    used = _lists_of_units(packed, unit_bits, minimizers_of_unit, units, list_ends)
    del packed
    units, list_ends = units[:used], list_ends[:used]
    parents = np.arange(len(starts))
    _link(units, list_ends, *_places_of_units(units, len(starts)), minimizers_of_unit, share, parents)
    return _roots(parents)


def _packed_minimizers(read_bases: ReadBases, starts: np.ndarray, ends: np.ndarray, unit_bits: int) -> np.ndarray:
    """uint64 [distinct pairs], sorted: the leading bits of a minimizer's hash, then a unit that has it."""
    expected = 2 / (MINIMIZERS.window + 1) * (ends - starts).sum()
    used_share = min(1.0, MOST_MINIMIZERS / max(expected, 1))
    packed, used = np.empty(int(1.1 * used_share * expected) + 1000, np.uint64), 0
    first_unit, trailing = 0, np.uint64(unit_bits)
    for piece in read_segments(read_bases, [(starts, ends)]):
        hashes, unit = minimizer_hashes(piece, MINIMIZERS)
        if used_share < 1:
            is_used = hashes * np.uint64(0x9E3779B97F4A7C15) <= np.uint64(used_share * 2.0**64)
            hashes, unit = hashes[is_used], unit[is_used]
        if used + len(hashes) > len(packed):
            packed = np.concatenate([packed[:used], np.empty(len(packed) // 2 + len(hashes), np.uint64)])
        packed[used : used + len(hashes)] = (hashes >> trailing << trailing) | (unit + first_unit).astype(np.uint64)
        used += len(hashes)
        first_unit += len(piece.starts)
    packed = packed[:used]
    packed.sort()
    return packed[: drop_repeats(packed)]


@njit(cache=True)
def _lists_of_units(packed, unit_bits, minimizers_of_unit, units, list_ends):
    """Write the units of each minimizer that several have, and for each entry where its list ends; count them all."""
    shift, trailing = np.uint64(unit_bits), (np.uint64(1) << np.uint64(unit_bits)) - np.uint64(1)
    used = begin = 0
    while begin < packed.size:
        end = begin
        while end < packed.size and packed[end] >> shift == packed[begin] >> shift:
            minimizers_of_unit[packed[end] & trailing] += 1
            end += 1
        if end - begin > 1:
            for place in range(begin, end):
                units[used + place - begin] = packed[place] & trailing
                list_ends[used + place - begin] = used + end - begin
            used += end - begin
        begin = end
    return used


@njit(cache=True)
def _places_of_units(units, number_of_units):
    """Where each unit stands in the lists: places sorted by unit, and where those of each unit begin."""
    begins = np.zeros(number_of_units + 1, np.int64)
    for unit in units:
        begins[unit + 1] += 1
    begins = np.cumsum(begins)
    places, used = np.empty(units.size, np.int32), begins.copy()
    for place in range(units.size):
        places[used[units[place]]] = place
        used[units[place]] += 1
    return places, begins


@njit(cache=True)
def _link(units, list_ends, places, begins, minimizers_of_unit, share, parents):
    """Join the groups of every two units that share enough."""
    shared = np.zeros(parents.size, np.int32)
    others = np.empty(parents.size, np.int32)
    for unit in range(parents.size):
        number = 0
        for place in places[begins[unit] : begins[unit + 1]]:
            for other_place in range(place + 1, min(list_ends[place], place + 1 + NEIGHBOURS)):
                other = units[other_place]
                if shared[other] == 0:
                    others[number] = other
                    number += 1
                shared[other] += 1
        for other in others[:number]:
            fewer = min(minimizers_of_unit[unit], minimizers_of_unit[other])
            if shared[other] >= share * fewer and shared[other] >= min(LEAST_SHARED, fewer):
                one, two = _root(unit, parents), _root(other, parents)
                parents[max(one, two)] = min(one, two)
            shared[other] = 0


@njit(cache=True)
def _root(unit, parents):
    while parents[unit] != unit:
        parents[unit] = parents[parents[unit]]
        unit = parents[unit]
    return unit


@njit(cache=True)
def _roots(parents):
    roots = np.empty_like(parents)
    for unit in range(parents.size):
        roots[unit] = _root(unit, parents)
    return roots
