"""A byte-pair tokenizer of sequences with motifs, trained once."""

import random

import pytest

from primase.tokenizers import train_byte_pair_tokenizer


@pytest.fixture(scope="session")
def byte_pair_tokenizer():
    motifs = ["GATTACA", "TATAAA", "CCGG", "ACGTACGTACGTACGT"]
    generator = random.Random(1)
    text = "".join(generator.choice(motifs) + "".join(generator.choices("ACGT", k=3)) for _ in range(20_000))
    return train_byte_pair_tokenizer([text], vocab_size=300, max_token_bases=8)
