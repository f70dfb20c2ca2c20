"""The leakage certificate: how much of the held-out part stands in the training part, letter by letter or in pieces.

What is looked at is held in memory, at most MAX_BASES of it, and the training part is streamed past it: once for the
k-mers and the minimizers, and once more for exact copies where a window has all of its k-mers in the training part.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numba import njit

from primase.corpus.cut import TRAIN
from primase.corpus.ingest import Progress
from primase.corpus.kmers import (
    LARGEST_K,
    HashTable,
    Minimizers,
    Segments,
    kmer_hashes,
    minimizer_hashes,
    mixed,
    place_of,
    with_base,
)
from primase.corpus.pieces import PIECE_BASES, rows_of_part, stretch_pieces, window_pieces
from primase.corpus.store import LEAKAGE_DTYPE, Corpus, draw
from primase.results import Leakage

MAX_BASES = 3 * 2**20
"""Held-out bases that are looked at; each takes about 13 bytes of memory."""

MINIMIZERS = Minimizers(k=19, window=10)
"""Of minimap2's preset for assemblies that differ by a few per cent (asm20; Li 2018)."""


def certify(
    corpus: Corpus,
    *,
    max_bases: int = MAX_BASES,
    seed: int,
    progress: Progress = lambda what, share: None,
    piece_bases: int = PIECE_BASES,
) -> tuple[Leakage, np.ndarray] | None:
    """The certificate, and a structured array [windows] of LEAKAGE_DTYPE with the windows that were looked at.

    The held-out part is looked at, or the validation part where nothing is held out; None where there is neither.
    Where the part has more than `max_bases`, windows are drawn by the seed. Both strands of the training part count,
    and windows of it that touch in the genome are read as one sequence. The case is ignored. N is part of no k-mer; in
    an exact copy N stands for N. k is 31, or the length of the window of the middle base where that is less, windows
    put in order of length; windows shorter than k are not looked at.
    """
    for part in ("heldout", "validation"):
        indices, rows = rows_of_part(corpus, part)
        if len(indices):
            break
    else:
        return None
    windows_of_part = len(indices)
    drawn = draw(rows["length"], max_bases, seed)
    k = min(LARGEST_K, _typical_length(rows["length"][drawn]))
    drawn = drawn[rows["length"][drawn] >= k]
    indices, rows = indices[drawn], rows[drawn]
    minimizers = MINIMIZERS.fitting(_typical_length(rows["length"]))

    look = _Look.at(corpus, rows, k, minimizers, piece_bases)
    look.read_training_part(corpus, lambda share: progress("looking for leakage", 0.9 * share))
    kmers, shared, rarest = look.shares(corpus, rows)
    complete = (kmers > 0) & (shared == kmers)
    windows = np.zeros(len(rows), LEAKAGE_DTYPE)
    windows["window"] = indices
    windows["kmer_share"] = shared / np.maximum(kmers, 1)
    windows["is_exact"][complete] = _exact_copies(corpus, rows[complete], rarest[complete], k, piece_bases)
    progress("looking for leakage", 1.0)
    return Leakage(
        part=part,
        windows=len(rows),
        windows_of_part=windows_of_part,
        kmer_bases=k,
        exact_copy_share=float(windows["is_exact"].mean()),
        half_kmers_share=float(((kmers > 0) & (2 * shared >= kmers)).mean()),
        mean_kmer_share=float(windows["kmer_share"].mean(dtype=np.float64)),
        minimizer_containment=float((look.seen_minimizers > 0).mean()) if len(look.seen_minimizers) else 0.0,
        minimizer_bases=minimizers.k,
        minimizer_window=minimizers.window,
        kmer_share_histogram=np.bincount(np.minimum(10 * shared // np.maximum(kmers, 1), 9), minlength=10).tolist(),
    ), windows


def _typical_length(lengths: np.ndarray) -> int:
    """Half of the bases lie in windows of this length or longer: short ones may be many, and hold little."""
    ascending = np.sort(lengths)
    bases = np.cumsum(ascending, dtype=np.int64)
    return int(ascending[np.searchsorted(bases, bases[-1] / 2)])


def write_certificate(corpus: Corpus, seed: int, progress: Progress = lambda what, share: None) -> None:
    """leakage.json and leakage.npy into the corpus, where something was held out or is there to validate on."""
    certificate = certify(corpus, seed=seed, progress=progress)
    if certificate is not None:
        leakage, windows = certificate
        np.save(corpus.folder / "leakage.npy", windows)
        leakage.write(corpus.folder / "leakage.json")


@dataclass(frozen=True)
class _Look:
    """The k-mers and minimizers of the windows that are looked at, and which of them the training part has."""

    k: int
    minimizers: Minimizers
    piece_bases: int
    kmer_table: HashTable
    minimizer_table: HashTable
    kmer_counts: np.ndarray
    """uint8 [k-mers of the table]: occurrences in the training part, at most 255."""
    seen_minimizers: np.ndarray
    """uint8 [minimizers of the table]: above 0 where it is a minimizer of the training part."""

    @classmethod
    def at(cls, corpus: Corpus, rows: np.ndarray, k: int, minimizers: Minimizers, piece_bases: int) -> "_Look":
        hashes, used = np.empty(int((rows["length"] - k + 1).sum(dtype=np.int64)), np.uint64), 0
        of_minimizers = [np.empty(0, np.uint64)]
        for piece in window_pieces(corpus, rows, piece_bases):
            some = kmer_hashes(piece, k)
            hashes[used : used + len(some)] = some
            used += len(some)
            of_minimizers.append(np.unique(minimizer_hashes(piece, minimizers)[0]))
        kmer_table = HashTable.of(hashes[:used])
        minimizer_table = HashTable.of(np.concatenate(of_minimizers))
        counts, seen = (np.zeros(len(table.hashes), np.uint8) for table in (kmer_table, minimizer_table))
        return cls(k, minimizers, piece_bases, kmer_table, minimizer_table, counts, seen)

    def read_training_part(self, corpus: Corpus, progress: Callable[[float], None]) -> None:
        """One pass. What stands where two pieces overlap is counted twice, which changes no share."""
        chunks, read = corpus.iterate_windows(), 0
        bases = sum(int(chunk["length"][chunk["part"] == TRAIN].sum()) for chunk in chunks)
        overlap = max(self.k, sum(self.minimizers) - 1) - 1
        for piece in stretch_pieces(corpus, "train", overlap, self.piece_bases):
            self.kmer_table.tally(kmer_hashes(piece, self.k), self.kmer_counts)
            self.minimizer_table.tally(minimizer_hashes(piece, self.minimizers)[0], self.seen_minimizers)
            read += int((piece.ends - piece.starts).sum())
            progress(min(1.0, read / bases))

    def shares(self, corpus: Corpus, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """int64 [windows] each: k-mers, those that the training part has, and where in the window the rarest begins."""
        found = []
        for piece in window_pieces(corpus, rows, self.piece_bases):
            kmers, shared, rarest = self.kmer_table.shares(piece, self.k, self.kmer_counts)
            found.append((kmers, shared, rarest - piece.starts))
        kmers, shared, rarest = (np.concatenate(column) for column in zip(*found, strict=True))
        return kmers, shared, rarest


def _exact_copies(corpus: Corpus, rows: np.ndarray, anchors: np.ndarray, k: int, piece_bases: int) -> np.ndarray:
    """Which windows stand letter for letter in the training part, bool [windows].

    `anchors` int64 [windows] says where in each window its rarest k-mer begins: the training part is searched for
    those, and what stands around each is compared with the window, on both strands.
    """
    found = np.zeros(len(rows), bool)
    if not len(rows):
        return found
    pieces = window_pieces(corpus, rows, piece_bases)
    letters = np.concatenate([p.codes[a:b] for p in pieces for a, b in zip(p.starts, p.ends, strict=True)])
    lengths = rows["length"].astype(np.int64)
    starts = np.cumsum(lengths) - lengths
    hashes = kmer_hashes(Segments(letters, starts + anchors, starts + anchors + k), k)
    table = HashTable.of(hashes.copy())
    place = table.places(hashes)
    queries = np.argsort(place, kind="stable")
    first_query = np.searchsorted(place[queries], np.arange(len(table.hashes) + 1))
    wanted = (letters, starts, lengths, anchors, queries, first_query)
    for piece in stretch_pieces(corpus, "train", int(lengths.max()) - 1, piece_bases):
        _compare(*piece, k, *table.arrays, *wanted, found)
    return found


@njit(cache=True)
def _compare(
    codes,
    starts,
    ends,
    k,
    hashes,
    bucket_starts,
    filter_words,
    bucket_shift,
    letters,
    window_starts,
    lengths,
    anchors,
    queries,
    first_query,
    found,
):
    """Set `found` for each window whose anchor stands in a segment with the whole window around it."""
    for segment in range(starts.size):
        forward = backward = np.uint64(0)
        run = 0
        for position in range(starts[segment], ends[segment]):
            if codes[position] > 3:
                run = 0
                continue
            forward, backward = with_base(codes[position], forward, backward, k)
            run += 1
            if run < k:
                continue
            place = place_of(mixed(min(forward, backward)), hashes, bucket_starts, filter_words, bucket_shift)
            if place < 0:
                continue
            begin = position - k + 1
            for query in queries[first_query[place] : first_query[place + 1]]:
                length = lengths[query]
                window = letters[window_starts[query] : window_starts[query] + length]
                as_it_is = begin - anchors[query]
                turned = begin - (length - anchors[query] - k)
                if not found[query] and as_it_is >= starts[segment] and as_it_is + length <= ends[segment]:
                    found[query] = _is_copy(window, codes[as_it_is : as_it_is + length])
                if not found[query] and turned >= starts[segment] and turned + length <= ends[segment]:
                    found[query] = _is_reverse_complement(window, codes[turned : turned + length])


@njit(cache=True)
def _is_copy(window, other):
    for i in range(window.size):  # noqa: SIM110 (numba)
        if window[i] != other[i]:
            return False
    return True


@njit(cache=True)
def _is_reverse_complement(window, other):
    for i in range(window.size):
        code = window[window.size - 1 - i]
        if other[i] != (3 - code if code < 4 else code):
            return False
    return True
