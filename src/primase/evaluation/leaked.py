"""The loss on held-out windows that have copies in the training part, and on those that have none, apart."""

from collections.abc import Callable

import numpy as np

from primase.corpus.store import Corpus
from primase.evaluation.sample import Sample, Tally
from primase.results import HIT_SHARE, Estimate, LeakedLoss


def leaked_loss(
    corpus: Corpus | None,
    sample: Sample,
    model: Tally,
    bases: Tally,
    markov: Tally | None,
    estimate: Callable[[np.ndarray, np.ndarray], Estimate | None],
) -> LeakedLoss | None:
    """By the certificate of the corpus; windows that it did not look at are left out. None without a certificate."""
    certificate = corpus.leakage() if corpus and sample.windows is not None else None
    if certificate is None:
        return None
    _, looked_at = certificate
    share = np.full(len(corpus.windows), np.nan)
    share[looked_at["window"]] = looked_at["kmer_share"]
    share = share[sample.windows]
    is_hit, is_clean = share >= HIT_SHARE, share < HIT_SHARE

    def of(tally: Tally, which: np.ndarray) -> float | None:
        counted = bases.cells[which].sum()
        return float(tally.cells[which].sum() / counted) if counted else None

    return LeakedLoss(
        clean=estimate(np.where(is_clean, model.cells, 0), np.where(is_clean, bases.cells, 0)),
        hit=estimate(np.where(is_hit, model.cells, 0), np.where(is_hit, bases.cells, 0)),
        clean_windows=int(is_clean.sum()),
        hit_windows=int(is_hit.sum()),
        markov_clean=of(markov, is_clean) if markov else None,
        markov_hit=of(markov, is_hit) if markov else None,
    )
