"""Repeat ("copy") models of the copy mixture: each follows an earlier stretch, forward or inverted, base by base.

After Cao et al. (2007): a follower starts where the last bases occurred before, predicts the base that came then,
and is given up after too many misses. How far to trust it is learnt for its matched length and its last misses.
"""

import numpy as np
from numba import njit

from primase.evaluation.context_models import hash_of, lowest_bases
from primase.evaluation.copy_mixture_state import LENGTH_CLASSES, MISS_CLASSES, NO_BASE, NOWHERE

MOST_VERIFIED_BASES = 32
MOST_MISSES = 16  # of the last 16: only a longer match displaces a follower
RATE = np.float32(1 / 128)


@njit(cache=True)
def forget_repeats(repeats):
    repeats.places[:] = NOWHERE
    repeats.rows[:] = NOWHERE


@njit(cache=True)
def predict_repeats(repeats, history, probabilities, confidences):
    """Probabilities of each follower. Returns the confidence of the surest."""
    first_model = confidences.size - repeats.places.size
    surest = 0
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
        surest = max(surest, confidences[model])
    return surest


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
            if _bits_set(repeats.misses[follower]) > MOST_MISSES:
                repeats.places[follower] = NOWHERE
                continue
        repeats.places[follower] = (repeats.places[follower] + (-1 if follower & 1 else 1)) & mask


@njit(cache=True)
def find_repeats(repeats, history, place, words, known_bases):
    """Start followers where the last bases occurred before; call after the base joined the history."""
    mask = history.size - 1
    index_mask = np.uint64(repeats.index.shape[1] - 1)
    for number in range(repeats.bases.size):
        bases = repeats.bases[number]
        if known_bases < bases:
            continue
        word = np.int64(hash_of(lowest_bases(words[0], bases)) & index_mask)
        follower = 2 * number
        if repeats.places[follower] == NOWHERE or repeats.lengths[follower] < bases:
            candidate = np.int64(repeats.index[number, word])
            _start(repeats, history, place, follower, candidate, bases, 1)
        follower += 1
        if repeats.places[follower] == NOWHERE or repeats.lengths[follower] < bases:
            opposite = np.int64(hash_of(words[1] >> np.uint64(64 - 2 * bases)) & index_mask)
            candidate = np.int64(repeats.index[number, opposite])
            if candidate != NOWHERE:
                candidate = (candidate - bases - 1) & mask
            _start(repeats, history, place, follower, candidate, bases, -1)
        repeats.index[number, word] = place


@njit(cache=True)
def _start(repeats, history, place, follower, candidate, bases, step):
    if candidate == NOWHERE:
        return
    for other in range(follower & 1, repeats.places.size, 2):
        if repeats.places[other] == candidate:
            return  # one follower is enough
    mask = history.size - 1
    matched = 0
    behind, at = place, candidate
    while matched < MOST_VERIFIED_BASES:
        behind = (behind - 1) & mask
        at = (at - step) & mask
        newest = np.int64(history[behind])
        earlier = np.int64(history[at])
        if newest == NO_BASE or earlier != (newest if step > 0 else 3 - newest):
            break
        matched += 1
    if matched >= bases and (repeats.places[follower] == NOWHERE or matched > repeats.lengths[follower]):
        repeats.places[follower] = candidate
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
