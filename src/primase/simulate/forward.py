"""The exact likelihood of bases under a `GenomeModel`: the forward algorithm, over many windows at once.

With f_t(s) = P(state of base t is s | the bases before t), scaled at every base (Rabiner 1989, section V.A):

    P(x_t | x_<t) = sum_s f_t(s) E[s, context_t, x_t]
    f_{t+1}(s')   = sum_s f_t(s) E[s, context_t, x_t] T[s, s'] / P(x_t | x_<t)

A window is a stretch of the stationary process, whether it is a whole record or cut from its middle: what came
before is unknown and summed over. The first `order` bases are therefore read off the stationary joint distribution
of states and contexts, and the recursion starts after them. Nothing is approximated.
"""

from collections.abc import Sequence

import numpy as np

from primase import dna
from primase.errors import InputError
from primase.simulate.model import GenomeModel

WINDOWS_AT_ONCE = 64  # enough to hide the cost of a numpy call, few enough for the processor's cache
BASES_AT_ONCE = 2**24
"""Padding included; each takes 9 bytes."""


def surprisal_bits(model: GenomeModel, windows: Sequence[np.ndarray]) -> list[np.ndarray]:
    """-log2 P(base | all bases before it in its window) of every base; infinite where the base is impossible.

    `windows` are uint8 ASCII [bases], case ignored, of any lengths, each taken as independent of the others. Returns a
    float64 [bases] for each. Raises InputError for letters other than A, C, G, T.
    """
    codes = [_codes(window, number) for number, window in enumerate(windows)]
    longest_first = sorted(range(len(codes)), key=lambda number: -len(codes[number]))
    surprisals: list[np.ndarray] = [np.empty(0)] * len(codes)
    emissions = np.ascontiguousarray(np.moveaxis(model.emissions, 0, -1)).reshape(-1, model.states)
    while longest_first:
        most = max(1, BASES_AT_ONCE // max(1, len(codes[longest_first[0]])))
        group, longest_first = longest_first[: min(most, WINDOWS_AT_ONCE)], longest_first[min(most, WINDOWS_AT_ONCE) :]
        lengths = np.array([len(codes[number]) for number in group])
        padded = np.zeros((lengths[0], len(group)), np.uint8)
        for column, number in enumerate(group):
            padded[: lengths[column], column] = codes[number]
        bits = _forward(model, emissions, padded, lengths)
        for column, number in enumerate(group):
            surprisals[number] = bits[: lengths[column], column].copy()
    return surprisals


def window_bits(model: GenomeModel, windows: Sequence[np.ndarray]) -> np.ndarray:
    """-log2 P of each window, float64 [windows]; errors as in `surprisal_bits`."""
    return np.array([bits.sum() for bits in surprisal_bits(model, windows)])


def log2_likelihood(model: GenomeModel, bases: np.ndarray) -> float:
    """log2 P(bases), summed over all hidden paths and over all that may have come before; errors as above."""
    return -float(window_bits(model, [bases])[0])


def entropy_bits_per_base(model: GenomeModel, windows: Sequence[np.ndarray]) -> float:
    """-sum log2 P / bases, over windows that were drawn from the model: the code length no model beats on average.

    Raises InputError where the windows hold no base.
    """
    bases = sum(map(len, windows))
    if not bases:
        raise InputError("the windows hold no base, so there is no entropy per base; give windows with bases")
    return float(window_bits(model, windows).sum() / bases)


def _codes(window: np.ndarray, number: int) -> np.ndarray:
    codes = dna.codes(window)
    unknown = np.flatnonzero(codes == dna.UNKNOWN_CODE)
    if unknown.size:
        raise InputError(
            f"window {number}, base {unknown[0]}: {chr(window[unknown[0]])!r} is not A, C, G or T, and the simulated "
            "source emits nothing else; give windows of the simulated genome"
        )
    return codes


def _forward(model: GenomeModel, emissions: np.ndarray, codes: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Surprisal float64 [bases, windows]; `codes` uint8 of that shape, padded, the longest window first.

    `emissions` is [words, states], a word being a context and its base.
    """
    bits, order = np.zeros(codes.shape), model.order
    seen = np.zeros(codes.shape[1], np.int64)  # the context so far, as a number in base 4
    unpredicted = np.ones(codes.shape[1])
    context_share = model.stationary.sum(axis=0)
    for base in range(min(order, len(codes))):
        seen = seen * 4 + codes[base]
        predicted = context_share.reshape(4 ** (base + 1), -1).sum(axis=1)[seen]
        bits[base], unpredicted = _bits(predicted / np.where(unpredicted > 0, unpredicted, 1)), predicted
    if len(codes) <= order:
        return bits
    state_share = model.stationary[:, seen].T
    state_share = state_share / np.where(unpredicted > 0, unpredicted, 1)[:, None]
    windows_left = np.searchsorted(-lengths, -np.arange(len(codes)), side="left")
    for base in range(order, len(codes)):
        left = windows_left[base]
        word = seen[:left] * 4 + codes[base, :left]
        joint = emissions.take(word, axis=0)
        joint *= state_share[:left]
        likelihood = joint.sum(axis=1)
        bits[base, :left] = _bits(likelihood)
        joint /= np.where(likelihood > 0, likelihood, 1)[:, None]
        state_share = model.advance(joint)
        seen = word % model.contexts
    return bits


def _bits(probability: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore"):
        return -np.log2(probability)
