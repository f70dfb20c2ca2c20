"""The rivals of every model: interpolated Markov models of order 0 to 16, counted on the training bases.

A badly smoothed order 12 costs 2.6 bits a base on human windows and flatters any neural model. So the smoothing
is fitted, on training bases that are left out of the counts meanwhile: a rival should be strong.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise

import numpy as np

from primase.errors import InputError
from primase.evaluation.counting_loops import strength_nats, summarise
from primase.evaluation.kmer_counts import Batch, ContextCounts, as_codes, batches

MAX_LISTED_CONTEXTS = 2**28  # of the orders beyond the dense tables: 8 bytes each, so 2 GiB; both strands of 134 Mb
HASHED_BYTES = 2**31  # of the tables that take over beyond that
HASHED_FOLD_BYTES = 2**29  # a fold is a tenth of the bases
FOLDS = 10
FITTED_BASES = 2**21  # a quarter of it cost 2 to 3 millibits on human bases: their repeats are few and long
STRENGTHS = 2.0 ** np.arange(-5, 17)  # candidates; the loss is flat between neighbours
COUNT_EDGES = np.array([2, 8, 32, 128])
BUCKETS = 4 * (COUNT_EDGES.size + 1)
UNFITTED_STRENGTH = 16.0  # for an order whose contexts are new in every fold
POOLED_BASES = 200.0  # a bucket seen less often than this leans on all buckets of its order


@dataclass(frozen=True)
class MarkovScore:
    """Surprisal of windows under every order: bits float64 [windows, orders], bases scored int64 [windows]."""

    bits: np.ndarray
    bases: np.ndarray

    @property
    def bits_per_base(self) -> np.ndarray:
        """Over all windows, float64 [orders]; NaN where no base was scored."""
        bases = int(self.bases.sum())
        return self.bits.sum(axis=0) / bases if bases else np.full(self.bits.shape[1], np.nan)

    @property
    def best_order(self) -> int:
        """The order that predicts these very windows best: the rival gets every advantage.

        Raises InputError where no base was scored.
        """
        if not self.bases.sum():
            raise InputError("the windows hold no A, C, G or T: no order is best, give windows with bases")
        return int(np.argmin(self.bits.sum(axis=0)))


class MarkovModels:
    """Interpolated Markov models of every order up to `max_order`, over one set of counts.

    Order k shrinks the counts n of its context c towards order k - 1, and order 0 towards 1/4:

        p_k(b | c) = (n(c, b) + s p_{k-1}(b | c')) / (n(c) + s)

    This is the hierarchical Dirichlet estimate of MacKay and Peto (1995), with a strength s for each order and
    for each bucket of contexts alike in how often they were seen (the bucketing of Jelinek and Mercer, 1980) and
    in how many different bases followed them (the criterion of Witten and Bell, 1991). A context that was never
    seen, or that is cut short by a window's start or by a letter other than A, C, G, T, leaves p_{k-1} as it is.
    """

    def __init__(self, counts: ContextCounts, strengths: np.ndarray) -> None:
        self.counts = counts
        self.strengths = strengths  # float64 [orders, BUCKETS]

    @property
    def max_order(self) -> int:
        return self.counts.max_order

    @classmethod
    def fit(
        cls,
        windows: Iterable[np.ndarray],
        *,
        max_order: int = 16,
        both_strands: bool = True,
        max_listed_contexts: int | None = None,
    ) -> "MarkovModels":
        """Count the training windows, which may be a stream, and fit the strengths.

        A window is uint8 [bases], ASCII of either case or codes of `primase.dna`. The strengths are those with
        which the counts of all training bases but one tenth predict that tenth, over the ten tenths of the
        stream (deleted interpolation). Each tenth is one stretch: of neighbours, which share their repeats,
        one would flatter the high orders when predicting the other.

        Memory: 90 MB twice, up to 320 MB for fitting and 1 byte a base; above order 11 another 8 bytes a base on
        each strand, and a third of that again while sorting. Above 134 Mb on both strands, which is 2 GiB, the
        contexts above order 11 are counted in hashed tables instead, of 2 GiB and 512 MiB whatever the genome, which
        leave out rare contexts. `max_listed_contexts` asks for exact counts whatever they take, up to that number.

        Raises InputError for windows without any base, beyond that number, or for an order outside 0 to 21.
        """
        training = [as_codes(window) for window in windows]
        contexts = (1 + both_strands) * sum(window.size for window in training)
        hashed = max_listed_contexts is None and contexts > MAX_LISTED_CONTEXTS

        def count(windows: list[np.ndarray], hashed_bytes: int) -> ContextCounts:
            return ContextCounts.of(
                windows,
                max_order=max_order,
                both_strands=both_strands,
                max_listed_contexts=max_listed_contexts or MAX_LISTED_CONTEXTS,
                hashed_bytes=hashed_bytes if hashed else None,
            )

        counts = count(training, HASHED_BYTES)
        if not counts.bases:
            raise InputError("the training windows hold no A, C, G or T: nothing to count, give other windows")
        evidence = []
        for fold in _folds(training):
            evidence += _evidence(counts, fold, own=count(fold, HASHED_FOLD_BYTES))
        return cls(counts, _fit_strengths(evidence))

    def score(self, windows: Iterable[np.ndarray], cell_bases: Sequence[np.ndarray] | None = None) -> MarkovScore:
        """Surprisal of each window, which may be a stream, under every order.

        Each window starts with no context. A letter other than A, C, G, T breaks the context and is not scored.
        `cell_bases`, int64 [cells] for each window, cuts the windows into cells of these lengths: the sums are then
        those of cells, while the context goes on across their borders.
        """
        cells = None if cell_bases is None else _Cells(cell_bases)
        bits = np.zeros((cells.count if cells else 0, self.max_order + 1))
        bases = np.zeros(len(bits), dtype=np.int64)
        for batch in batches(windows, flank_bases=self.max_order):
            if cells is None:
                number = batch.window[batch.counted]
                new_windows = int(batch.window[-1]) + 1 - bases.size
                bits = np.concatenate([bits, np.zeros((new_windows, bits.shape[1]))])
                bases = np.concatenate([bases, np.zeros(new_windows, dtype=np.int64)])
            else:
                number = cells.of_counted(batch)
            if not number.size:
                continue
            first, after = int(number.min()), int(number.max()) + 1
            bases[first:after] += np.bincount(number - first, minlength=after - first)
            for order, surprisal in enumerate(self._surprisals(batch)):
                bits[first:after, order] += np.bincount(number - first, surprisal, minlength=after - first)
        return MarkovScore(bits, bases)

    def surprisal(self, window: np.ndarray, order: int) -> np.ndarray:
        """Bits of each base of one window under one order, float64 [bases]; NaN where it is not A, C, G or T.

        Raises InputError for an order that was not counted.
        """
        if not 0 <= order <= self.max_order:
            raise InputError(f"order {order} was not counted: choose 0 to {self.max_order}")
        bits = np.full(np.size(window), np.nan)
        parts, is_base = [], []
        for batch in batches([window], flank_bases=self.max_order):
            parts.append(next(islice(self._surprisals(batch), order, None)))
            is_base.append(batch.counted[batch.own])
        bits[np.concatenate(is_base)] = np.concatenate(parts)
        return bits

    def _surprisals(self, batch: Batch) -> Iterator[np.ndarray]:
        """Bits of each counted base, float64 [bases], order by order."""
        base = batch.codes[batch.counted]
        probability = np.full(base.size, 0.25)
        for counts, strengths in zip(self.counts.lookup(batch), self.strengths, strict=True):
            of_base, total, bucket = _summary(counts, base)
            probability = _shrink(of_base, total, probability, strengths[bucket])
            yield -np.log2(probability)


class _Cells:
    """Finds the cell of every base of windows that are cut into cells."""

    def __init__(self, cell_bases: Sequence[np.ndarray]) -> None:
        self.count = sum(map(len, cell_bases))
        self._cell_ends = np.cumsum(np.concatenate(cell_bases))
        window_bases = [int(cells.sum()) for cells in cell_bases]
        self._window_starts = np.cumsum(window_bases) - window_bases

    def of_counted(self, batch: Batch) -> np.ndarray:
        """int64 [counted bases]: the number of each one's cell, counted through all windows."""
        counted = batch.counted
        place = self._window_starts[batch.window[counted]] + batch.place[counted]
        return np.searchsorted(self._cell_ends, place, side="right")


def _shrink(of_base: np.ndarray, total: np.ndarray, lower: np.ndarray, strength: np.ndarray) -> np.ndarray:
    return (of_base + strength * lower) / (total + strength)


def _summary(counts: np.ndarray, base: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of each context: count of the base that came and of any, float64 [bases], and its bucket, uint8 [bases].

    The bucket is by the count and by the number of different next bases.
    """
    of_base, total, bucket = (np.empty(base.size, kind) for kind in ("f8", "f8", "u1"))
    summarise(counts, base, COUNT_EDGES, of_base, total, bucket)
    return of_base, total, bucket


def _folds(windows: list[np.ndarray]) -> Iterator[list[np.ndarray]]:
    """Tenths of the bases, each a stretch of the stream, cut into pieces of at most 4,096 bases."""
    piece_bases = min(1 + sum(window.size for window in windows) // 100, 4096)
    pieces = [window[start : start + piece_bases] for window in windows for start in range(0, window.size, piece_bases)]
    ends = np.cumsum([piece.size for piece in pieces])
    limits = np.searchsorted(ends, np.linspace(0, ends[-1], FOLDS + 1), side="right")
    for first, after in pairwise(limits):
        yield pieces[first:after]


@dataclass(frozen=True)
class _Evidence:
    """What training bases outside its fold say about each sampled base; all arrays are [orders, bases]."""

    of_base: np.ndarray  # float32: times that this base followed its context
    total: np.ndarray  # float32: times that any base did
    bucket: np.ndarray  # uint8


def _evidence(counts: ContextCounts, fold: list[np.ndarray], own: ContextCounts) -> list[_Evidence]:
    """Evidence on an even sample of a fold, from all counts less the fold's own."""
    step = 1 + sum(piece.size for piece in fold) // (FITTED_BASES // FOLDS)
    parts = []
    for batch in batches(fold[::step], flank_bases=0):
        base = batch.codes[batch.counted]
        part = _Evidence(*(np.empty((counts.max_order + 1, base.size), kind) for kind in ("f4", "f4", "u1")))
        lookups = zip(counts.lookup(batch), own.lookup(batch), strict=True)
        for order, (all_counts, own_counts) in enumerate(lookups):
            others = np.maximum(all_counts - own_counts, 0)  # hashed tables may have lost some of all counts
            part.of_base[order], part.total[order], part.bucket[order] = _summary(others, base)
        parts.append(part)
    return parts


def _fit_strengths(evidence: list[_Evidence]) -> np.ndarray:
    """The strengths [orders, BUCKETS] that predict the sampled bases best, order by order from 0 up."""
    probability = np.full(sum(part.total.shape[1] for part in evidence), 0.25, dtype=np.float32)
    strengths = []
    for order in range(evidence[0].total.shape[0]):
        of_base, total, bucket = (
            np.concatenate([getattr(part, name)[order] for part in evidence]) for name in ("of_base", "total", "bucket")
        )
        strengths.append(_best_strengths(of_base, total, probability, bucket))
        probability = _shrink(of_base, total, probability, strengths[-1][bucket].astype(np.float32))
    return np.array(strengths)


def _best_strengths(of_base: np.ndarray, total: np.ndarray, lower: np.ndarray, bucket: np.ndarray) -> np.ndarray:
    seen = np.count_nonzero(total)
    if not seen:
        return np.full(BUCKETS, UNFITTED_STRENGTH)
    nats = strength_nats(of_base, total, lower, bucket, STRENGTHS, BUCKETS)
    pooled = nats.sum(axis=1, keepdims=True) / seen
    return STRENGTHS[np.argmin(nats + POOLED_BASES * pooled, axis=0)]
