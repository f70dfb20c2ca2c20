"""How often each letter stands in a piece of a genome."""

import numpy as np
from numba import njit


def count_letters(letters: np.ndarray) -> np.ndarray:
    """int64 [256]: occurrences of each byte in uint8 [letters]; numpy's bincount widens to 64 bits first."""
    counts = np.zeros((4, 256), np.int64)
    _count(letters, counts)
    return counts.sum(axis=0)


@njit(cache=True)
def _count(letters, counts):
    # Four rows, since a processor waits where one counter is raised twice in a row.
    for i in range(letters.size):
        counts[i & 3, letters[i]] += 1
