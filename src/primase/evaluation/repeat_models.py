"""Repeat ("copy") models of the copy mixture: each follows an earlier stretch, forward or inverted, base by base.

After Cao et al. (2007): a follower starts where the last bases occurred before, predicts the base that came then,
and is given up after too many misses. How far to trust it is learnt for its matched length and its last misses.
"""

import numpy as np
from numba import njit

from primase.evaluation.context_models import hash_of, lowest_bases
from primase.evaluation.copy_mixture_state import LENGTH_CLASSES, MISS_CLASSES, NO_BASE, NOWHERE

MOST_VERIFIED_BASES = 32
RATE = np.float32(1 / 128)


@njit(cache=True)
def forget_repeats(repeats):
    repeats.places[:] = NOWHERE
    repeats.rows[:] = NOWHERE


@njit(cache=True)
def predict_repeats(repeats, history, first_model, probabilities, confidences):
    """Probabilities of each follower, the first of which is the model of number `first_model`.

    Returns the number of a weight set: five for each confidence of the surest follower, by how far the others
    agree with it. Followers of one stretch agree, and that they do is news: a rule by which only one may follow a
    stretch cost human bases 16 millibits.
    """
    surest, surest_base, balance = 0, 0, 0
    for follower in range(repeats.places.size):
        model = first_model + follower
        base = np.int64(NO_BASE)
        if repeats.places[follower] != NOWHERE:
            base = np.int64(history[repeats.places[follower]])
        if base == NO_BASE:
            repeats.places[follower] = NOWHERE
            repeats.rows[follower] = NOWHERE
            probabilities[model, :] = np.float32(0.25)
            confidences[model] = 0
            continue
        if follower & 1:
            base = 3 - base
        row = (_length_class(repeats.lengths[follower]) * MISS_CLASSES + _bits_set(repeats.misses[follower])) * 4
        row += repeats.misses[follower] & 3
        repeats.rows[follower] = row
        repeats.predicted[follower] = base
        hit = repeats.hits[follower, row]
        miss = np.float32(1) - hit
        for other in range(4):
            probabilities[model, other] = miss * np.float32(0.25)
        probabilities[model, base ^ 2] = miss * np.float32(0.5)  # the transition, A-G or C-T
        probabilities[model, base] = hit
        confidences[model] = 1 + min(np.int64(hit * np.float32(11)), 10)
        if confidences[model] > surest:
            surest, surest_base = confidences[model], base
    for follower in range(repeats.places.size):
        if repeats.rows[follower] != NOWHERE:
            balance += 1 if repeats.predicted[follower] == surest_base else -2
    return surest * 5 + max(min((balance + 1) >> 1, 4), 0)


@njit(cache=True)
def learn_repeats(repeats, history_size, base):
    """Move each follower on by the base that came; call before the base joins the history."""
    mask = history_size - 1
    for follower in range(repeats.places.size):
        row = repeats.rows[follower]
        if row == NOWHERE:
            continue
        if repeats.predicted[follower] == base:
            repeats.hits[follower, row] += (np.float32(0.9998) - repeats.hits[follower, row]) * RATE
            repeats.lengths[follower] += 1
            repeats.misses[follower] = (repeats.misses[follower] << 1) & 0xFFFF
        else:
            repeats.hits[follower, row] += (np.float32(0.05) - repeats.hits[follower, row]) * RATE
            repeats.lengths[follower] = repeats.lengths[follower] >> 2 if repeats.lengths[follower] >= 16 else 0
            repeats.misses[follower] = ((repeats.misses[follower] << 1) | 1) & 0xFFFF
        repeats.places[follower] = (repeats.places[follower] + (-1 if follower & 1 else 1)) & mask


@njit(cache=True)
def find_repeats(repeats, history, place, words, known_bases):
    """Start followers where the last bases occurred before; call after the base joined the history.

    All words are looked up before the first is followed, so that the reads of memory do not wait for one another.
    """
    index_mask = np.uint64(repeats.index.shape[1] - 1)
    for number in range(repeats.bases.size):
        bases = repeats.bases[number]
        repeats.candidates[2 * number] = repeats.candidates[2 * number + 1] = NOWHERE
        if known_bases < bases:
            continue
        forward = hash_of(lowest_bases(words[0], bases))
        cell = np.int64(forward & index_mask)
        if repeats.lengths[2 * number] < bases or repeats.places[2 * number] == NOWHERE:
            repeats.candidates[2 * number] = _place_of(repeats.index[number, cell], forward)
        if repeats.lengths[2 * number + 1] < bases or repeats.places[2 * number + 1] == NOWHERE:
            inverted = hash_of(words[1] >> np.uint64(64 - 2 * bases))
            candidate = _place_of(repeats.index[number, np.int64(inverted & index_mask)], inverted)
            if candidate != NOWHERE:
                repeats.candidates[2 * number + 1] = (candidate - bases - 1) & (history.size - 1)
        repeats.index[number, cell] = np.uint32(place + 1) | (np.uint32(forward >> np.uint64(61)) << np.uint32(29))
    for follower in range(repeats.places.size):
        if repeats.candidates[follower] != NOWHERE:
            _start(repeats, history, place, follower)


@njit(cache=True)
def _place_of(entry, word):
    """The place that an entry of the index holds, or NOWHERE if its check says that it is of another word."""
    if entry == 0 or entry >> np.uint32(29) != np.uint32(word >> np.uint64(61)):
        return np.int64(NOWHERE)
    return np.int64(entry & np.uint32(0x1FFFFFFF)) - 1


@njit(cache=True)
def _start(repeats, history, place, follower):
    """Follow the candidate if it matches for long enough, and for longer than what is followed now."""
    mask = history.size - 1
    step = -1 if follower & 1 else 1
    matched = 0
    behind, at = place, repeats.candidates[follower]
    while matched < MOST_VERIFIED_BASES:
        behind = (behind - 1) & mask
        at = (at - step) & mask
        newest = np.int64(history[behind])
        earlier = np.int64(history[at])
        if newest == NO_BASE or earlier != (newest if step > 0 else 3 - newest):
            break
        matched += 1
    if matched < repeats.bases[follower >> 1]:
        return
    if repeats.places[follower] == NOWHERE or matched > repeats.lengths[follower]:
        repeats.places[follower] = repeats.candidates[follower]
        repeats.lengths[follower] = matched
        repeats.misses[follower] = 0


@njit(cache=True)
def _length_class(length):
    if length < 16:
        return length
    if length < 32:
        return 16 + ((length - 16) >> 2)
    if length < 96:
        return 20 + ((length - 32) >> 4)
    return LENGTH_CLASSES - 2 if length < 400 else LENGTH_CLASSES - 1


@njit(cache=True)
def _bits_set(word):
    count = 0
    while word > 0:
        count += 1
        word &= word - 1
    return count
