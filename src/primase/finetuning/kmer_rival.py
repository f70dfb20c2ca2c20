"""The k-mer rival: a logistic (or ridge) regression on the share of each k-mer in a sequence, its strand as given."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from primase import dna
from primase.finetuning.fit import Fitting
from primase.finetuning.linear import INVERSE_PENALTIES, LinearHead

LENGTHS = (3, 4, 5, 6)


@dataclass(frozen=True)
class KmerRival:
    """The k and the penalty that do best on the validation rows."""

    k: int
    validation: float
    logits: np.ndarray
    """float32 [test rows, outputs]."""

    @property
    def name(self) -> str:
        return f"k-mer regression, k = {self.k}"


def train(
    train_sequences: Sequence[bytes],
    validation_sequences: Sequence[bytes],
    test_sequences: Sequence[bytes],
    fitting: Fitting,
) -> KmerRival:
    """Each k with each penalty, on features scaled by their largest training value."""
    from sklearn.preprocessing import MaxAbsScaler

    best: KmerRival | None = None
    for number, k in enumerate(LENGTHS):
        scaler = MaxAbsScaler().fit(counts := kmer_shares(train_sequences, k))
        train_features, validation_features = (
            scaler.transform(counts),
            scaler.transform(kmer_shares(validation_sequences, k)),
        )
        for penalty in INVERSE_PENALTIES:
            head = LinearHead.fit(train_features, penalty, fitting, intercept=True)
            metric = head.metric(validation_features, fitting)
            if best is None or metric > best.validation:
                logits = head.logits(scaler.transform(kmer_shares(test_sequences, k)))
                best = KmerRival(k, metric, logits)
        fitting.progress((number + 1) / len(LENGTHS))
    assert best is not None
    return best


def kmer_shares(sequences: Sequence[bytes], k: int):
    """Sparse float64 [sequences, 4**k]: the share of each k-mer in a sequence, other letters left out."""
    from scipy.sparse import csr_matrix

    lengths = np.array([len(sequence) + 1 for sequence in sequences])
    codes = dna.codes(b"N".join([*sequences, b""])).astype(np.int64)  # no k-mer spans two sequences
    row_of = np.repeat(np.arange(len(sequences)), lengths)
    places = max(0, len(codes) - k + 1)
    numbers, whole = np.zeros(places, np.int64), np.ones(places, bool)
    for place in range(k):
        here = codes[place : place + places]
        numbers = 4 * numbers + here
        whole &= here < dna.UNKNOWN_CODE
    rows, numbers = row_of[:places][whole], numbers[whole]
    of_row = np.maximum(np.bincount(rows, minlength=len(sequences)), 1)
    return csr_matrix((1 / of_row[rows], (rows, numbers)), shape=(len(sequences), 4**k))
