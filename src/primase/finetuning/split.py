"""Which rows go to which part: a stratified split that keeps equal sequences together, and copies across parts.

Sequences are equal here where their letters are, on either strand, whatever their case.
"""

from collections.abc import Sequence

import numpy as np

from primase import dna


def strand_free(sequence: str) -> bytes:
    """The same for a sequence and its reverse complement, in any case, U read as T."""
    forward = sequence.upper().replace("U", "T").encode()
    return min(forward, dna.reverse_complement(forward))


def assign(keys: Sequence[bytes], strata: Sequence[object], shares: dict[str, float], seed: int) -> np.ndarray:
    """A part for each row, str [rows]: each of `shares` gets about its share of every stratum.

    Rows of one key stay together and count for the stratum of the first of them. Stratum by stratum, in an order drawn
    with `seed`, a group of rows goes to the part that lacks most of its share of the rows seen so far.
    """
    groups: dict[bytes, list[int]] = {}
    for row, key in enumerate(keys):
        groups.setdefault(key, []).append(row)
    draw = np.random.default_rng(seed).permutation(len(groups))
    of_stratum: dict[object, list[list[int]]] = {}
    members = list(groups.values())
    for place in draw.tolist():
        of_stratum.setdefault(strata[members[place][0]], []).append(members[place])
    parts = np.empty(len(keys), object)
    names = list(shares)
    share, filled, seen = np.array(list(shares.values())), np.zeros(len(shares)), 0
    for stratum in sorted(of_stratum, key=str):
        for rows in of_stratum[stratum]:
            seen += len(rows)
            part = int(np.argmax(share * seen - filled))
            filled[part] += len(rows)
            parts[rows] = names[part]
    return parts


def strata_of(targets: np.ndarray, bins: int = 10) -> list[object]:
    """What a split is to be even in: the class, the labels together, or the decile of a value."""
    if targets.dtype == np.int64:
        return targets.tolist()
    if targets.ndim == 2:
        return [tuple(row) for row in targets.astype(int).tolist()]
    edges = np.quantile(targets, np.arange(1, bins) / bins)
    return np.searchsorted(edges, targets).tolist()


def draw_rows(strata: Sequence[object], most: int, seed: int) -> np.ndarray:
    """int64: `most` row numbers in order, about as many of each stratum as its share; all where there are no more."""
    if len(strata) <= most:
        return np.arange(len(strata))
    keys = [str(row).encode() for row in range(len(strata))]
    drawn = assign(keys, strata, {"left": 1 - most / len(strata), "drawn": most / len(strata)}, seed)
    return np.flatnonzero(drawn == "drawn")[:most]
