"""The ensemble's bits are those of a compressor: whoever has the model and what came before gets the bases back."""

from functools import cache

import constriction
import numpy as np

from primase.base_predictions import predict_bases
from primase.dna import ACGT
from primase.evaluation.copy_mixture import CopyMixture
from tests.models import tiny_model

LETTERS = np.frombuffer(ACGT, np.uint8)


def test_bases_are_decoded_from_as_many_bits_as_are_reported():
    draw = np.random.default_rng(0)
    training = draw.choice(LETTERS, 3000)
    validation = draw.choice(LETTERS, 100)
    # Something that nobody knows, then something to copy.
    secret = np.concatenate([draw.choice(LETTERS, 12), training[1000:1028]])
    loaded = tiny_model(k=3, context_tokens=10)  # 30 bases: the context slides
    mixture = CopyMixture.fit([training], expected_bases=10_000)
    mixture = mixture.with_model([validation], predict_bases(loaded, [validation]))
    (bits,) = mixture.surprisal([secret], predict_bases(loaded, [secret]))  # as `price_ensembles` does, in one go

    @cache  # copying the tables takes most of the time
    def next_base(before: bytes) -> np.ndarray:
        """float64 [1, 4]: what the ensemble makes of the base after these, from nothing but these."""
        candidates = [np.frombuffer(before + bytes([letter]), np.uint8) for letter in LETTERS]
        last = [next(mixture.surprisal([one], predict_bases(loaded, [one])))[-1] for one in candidates]
        return 2.0 ** -np.array([last], np.float64)

    family = constriction.stream.model.Categorical(perfect=False)
    encoder = constriction.stream.queue.RangeEncoder()
    for place, letter in enumerate(secret):
        symbol = np.flatnonzero(letter == LETTERS).astype(np.int32)
        encoder.encode(symbol, family, next_base(secret[:place].tobytes()))
    payload = encoder.get_compressed()
    assert abs(32 * len(payload) - bits.sum()) <= 64, "the range coder writes whole words of 32 bits"
    assert bits.sum() < 1.6 * len(secret), "copies are known"

    decoder, decoded = constriction.stream.queue.RangeDecoder(payload), b""
    for _ in secret:
        (symbol,) = decoder.decode(family, next_base(decoded))
        decoded += bytes([LETTERS[symbol]])
    assert decoded == secret.tobytes()
