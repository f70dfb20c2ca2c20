"""The sequences of a corpus in pieces of a few hundred kilobases, so that a genome never has to fit in memory."""

from collections.abc import Iterable, Iterator

import numpy as np

from primase import dna
from primase.corpus.cut import PARTS, WINDOW_DTYPE
from primase.corpus.kmers import Segments
from primase.corpus.split import ReadBases
from primase.corpus.store import Corpus, bases_reader

PIECE_BASES = 2**19
"""Bases read at once: some arrays of 8 bytes a base are made of them."""


def rows_of_part(corpus: Corpus, part: str) -> tuple[np.ndarray, np.ndarray]:
    """Indices int64 [windows] of a part and its rows of the table, without the other parts' in memory."""
    indices, rows, before = [np.empty(0, np.int64)], [np.empty(0, WINDOW_DTYPE)], 0
    for chunk in corpus.iterate_windows():
        places = np.flatnonzero(chunk["part"] == PARTS[part])
        indices.append(places + before)
        rows.append(chunk[places])
        before += len(chunk)
    return np.concatenate(indices), np.concatenate(rows)


def window_pieces(corpus: Corpus, rows: np.ndarray, piece_bases: int = PIECE_BASES) -> Iterator[Segments]:
    """Windows, rows of the table in genome order, as segments of their own; about `piece_bases` of the file at once."""
    with bases_reader(corpus.folder) as read_bases:
        yield from read_segments(read_bases, [(rows["start"], rows["start"] + rows["length"])], piece_bases)


def stretch_pieces(corpus: Corpus, part: str, overlap_bases: int, piece_bases: int = PIECE_BASES) -> Iterator[Segments]:
    """The stretches of a part: windows that touch in one record are one segment.

    A stretch longer than a piece is cut into segments that overlap by `overlap_bases`, so that whatever is at most one
    base longer stands in one of them as a whole.
    """
    piece_bases = max(piece_bases, 2 * overlap_bases)
    places = (_cut(*stretches, overlap_bases, piece_bases) for stretches in _stretches(corpus, PARTS[part]))
    with bases_reader(corpus.folder) as read_bases:
        yield from read_segments(read_bases, places, piece_bases)


def _stretches(corpus: Corpus, part: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Starts and ends of a part's stretches in the corpus, int64 [stretches] each, chunk by chunk, in order."""
    left = np.zeros(0, WINDOW_DTYPE)  # the last stretch of a chunk may go on in the next
    left_start = 0
    for chunk in corpus.iterate_windows():
        rows = np.concatenate([left, chunk[chunk["part"] == part]])
        if not len(rows):
            continue
        ends = rows["start"] + rows["length"]
        touches = (rows["start"][1:] == ends[:-1]) & (rows["record"][1:] == rows["record"][:-1])
        first = np.flatnonzero(np.r_[True, ~touches])
        last = np.r_[first[1:], len(rows)] - 1
        starts, ends = rows["start"][first], ends[last]
        if len(left):
            starts[0] = left_start
        yield starts[:-1], ends[:-1]
        left, left_start = rows[-1:].copy(), starts[-1]
    if len(left):
        yield np.array([left_start]), left["start"] + left["length"]


def _cut(starts: np.ndarray, ends: np.ndarray, overlap: int, longest: int) -> tuple[np.ndarray, np.ndarray]:
    """Starts and ends of segments of at most `longest` bases, neighbours of one stretch overlapping."""
    step = longest - overlap
    segments = np.maximum(1, -(-(ends - starts - overlap) // step))
    number = np.arange(segments.sum()) - np.repeat(np.cumsum(segments) - segments, segments)
    cut_starts = np.repeat(starts, segments) + number * step
    return cut_starts, np.minimum(cut_starts + longest, np.repeat(ends, segments))


def read_segments(
    read_bases: ReadBases, places: Iterable[tuple[np.ndarray, np.ndarray]], piece_bases: int = PIECE_BASES
) -> Iterator[Segments]:
    """Segments given by their starts and ends in the corpus, in order: those near each other are read together."""
    for starts, ends in places:
        first = 0
        while first < len(starts):
            begin = int(starts[first])
            after = max(first + 1, int(np.searchsorted(ends, begin + piece_bases, side="right")))
            codes = dna.codes(read_bases(begin, int(ends[after - 1])))
            yield Segments(codes, starts[first:after] - begin, ends[first:after] - begin)
            first = after
