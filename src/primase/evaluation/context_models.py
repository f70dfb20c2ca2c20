"""Finite-context models of the copy mixture: counts of the bases that followed each context, on both strands.

Compiled functions over `Contexts`; each handles one base. A model of order k counts a base after its k bases, and its
inverted repeat: the complement of the base k before, after the reverse complement of the last k bases (Pratas et
al., 2016). The inverted count waits for one base, in which time its cell reaches the processor's cache.
"""

import numpy as np
from numba import njit

from primase.evaluation.copy_mixture_state import NOWHERE

PSEUDOCOUNT_LOW, PSEUDOCOUNT_HIGH = np.float32(1.0), np.float32(0.5)
FASTEST_RATE = np.float32(1 / 512)
ONE = np.uint64(1)


@njit(cache=True)
def hash_of(word):
    """64 well-mixed bits (the finaliser of SplitMix64; Steele et al., 2014)."""
    word = (word ^ (word >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    word = (word ^ (word >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return word ^ (word >> np.uint64(31))


@njit(cache=True)
def lowest_bases(word, order):
    return word & ((ONE << np.uint64(2 * order)) - ONE)


@njit(cache=True)
def find_contexts(contexts, words, known_bases):
    """Where the counts of the next base lie, and those of the inverted contexts that the last base completed."""
    dense_models = contexts.offsets.size
    mask = np.uint64(contexts.hashed.shape[1] - 1)
    forward, inverted = words[0], words[1]
    touched = np.uint32(0)
    for model in range(contexts.orders.size):
        order = contexts.orders[model]
        contexts.slots[model] = NOWHERE
        contexts.waiting[0, model] = NOWHERE
        if known_bases < order:
            continue
        context = lowest_bases(forward, order)
        opposite = inverted >> np.uint64(64 - 2 * order)
        if model < dense_models:
            contexts.slots[model] = contexts.offsets[model] + 4 * np.int64(context)
            cell = contexts.offsets[model] + 4 * np.int64(opposite)
            touched += np.uint32(contexts.dense[contexts.slots[model]]) + np.uint32(contexts.dense[cell])
        else:
            number = model - dense_models
            contexts.hashes[0, number] = hash_of(context + (np.uint64(order) << np.uint64(48)))
            contexts.hashes[1, number] = hash_of(opposite + (np.uint64(order) << np.uint64(48)))
            contexts.slots[model] = np.int64(contexts.hashes[0, number] & mask)
            cell = np.int64(contexts.hashes[1, number] & mask)
            touched += contexts.hashed[number, contexts.slots[model]] + contexts.hashed[number, cell]
        if known_bases > order:
            contexts.waiting[0, model] = cell
            contexts.waiting[1, model] = 3 - np.int64((forward >> np.uint64(2 * order)) & np.uint64(3))
    return touched


@njit(cache=True)
def predict_dense(contexts, probabilities, confidences):
    for model in range(contexts.offsets.size):
        cell = contexts.slots[model]
        if cell == NOWHERE:
            probabilities[model, :] = np.float32(0.25)
            confidences[model] = 0
            continue
        pseudocount = PSEUDOCOUNT_LOW if contexts.orders[model] < 8 else PSEUDOCOUNT_HIGH
        total = 0
        for base in range(4):
            total += np.int64(contexts.dense[cell + base])
        scale = np.float32(1) / (np.float32(total) + 4 * pseudocount)
        for base in range(4):
            probabilities[model, base] = (np.float32(contexts.dense[cell + base]) + pseudocount) * scale
        confidence = 0
        while total > 0:
            confidence += 1
            total >>= 1
        confidences[model] = confidence


@njit(cache=True)
def predict_hashed(contexts, probabilities, confidences):
    """Probabilities by rank: the most frequent base of alike counts. Returns how many of the orders were seen."""
    dense_models = contexts.offsets.size
    seen = 0
    for number in range(contexts.hashed.shape[0]):
        model = dense_models + number
        contexts.count_states[number] = NOWHERE
        counts = np.int64(0)
        if contexts.slots[model] != NOWHERE:
            contexts.slots[model] = _cell_of(contexts.hashed[number], contexts.hashes[0, number])
            if contexts.slots[model] != NOWHERE:
                counts = np.int64(contexts.hashed[number, contexts.slots[model]]) & 0xFFFF
        if counts == 0:
            probabilities[model, :] = np.float32(0.25)
            confidences[model] = 0
            continue
        seen = number + 1
        confidences[model], contexts.count_states[number] = _predict_by_rank(
            counts, contexts.ranks[number], contexts.ranked[number], probabilities[model]
        )
    return seen


@njit(cache=True)
def _predict_by_rank(counts, ranks, ranked, probabilities):
    a, c, g, t = counts & 15, (counts >> 4) & 15, (counts >> 8) & 15, (counts >> 12) & 15
    rank_a = np.int64(c > a) + np.int64(g > a) + np.int64(t > a)
    rank_c = np.int64(a >= c) + np.int64(g > c) + np.int64(t > c)
    rank_g = np.int64(a >= g) + np.int64(c >= g) + np.int64(t > g)
    rank_t = 6 - rank_a - rank_c - rank_g
    ranks[rank_a], ranks[rank_c], ranks[rank_g], ranks[rank_t] = a, c, g, t
    first, second, third, fourth = ranks[0], ranks[1], ranks[2], ranks[3]
    ranks[0], ranks[1], ranks[2], ranks[3] = rank_a, rank_c, rank_g, rank_t
    row = ((first * 8 + min(second, 7)) * 4 + min(third, 3)) * 2 + min(fourth, 1)
    learnt = ranked[row]
    p0, p1, p2, p3 = learnt[0], learnt[1], learnt[2], learnt[3]
    # Bases with equal counts share: their order among one another means nothing.
    if first == second:
        p0 = p1 = (p0 + p1) * np.float32(0.5)
    if third == fourth:
        p2 = p3 = (p2 + p3) * np.float32(0.5)
    if second == third:
        if third == fourth:
            p1 = p2 = p3 = (p1 + p2 + p3) / np.float32(3)
        elif first == second:
            p0 = p1 = p2 = (p0 + p1 + p2) / np.float32(3)
        else:
            p1 = p2 = (p1 + p2) * np.float32(0.5)
    for base in range(4):
        rank = ranks[base]
        probabilities[base] = p0 if rank == 0 else (p1 if rank == 1 else (p2 if rank == 2 else p3))
    if second == 0:
        return 1 + min(first - 1, 3), row
    return 5 + min(first + second + third + fourth - 2, 5), row


@njit(cache=True)
def learn_counts(contexts, base, known_bases):
    """Count the base after its contexts, then what waits of the other strand."""
    dense_models = contexts.offsets.size
    for model in range(dense_models):
        if contexts.slots[model] != NOWHERE:
            _count_dense(contexts.dense, contexts.slots[model], base, contexts.limits[model])
        if contexts.waiting[0, model] != NOWHERE:
            _count_dense(contexts.dense, contexts.waiting[0, model], contexts.waiting[1, model], contexts.limits[model])
    for number in range(contexts.hashed.shape[0]):
        model = dense_models + number
        table = contexts.hashed[number]
        if contexts.count_states[number] != NOWHERE:
            _learn_rank(contexts.ranked[number, contexts.count_states[number]], contexts.ranks[number, base])
        if known_bases >= contexts.orders[model]:
            _count_hashed(table, contexts.slots[model], contexts.hashes[0, number], base)
        if contexts.waiting[0, model] != NOWHERE:
            word = contexts.hashes[1, number]
            _count_hashed(table, _cell_of(table, word), word, contexts.waiting[1, model])


@njit(cache=True)
def _count_dense(counts, cell, base, limit):
    if np.int64(counts[cell + base]) >= limit:
        for other in range(4):
            counts[cell + other] >>= np.uint8(1)
    counts[cell + base] += np.uint8(1)


@njit(cache=True)
def _cell_of(table, word):
    """The cell that holds the counts of a hashed context: one of two neighbours, or NOWHERE."""
    check = np.uint32(word >> np.uint64(48))
    cell = np.int64(word & np.uint64(table.size - 1))
    if table[cell] >> np.uint32(16) == check:
        return cell
    if table[cell ^ 1] >> np.uint32(16) == check:
        return cell ^ 1
    return np.int64(NOWHERE)


@njit(cache=True)
def _count_hashed(table, cell, word, base):
    if cell == NOWHERE:  # takes the place of the rarer neighbour
        cell = np.int64(word & np.uint64(table.size - 1))
        if _total(table[cell ^ 1]) < _total(table[cell]):
            cell ^= 1
        table[cell] = np.uint32(word >> np.uint64(48)) << np.uint32(16)
    counts = table[cell]
    shift = np.uint32(4 * base)
    if (counts >> shift) & np.uint32(15) == np.uint32(15):
        counts = (counts & np.uint32(0xFFFF0000)) | ((counts >> np.uint32(1)) & np.uint32(0x7777))
    table[cell] = counts + (np.uint32(1) << shift)


@njit(cache=True)
def _total(counts):
    counts = np.int64(counts)
    return (counts & 15) + ((counts >> 4) & 15) + ((counts >> 8) & 15) + ((counts >> 12) & 15)


@njit(cache=True)
def _learn_rank(learnt, rank):
    rate = max(FASTEST_RATE, np.float32(1) / (learnt[4] + np.float32(1.5)))
    learnt[4] += np.float32(1)
    for other in range(4):
        target = np.float32(1 - 3e-4) if other == rank else np.float32(1e-4)
        learnt[other] += (target - learnt[other]) * rate
