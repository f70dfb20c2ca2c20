"""Mixing of the copy mixture's models: a weighted sum of their logarithms, the weights learnt by gradient steps.

This is the logistic mixing of the PAQ compressors (Mahoney, 2005) for four letters. The weight of a model is a sum
over sets that are chosen by what is known before the base: so the mixture trusts other models in a repeat than
outside of it.
"""

from math import exp, sqrt

import numpy as np
from numba import njit

from primase.evaluation.copy_mixture_state import Mixer

LEAST_PROBABILITY = 2.0**-14
LAST_STEP, FIRST_STEP, STEP_DECAY = 0.0005, 0.002, 1e-4


def _polynomial() -> tuple[np.float32, ...]:
    """Of degree 6, near the natural logarithm from 1 to 2; errors are below 0.00001."""
    nodes = 1.5 + 0.5 * np.cos(np.pi * (np.arange(7) + 0.5) / 7)
    return tuple(np.float32(c) for c in np.polynomial.polynomial.polyfit(nodes, np.log(nodes), 6))


C0, C1, C2, C3, C4, C5, C6 = _polynomial()
LN2 = np.float32(np.log(2))


@njit(cache=True)
def take_logarithms(mixer: Mixer, exponents, mantissas):
    """Natural logarithms of all probabilities, by arithmetic that the compiler spreads over vectors.

    `exponents` and `mantissas` are room for the parts of the floating-point numbers: float32 and int32, of the size
    of the probabilities.
    """
    bits = mixer.probabilities.reshape(-1).view(np.int32)
    logs = mixer.logs.reshape(-1)
    for i in range(bits.size):
        exponents[i] = np.float32((bits[i] >> np.int32(23)) - np.int32(127))
        mantissas[i] = (bits[i] & np.int32(0x7FFFFF)) | np.int32(0x3F800000)
    between = mantissas.view(np.float32)
    for i in range(bits.size):
        x = between[i]
        logs[i] = LN2 * exponents[i] + (C0 + x * (C1 + x * (C2 + x * (C3 + x * (C4 + x * (C5 + x * C6))))))


@njit(cache=True)
def mix(mixer, repeat, context, order):
    """The distribution of the next base, under the weight sets of these numbers."""
    by_repeat, by_context, by_order = mixer.by_repeat[repeat], mixer.by_context[context], mixer.by_order[order]
    a = c = g = t = np.float32(0)
    for model in range(mixer.confidences.size):
        weight = by_repeat[model] + by_context[model] + by_order[model]
        weight += mixer.by_confidence[model, mixer.confidences[model]]
        a += weight * mixer.logs[model, 0]
        c += weight * mixer.logs[model, 1]
        g += weight * mixer.logs[model, 2]
        t += weight * mixer.logs[model, 3]
    highest = max(max(a, c), max(g, t))
    mixed = mixer.mixed
    mixed[0], mixed[1], mixed[2], mixed[3] = exp(a - highest), exp(c - highest), exp(g - highest), exp(t - highest)
    scale = (1 - 4 * LEAST_PROBABILITY) / (mixed[0] + mixed[1] + mixed[2] + mixed[3])
    for base in range(4):
        mixed[base] = mixed[base] * scale + LEAST_PROBABILITY


@njit(cache=True)
def learn_weights(mixer, repeat, context, order, base, bases_read):
    """A step down the gradient of the base's cost."""
    step = np.float32(LAST_STEP + FIRST_STEP / sqrt(1 + STEP_DECAY * bases_read))
    by_repeat, by_context, by_order = mixer.by_repeat[repeat], mixer.by_context[context], mixer.by_order[order]
    a, c = np.float32(mixer.mixed[0]), np.float32(mixer.mixed[1])
    g, t = np.float32(mixer.mixed[2]), np.float32(mixer.mixed[3])
    for model in range(mixer.confidences.size):
        logs = mixer.logs[model]
        change = step * (logs[base] - (a * logs[0] + c * logs[1] + g * logs[2] + t * logs[3]))
        by_repeat[model] += change
        by_context[model] += change
        by_order[model] += change
        mixer.by_confidence[model, mixer.confidences[model]] += change
