"""Compiled loops under `kmer_counts` and `markov`: counting, looking up, and the cost of candidate strengths."""

from math import log

import numpy as np
from numba import njit

FACTORS = 16  # probabilities multiplied before a logarithm is taken: 16 of 1e-15 are still a number


@njit(cache=True)
def count_dense(table, codes, positions, order):
    """Count the base at each position after its `order` bases, in uint32 [contexts, 4]; broken contexts not."""
    for position in positions:
        context = context_of(codes, position, order)
        if context >= 0:
            table[context, codes[position]] += np.uint32(1)


@njit(cache=True)
def look_up_dense(table, codes, positions, order, counts):
    """Fill float64 [positions, 4] with the counts after the context of each position; zeros if it is broken."""
    for row in range(positions.size):
        context = context_of(codes, positions[row], order)
        for base in range(4):
            counts[row, base] = table[context, base] if context >= 0 else 0.0


@njit(cache=True)
def context_of(codes, position, order):
    """Index of the `order` codes before a position, the nearest counting most; -1 if one is no base."""
    context = 0
    if position < order:
        return -1
    for distance in range(1, order + 1):
        base = np.int64(codes[position - distance])
        if base > 3:
            return -1
        context = context * 4 + base
    return context


@njit(cache=True)
def count_listed(listed, keys, shifts, counts):
    """Fill float64 [orders, keys] with how many of the sorted list agree with each key down to each order's shift.

    The keys are sorted too: each search goes on from where the last began, and each longer context is looked for
    within the range of the shorter one.
    """
    start = 0
    for number in range(keys.size):
        first, after = start, listed.size
        for row in range(shifts.size):
            prefix = keys[number] >> shifts[row]
            if after == first or prefix & np.uint64(7) == 0:  # 0 marks a broken context, and all longer ones too
                counts[row:, number] = 0.0
                break
            first = _search(listed, prefix << shifts[row], first, after)
            if row == 0:
                start = first
            after = _search(listed, (prefix + np.uint64(1)) << shifts[row], first, after)
            counts[row, number] = after - first


@njit(cache=True)
def _search(listed, key, first, after):
    """The first place from `first` to `after` whose entry is not below the key: by leaps, then by halves."""
    leap = 1
    while first + leap < after and listed[first + leap] < key:
        first += leap
        leap *= 2
    after = min(after, first + leap)
    while first < after:
        middle = (first + after) >> 1
        if listed[middle] < key:
            first = middle + 1
        else:
            after = middle
    return first


@njit(cache=True)
def summarise(counts, bases, edges, of_base, total, bucket):
    """For each row of counts: those of its base, of all bases, and the bucket that `markov` smooths it by."""
    for row in range(counts.shape[0]):
        distinct = 0
        total[row] = 0
        for base in range(4):
            total[row] += counts[row, base]
            distinct += counts[row, base] > 0
        of_base[row] = counts[row, bases[row]]
        size_class = 0
        while size_class < edges.size and total[row] > edges[size_class]:
            size_class += 1
        bucket[row] = size_class * 4 + max(distinct - 1, 0)


@njit(cache=True)
def strength_nats(of_base, total, lower, bucket, strengths, buckets):
    """Cost of the bases of each bucket under each candidate strength, float64 [strengths, buckets]."""
    nats = np.zeros((buckets, strengths.size))
    products = np.ones((buckets, strengths.size))
    factors = np.zeros(buckets, np.int64)
    for i in range(total.size):
        if total[i] == 0:  # nothing was seen, so nothing depends on the strength
            continue
        row = bucket[i]
        for s in range(strengths.size):
            products[row, s] *= (of_base[i] + strengths[s] * lower[i]) / (total[i] + strengths[s])
        factors[row] += 1
        if factors[row] == FACTORS:
            _collect(nats[row], products[row])
            factors[row] = 0
    for row in range(buckets):
        _collect(nats[row], products[row])
    return nats.T


@njit(cache=True)
def _collect(nats, products):
    for s in range(products.size):
        nats[s] -= log(products[s])
        products[s] = 1.0
