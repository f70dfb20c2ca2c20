"""What generated sequences are held against: the genome's k-mer spectrum, pieces of real DNA, a Markov sample."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from primase import dna

SPECTRUM_BASES = 6
MARKOV_ORDER = 3
"""Below the spectrum's k - 1, so that the sample is not right by construction."""


def divergence_bits(first: np.ndarray, second: np.ndarray) -> float:
    """Jensen-Shannon divergence in bits of two arrays of counts: 0 where they are alike, 1 where nothing is shared."""
    shares = [counts / counts.sum() for counts in (first, second)]
    middle = (shares[0] + shares[1]) / 2

    def entropy(distribution: np.ndarray) -> float:
        some = distribution[distribution > 0]
        return float(-(some * np.log2(some)).sum())

    return max(0.0, entropy(middle) - (entropy(shares[0]) + entropy(shares[1])) / 2)


def markov_sample(counts: np.ndarray, lengths: Sequence[int], stream: np.random.Generator) -> list[bytes]:
    """Sequences of so many bases from the Markov model of order k - 1 with these k-mer counts [4**k], half a count
    added to each."""
    table = (counts + 0.5).reshape(-1, 4)
    context = stream.choice(len(table), size=len(lengths), p=table.sum(axis=1) / table.sum())
    cumulative = (table / table.sum(axis=1, keepdims=True)).cumsum(axis=1)
    codes = np.empty((len(lengths), max(lengths)), np.uint8)
    for place in range(codes.shape[1]):
        codes[:, place] = (stream.random(len(lengths))[:, None] > cumulative[context, :3]).sum(axis=1)
        context = (context * 4 + codes[:, place]) % len(table)
    letters = np.frombuffer(b"ACGT", np.uint8)[codes]
    return [row[:length].tobytes() for row, length in zip(letters, lengths, strict=True)]


def real_pieces(
    stretches: Iterable[np.ndarray], lengths: Sequence[int], stream: np.random.Generator
) -> list[bytes] | None:
    """As many pieces of these lengths, from places drawn evenly, without N; None where there are too few bases."""
    clean = [part for stretch in stretches for part in _clean_parts(stretch)]
    pieces = []
    for length in lengths:
        places = np.array([max(0, len(part) - length + 1) for part in clean], np.int64)
        if not places.sum():
            return None
        place = int(stream.integers(places.sum()))
        part = int(np.searchsorted(places.cumsum(), place, side="right"))
        start = place - int(places[:part].sum())
        pieces.append(dna.to_acgtn(clean[part][start : start + length]).tobytes().upper())
    return pieces


def _clean_parts(stretch: np.ndarray) -> Iterator[np.ndarray]:
    is_base = dna.is_acgt(stretch)
    edges = np.flatnonzero(np.diff(is_base, prepend=False, append=False))
    for start, end in edges.reshape(-1, 2).tolist():
        yield stretch[start:end]
