"""The figures of the Galaxy tutorial on pretraining a DNA language model, for its tokenizer (DNABERT-2's)."""

import gzip

import numpy as np
import pytest

from primase.sequence_encoder import SequenceEncoder
from primase.tokenizers import load_tokenizer

WINDOW = (
    "TTTTATCGTGGTAAAATATATGTGACGGGAAATACACGACCTTAACCATTCTCGAGTGTGCGGCTCAGTGGCATTAATTCACAGTGCTTGAGGCCATCGCTGCTAC"
    "CCATCTCCAGAACCCTTTCAACCTGCAAAACCCCACACCCACTCAACACTAACTCCCCACTCCCCTCTCCCAGGCCCTGGCAACCCCCACTCCA"
)
WINDOW_IDS = [
    *(1, 69, 539, 258, 417, 2275, 45, 80, 93, 516, 173, 40, 2548, 72, 63, 674, 453, 44, 924, 4092, 1330),
    *(37, 95, 75, 151, 232, 56, 74, 96, 204, 1162, 164, 1071, 2325, 78, 1745, 53, 205, 66, 906, 326, 2),
]
EXAMPLE = "ACGTAGCATCGGATCTATCTATCGACACTTGGTTATCGATCTACGAGCATCTCGTTAGC"


@pytest.fixture(scope="module")
def tokenizer(dnabert2_tokenizer_folder):
    tokenizer = load_tokenizer(dnabert2_tokenizer_folder)
    tokenizer.padding_side = "left"
    return tokenizer


def test_short_sequences(tokenizer):
    assert len(tokenizer) == 4096
    assert tokenizer("ATT")["input_ids"] == [1, 2061, 2]
    assert tokenizer("ATTGTGGGTCCCCC")["input_ids"] == [1, 2061, 281, 485, 6, 2]
    long = "ATTGTGGGTCCCCGTAGATGATAGGGGCCCCCC"
    assert tokenizer(long, max_length=5, truncation=True)["input_ids"] == [1, 2061, 281, 485, 2]


def test_window_of_200_bases(tokenizer):
    assert len(WINDOW) == 200
    # transformers 5 gives token_type_ids on request only; the tutorial's version gave them always.
    assert list(tokenizer(WINDOW)) == ["input_ids", "attention_mask"]
    encoded = tokenizer(WINDOW, return_token_type_ids=True)
    assert list(encoded) == ["input_ids", "token_type_ids", "attention_mask"]
    assert encoded["input_ids"] == WINDOW_IDS
    assert encoded["token_type_ids"] == [0] * 42
    assert encoded["attention_mask"] == [1] * 42


def test_padding_goes_to_the_left(tokenizer):
    batch = tokenizer(["ATT", "ATTGTGGGTCCCCC"], padding="longest")
    assert batch["input_ids"] == [[3, 3, 3, 1, 2061, 2], [1, 2061, 281, 485, 6, 2]]
    assert batch["attention_mask"] == [[0, 0, 0, 1, 1, 1], [1] * 6]
    padded = tokenizer(WINDOW, padding="max_length", max_length=49)
    assert padded["input_ids"] == [3] * 7 + WINDOW_IDS
    assert padded["attention_mask"] == [0] * 7 + [1] * 42


def test_example_sequence_to_embed(tokenizer):
    assert len(EXAMPLE) == 59
    assert len(tokenizer(EXAMPLE)["input_ids"]) == 17


def test_encoder_gives_the_same_ids(tokenizer):
    encoder = SequenceEncoder(tokenizer)
    assert encoder.regular_k is None
    assert (encoder.prefix_ids, encoder.suffix_ids) == ([1], [2])
    ids = encoder.encode(WINDOW.encode())
    assert [*encoder.prefix_ids, *ids, *encoder.suffix_ids] == WINDOW_IDS
    assert encoder.decode(ids) == WINDOW.encode()
    assert encoder.bases_per_token[ids].sum() == 200
    assert encoder.bases_per_token[WINDOW_IDS].sum() == 200
    assert encoder.bases_per_token[:9].tolist() == [0, 0, 0, 0, 0, 1, 1, 1, 1]


def test_lower_case_and_ambiguous_bases_by_the_tokenizer_itself(tokenizer):
    """One [UNK] a letter: what the encoder protects from (lower case) and what it counts (N)."""
    assert tokenizer("acgtac", add_special_tokens=False)["input_ids"] == [0] * 6
    assert tokenizer("NNRYK", add_special_tokens=False)["input_ids"] == [0] * 5
    assert tokenizer("ATTNATT", add_special_tokens=False)["input_ids"] == [2061, 0, 2061]


def test_lower_case_and_ambiguous_bases_by_the_encoder(tokenizer):
    encoder = SequenceEncoder(tokenizer)
    assert encoder.encode(WINDOW.lower().encode()).tolist() == WINDOW_IDS[1:-1]
    assert encoder.encode(b"AUUNNrATT").tolist() == [2061, 0, 0, 0, 2061]
    ids = encoder.encode(b"attNNrXatt")
    assert encoder.unknown_count(ids) == 4
    assert encoder.decode(ids) == b"ATTNNNNATT"
    assert encoder.bases_per_token[ids].sum() == 6


def test_real_windows(tokenizer, shared_data):
    """4.75 to 5.08 bases a token were measured on several genomes; batches and single windows agree."""
    with gzip.open(shared_data / "windows" / "SNPintron_ref_201b.fasta.gz", "rb") as file:
        windows = [line.strip() for line in file if not line.startswith(b">")][:2000]
    encoder = SequenceEncoder(tokenizer)
    many = encoder.encode_many([np.frombuffer(window, dtype=np.uint8) for window in windows])
    assert [encoder.decode(ids) for ids in many] == [window.upper() for window in windows]
    assert all(np.array_equal(ids, encoder.encode(w)) for ids, w in zip(many[:50], windows, strict=False))
    assert many[0].tolist() == tokenizer(windows[0].decode().upper(), add_special_tokens=False)["input_ids"]
    assert sum(encoder.unknown_count(ids) for ids in many) == sum(window.upper().count(b"N") for window in windows)
    assert 4.6 < sum(map(len, windows)) / sum(map(len, many)) < 5.1
