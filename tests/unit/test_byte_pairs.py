"""Byte pairs in linear time against the tokenizers library, which merges by rank."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from primase.byte_pairs import BytePairs
from primase.sequence_encoder import SequenceEncoder
from primase.tokenizers import load_tokenizer, train_byte_pair_tokenizer

BASES = np.frombuffer(b"ACGT", np.uint8)


def repetitive(count: int, seed: int) -> bytes:
    """Random bases, homopolymers, short tandem repeats and copies: what makes encoders go back."""
    rng = np.random.default_rng(seed)
    parts, length = [], 0
    while length < count:
        unit = rng.choice(BASES, rng.integers(1, 7)).tobytes()
        copied = parts[rng.integers(len(parts))] if parts else b"A"
        parts.append([rng.choice(BASES, 60).tobytes(), unit * int(rng.integers(2, 30)), copied][rng.integers(3)])
        length += len(parts[-1])
    return b"".join(parts)[:count]


def plain_backend(merges: list[tuple[str, str]], **options) -> Tokenizer:
    """Byte pairs with these merges, text as one word; N is unknown."""
    tokens = dict.fromkeys(["[UNK]", *"ACGT", *(left + right for left, right in merges)])
    return Tokenizer(models.BPE({token: i for i, token in enumerate(tokens)}, merges, unk_token="[UNK]", **options))


def random_merges(rng: np.random.Generator, count: int) -> list[tuple[str, str]]:
    """Merges of tokens that are there by then, each pair once; some spell a token a second time."""
    tokens, merges = list("ACGT"), {}
    while len(merges) < count:
        left, right = (tokens[i] for i in rng.integers(len(tokens), size=2))
        if len(left + right) <= 9:
            merges[left, right] = None
            tokens += [left + right] if left + right not in tokens else []
    return list(merges)


def encoded(pairs: BytePairs, text: bytes) -> list[int]:
    codes = np.frombuffer(text.translate(bytes.maketrans(b"ACGTN", bytes(range(5)))), np.uint8)
    ids, counts = pairs.encode(codes, np.zeros(1, np.int64), np.array([len(text)]))
    assert counts.tolist() == [len(ids)]
    return ids.tolist()


@pytest.fixture(scope="module")
def trained():
    return train_byte_pair_tokenizer([repetitive(120_000, seed=1)], vocab_size=800)


@pytest.fixture(scope="module")
def trained_encoder(trained):
    return SequenceEncoder(trained)


def by_library(tokenizer, texts: list[bytes]) -> list[list[int]]:
    backend = tokenizer.backend_tokenizer
    return [backend.encode(text.decode(), add_special_tokens=False).ids for text in texts]


@settings(max_examples=150, deadline=None)
@given(st.text("ACGTN", max_size=60), st.text("ACGT", max_size=4), st.integers(0, 400))
def test_any_text_is_encoded_as_the_library_does(trained, trained_encoder, text, unit, times):
    texts = [text.encode(), (unit * times)[:2500].encode(), (text + unit * times).lower().encode()]
    assert trained_encoder._byte_pairs is not None
    assert [ids.tolist() for ids in trained_encoder.encode_many(texts)] == by_library(trained, texts)


def test_long_sequences_are_cut_where_the_library_cuts_them(trained, trained_encoder):
    texts = [repetitive(20_001, seed=2), b"", b"N" * 5 + repetitive(999, seed=3) + b"N" + repetitive(1001, seed=4)]
    assert [ids.tolist() for ids in trained_encoder.encode_many(texts)] == by_library(trained, texts)
    assert [trained_encoder.encode(text).dtype for text in texts] == [np.int64] * 3


def test_segments_are_encoded_where_they_lie(trained, trained_encoder):
    text = repetitive(5000, seed=5)
    codes = np.frombuffer(text.translate(bytes.maketrans(b"ACGT", bytes(range(4)))), np.uint8)
    starts, ends = np.array([7, 1200, 4000]), np.array([1207, 3000, 5000])
    ids, counts = trained_encoder.encode_segments(codes, starts, ends)
    expected = by_library(trained, [text[a:b] for a, b in zip(starts, ends, strict=True)])
    assert ids.tolist() == list(itertools.chain(*expected))
    assert counts.tolist() == [len(ids) for ids in expected]


def test_letters_that_are_no_bases_are_left_to_the_library(trained, trained_encoder):
    text = b"ACGT-ACGTXACRYGU*acgt"
    assert [trained_encoder.encode(text).tolist()] == by_library(trained, [text])


def test_random_vocabularies_give_what_the_library_gives():
    """Most have tokens that nothing is merged to, two merges for one token, and ranks that fall: some are refused."""
    covered = 0
    for seed in range(150):
        rng = np.random.default_rng(seed)
        backend = plain_backend(random_merges(rng, int(rng.integers(1, 40))))
        pairs = BytePairs.of(backend, None)
        if pairs is None:
            continue
        covered += 1
        for text in (repetitive(400, seed), b"N" + rng.choice(BASES, 200).tobytes() + b"NN"):
            assert encoded(pairs, text) == backend.encode(text.decode()).ids
    assert 30 < covered < 150


def test_a_vocabulary_whose_ranks_fall_is_refused():
    """AB is merged late, ABC early but from AB: the order of merges is not that of the ranks."""
    merges = [("AC", "G"), ("A", "C")]
    assert BytePairs.of(plain_backend(merges), None) is None
    assert BytePairs.of(plain_backend(merges[::-1]), None) is not None


@pytest.mark.parametrize(
    "change",
    [
        lambda backend: setattr(backend, "normalizer", normalizers.Replace("GA", "C")),
        lambda backend: setattr(backend, "pre_tokenizer", pre_tokenizers.Split("CG", "isolated")),
        lambda backend: backend.add_tokens([AddedToken("GATTACA")]),
    ],
)
def test_what_else_a_tokenizer_does_is_left_to_the_library(change):
    backend = plain_backend([("A", "C"), ("AC", "G"), ("T", "T")])
    assert SequenceEncoder(PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="[UNK]"))._byte_pairs is not None
    change(backend)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="[UNK]")
    encoder = SequenceEncoder(tokenizer)
    assert encoder._byte_pairs is None
    text = b"GATTACAACGTTACG"
    assert [encoder.encode(text).tolist()] == by_library(tokenizer, [text])


def test_options_of_the_model_are_left_to_the_library():
    assert BytePairs.of(plain_backend([("A", "C")], ignore_merges=True), None) is None
    assert BytePairs.of(plain_backend([("A", "C")], fuse_unk=True), None) is None


@pytest.mark.data
def test_dnabert2_on_a_genome(dnabert2_tokenizer_folder, shared_data):
    """Half a megabase of human bases, N and soft mask included."""
    from primase.formats import read_records

    record = next(iter(read_records(shared_data / "genomes" / "human" / "hg38_chr2_1-2333275.fa.gz")))
    text = record.sequence[9_000:509_000].upper().encode()
    texts = [text[start : start + 50_000] for start in range(0, len(text), 50_000)]
    tokenizer = load_tokenizer(dnabert2_tokenizer_folder)
    encoder = SequenceEncoder(tokenizer)
    assert encoder._byte_pairs is not None
    assert [ids.tolist() for ids in encoder.encode_many(texts)] == by_library(tokenizer, texts)
