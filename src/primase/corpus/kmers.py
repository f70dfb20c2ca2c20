"""k-mers and minimizers of both strands: packed two bits a base, hashed, and looked up in sorted tables.

The kernels under `leakage` and `homology`. Bases come as codes of `dna.codes`; a 4 (N and all other letters) is part of
no k-mer. A k-mer and its reverse complement are one: the smaller of the two packed words stands for both.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numba import njit

LARGEST_K = 31
"""Two bits a base in a 64-bit word, and odd, so that no k-mer is its own reverse complement."""

_HASHES_PER_BUCKET = 4
_FILTER_BITS_PER_HASH = 8


class Segments(NamedTuple):
    """Sequences that lie in one array of bases; nothing is read across their ends."""

    codes: np.ndarray
    """uint8 [bases]: A 0, C 1, G 2, T 3, anything else 4."""
    starts: np.ndarray
    """int64 [segments]."""
    ends: np.ndarray
    """int64 [segments], half-open."""


class Minimizers(NamedTuple):
    """The smallest hash among each `window` neighbouring k-mers of `k` bases (Roberts et al. 2004)."""

    k: int
    window: int

    def fitting(self, sequence_bases: int) -> "Minimizers":
        """The same, or smaller ones where a sequence of so many bases would hold none."""
        if sequence_bases >= self.k + self.window - 1:
            return self
        window = max(1, min(self.window, sequence_bases // 3))
        return Minimizers(max(1, min(self.k, sequence_bases - window + 1)), window)


@dataclass(frozen=True)
class HashTable:
    """Distinct hashes, sorted, with what makes a look-up cheap: 10 to 12 bytes a hash in all."""

    hashes: np.ndarray
    """uint64 [hashes]."""
    bucket_starts: np.ndarray
    """uint32 [buckets + 1]: where the hashes with the same leading bits begin."""
    filter_words: np.ndarray
    """uint64 [words]: two bits of one word are set for each hash, so that one look turns most strangers away
    (Bloom 1970; Putze et al. 2007)."""

    @classmethod
    def of(cls, hashes: np.ndarray) -> "HashTable":
        """The table of uint64 hashes given in any order, repeats allowed; the array is overwritten."""
        hashes.sort()
        hashes = hashes[: drop_repeats(hashes)]
        buckets = _power_of_two(len(hashes) // _HASHES_PER_BUCKET)
        bucket_starts = np.zeros(buckets + 1, np.uint32)
        filter_words = np.zeros(_power_of_two(len(hashes) * _FILTER_BITS_PER_HASH // 64), np.uint64)
        _index(hashes, _leading_bits_shift(buckets), bucket_starts, filter_words)
        return cls(hashes, bucket_starts, filter_words)

    @property
    def arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
        """What the kernels take."""
        return self.hashes, self.bucket_starts, self.filter_words, _leading_bits_shift(len(self.bucket_starts) - 1)

    def places(self, hashes: np.ndarray) -> np.ndarray:
        """int64 [hashes]: where each hash stands in the table, -1 where it does not."""
        places = np.empty(len(hashes), np.int64)
        _find_all(hashes, *self.arrays, places)
        return places

    def tally(self, hashes: np.ndarray, counts: np.ndarray) -> None:
        """Add the occurrences of the table's hashes among others to `counts`, uint8 [hashes], which stops at 255."""
        _tally(hashes, *self.arrays, counts)

    def shares(self, segments: Segments, k: int, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """For each segment, int64 [segments]: its k-mers, those with a count above 0, and where its rarest begins.

        The rarest has the smallest count and is the first of equal ones; -1 where there is no k-mer.
        """
        size = len(segments.starts)
        kmers, counted, rarest = np.zeros(size, np.int64), np.zeros(size, np.int64), np.full(size, -1, np.int64)
        _shares(*segments, k, *self.arrays, counts, kmers, counted, rarest)
        return kmers, counted, rarest


def kmer_hashes(segments: Segments, k: int) -> np.ndarray:
    """uint64 [k-mers]: the hash of every k-mer of the segments, in order. k is 1 to LARGEST_K."""
    hashes = np.empty(int(np.maximum(segments.ends - segments.starts - k + 1, 0).sum()), np.uint64)
    return hashes[: _write_kmers(*segments, k, hashes)]


def minimizer_hashes(segments: Segments, minimizers: Minimizers) -> tuple[np.ndarray, np.ndarray]:
    """uint64 [minimizers] in order, and int32 [minimizers] the segment of each; one that stays smallest is one."""
    most = int(np.maximum(segments.ends - segments.starts - sum(minimizers) + 2, 0).sum())
    hashes, segment = np.empty(most, np.uint64), np.empty(most, np.int32)
    used = _write_minimizers(*segments, *minimizers, hashes, segment)
    return hashes[:used], segment[:used]


def _power_of_two(least: int) -> int:
    """The smallest power of two that is not below `least` and not below 2."""
    return 1 << max(1, int(least - 1).bit_length())


def _leading_bits_shift(buckets: int) -> int:
    return 64 - (buckets.bit_length() - 1)


@njit(cache=True, inline="always")
def mixed(word):
    """A bijection of 64-bit words in which every bit depends on every other (splitmix64, Steele et al. 2014)."""
    word = (word ^ (word >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    word = (word ^ (word >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return word ^ (word >> np.uint64(31))


@njit(cache=True, inline="always")
def with_base(code, forward, backward, k):
    """The packed k-mers of both strands after one more base; right once k bases in a row have gone in."""
    base = np.uint64(code)
    forward = ((forward << np.uint64(2)) | base) & ((np.uint64(1) << np.uint64(2 * k)) - np.uint64(1))
    backward = (backward >> np.uint64(2)) | ((np.uint64(3) - base) << np.uint64(2 * k - 2))
    return forward, backward


@njit(cache=True, inline="always")
def filter_word(value, filter_words):
    return (value >> np.uint64(12)) & np.uint64(filter_words.size - 1)


@njit(cache=True, inline="always")
def filter_mask(value):
    one = np.uint64(1)
    return (one << (value & np.uint64(63))) | (one << ((value >> np.uint64(6)) & np.uint64(63)))


@njit(cache=True, inline="always")
def passes(value, filter_words):
    """1 where a hash may be in the table, 0 where it cannot be. Trailing bits: the buckets go by the leading ones."""
    mask = filter_mask(value)
    return np.int64((filter_words[filter_word(value, filter_words)] & mask) == mask)


@njit(cache=True, inline="always")
def place_of(value, hashes, bucket_starts, filter_words, bucket_shift):
    """The place of a hash in the table, -1 where it is not there."""
    if not passes(value, filter_words):
        return np.int64(-1)
    bucket = value >> np.uint64(bucket_shift)
    for place in range(bucket_starts[bucket], bucket_starts[bucket + np.uint64(1)]):
        if hashes[place] == value:
            return np.int64(place)
    return np.int64(-1)


@njit(cache=True)
def drop_repeats(values):
    """Move the distinct ones of sorted values to the front; how many there are."""
    used = 0
    for place in range(values.size):
        if used == 0 or values[place] != values[used - 1]:
            values[used] = values[place]
            used += 1
    return used


@njit(cache=True)
def _index(hashes, bucket_shift, bucket_starts, filter_words):
    for place in range(hashes.size):
        value = hashes[place]
        bucket_starts[(value >> np.uint64(bucket_shift)) + np.uint64(1)] += np.uint32(1)
        filter_words[filter_word(value, filter_words)] |= filter_mask(value)
    for bucket in range(1, bucket_starts.size):
        bucket_starts[bucket] += bucket_starts[bucket - 1]


@njit(cache=True)
def _find_all(values, hashes, bucket_starts, filter_words, bucket_shift, places):
    for i in range(values.size):
        places[i] = place_of(values[i], hashes, bucket_starts, filter_words, bucket_shift)


@njit(cache=True)
def _tally(values, hashes, bucket_starts, filter_words, bucket_shift, counts):
    # Without a branch, the processor fetches many words of the filter at once; one by one takes several times as long.
    candidates = np.empty(values.size, np.uint64)
    used = 0
    for value in values:
        candidates[used] = value
        used += passes(value, filter_words)
    for value in candidates[:used]:
        place = place_of(value, hashes, bucket_starts, filter_words, bucket_shift)
        if place >= 0 and counts[place] < 255:
            counts[place] += np.uint8(1)


@njit(cache=True)
def _write_kmers(codes, starts, ends, k, out):
    used = 0
    for segment in range(starts.size):
        forward = backward = np.uint64(0)
        run = 0
        for position in range(starts[segment], ends[segment]):
            if codes[position] > 3:
                run = 0
                continue
            forward, backward = with_base(codes[position], forward, backward, k)
            run += 1
            if run >= k:
                out[used] = mixed(min(forward, backward))
                used += 1
    return used


@njit(cache=True)
def _shares(codes, starts, ends, k, hashes, bucket_starts, filter_words, bucket_shift, counts, kmers, counted, rarest):
    for segment in range(starts.size):
        forward = backward = np.uint64(0)
        run, smallest = 0, 256
        for position in range(starts[segment], ends[segment]):
            if codes[position] > 3:
                run = 0
                continue
            forward, backward = with_base(codes[position], forward, backward, k)
            run += 1
            if run < k:
                continue
            place = place_of(mixed(min(forward, backward)), hashes, bucket_starts, filter_words, bucket_shift)
            count = np.int64(counts[place]) if place >= 0 else 0
            kmers[segment] += 1
            counted[segment] += count > 0
            if count < smallest:
                smallest = count
                rarest[segment] = position - k + 1


@njit(cache=True)
def _write_minimizers(codes, starts, ends, k, window, out, segment_of):
    recent = np.empty(window, np.uint64)
    used = 0
    for segment in range(starts.size):
        forward = backward = np.uint64(0)
        run, best_at = 0, -1
        best = np.uint64(0)
        for position in range(starts[segment], ends[segment]):
            if codes[position] > 3:
                run, best_at = 0, -1
                continue
            forward, backward = with_base(codes[position], forward, backward, k)
            run += 1
            if run < k:
                continue
            value = mixed(min(forward, backward))
            recent[position % window] = value
            if run < k + window - 1:
                continue
            before = best_at
            if best_at <= position - window:  # none yet, or it has just left the window
                best_at = position - window + 1
                for other in range(position - window + 1, position + 1):
                    if recent[other % window] <= recent[best_at % window]:
                        best_at = other
                best = recent[best_at % window]
            elif value <= best:
                best, best_at = value, position
            if best_at != before:
                out[used] = best
                segment_of[used] = segment
                used += 1
    return used
