"""Tokenizers against a plain rewriting of their definition, and the fast encoder against the tokenizers."""

import gzip
import itertools
import json
import random
import re
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from primase.errors import InputError, ModelError
from primase.sequence_encoder import SequenceEncoder, unknown_in_words
from primase.tokenizers import (
    _blocks,
    base_tokenizer,
    kmer_tokenizer,
    load_tokenizer,
    train_byte_pair_tokenizer,
)

IUPAC_TO_N = "NRYSWKMBDHV"


def folded(text: str) -> str:
    """Upper case, U as T, ambiguity codes as N, anything else a question mark: the plain definition."""
    upper = [letter.upper() if letter.isascii() else letter for letter in text]
    read = ["T" if letter == "U" else "N" if letter in IUPAC_TO_N else letter for letter in upper]
    return "".join(letter if letter in "ACGTN" else "?" for letter in read)


def expected_tokens(text: str, k: int) -> list[str]:
    """Walk from the left: k bases in a row are a token, any other letter is one by itself."""
    text, tokens, place = folded(text), [], 0
    while place < len(text):
        piece = text[place : place + k]
        if k == 1 or len(piece) < k or set(piece) - set("ACGT"):
            piece = text[place]
        tokens.append("[UNK]" if piece == "?" else piece)
        place += len(piece)
    return tokens


def random_bases(count: int, seed: int = 0) -> str:
    return "".join(random.Random(seed).choices("ACGT", k=count))


def fixed_length_tokenizer(k: int):
    return base_tokenizer() if k == 1 else kmer_tokenizer(k)


@pytest.fixture(scope="module")
def fixed_length_tokenizers():
    return {k: fixed_length_tokenizer(k) for k in range(1, 9)}


@pytest.fixture(scope="module")
def encoders(fixed_length_tokenizers, byte_pair_tokenizer):
    return {t: SequenceEncoder(t) for t in (*fixed_length_tokenizers.values(), byte_pair_tokenizer)}


LETTERS = "ACGT" * 6 + "acgt" * 2 + "NnRryUuXx-*.\n \x00é[]"
sequences = st.text(alphabet=LETTERS, max_size=60)


@given(text=sequences, k=st.integers(1, 8))
@settings(max_examples=300, deadline=None)
def test_encoding_follows_the_definition(fixed_length_tokenizers, encoders, text, k):
    tokenizer = fixed_length_tokenizers[k]
    ids = tokenizer(text)["input_ids"]
    assert ids[0] == tokenizer.bos_token_id
    assert tokenizer.convert_ids_to_tokens(ids[1:]) == expected_tokens(text, k)
    assert encoders[tokenizer].encode(text.encode("latin-1")).tolist() == ids[1:]


@given(batch=st.lists(sequences, max_size=5), size=st.integers(0, 12))
@settings(max_examples=100, deadline=None)
def test_encoding_many_equals_encoding_one(encoders, batch, size):
    same_length = [text[:size].ljust(size, "A") for text in batch]
    for tokenizer, encoder in encoders.items():
        for texts in (batch, same_length):
            many = encoder.encode_many([text.encode("latin-1") for text in texts])
            assert [ids.tolist() for ids in many] == [
                tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts
            ]
            assert all(ids.dtype == np.int64 and ids.ndim == 1 for ids in many)


@given(text=st.text(alphabet="ACGTNacgtnRYSWKMBDHVryswkmbdhvUu", max_size=200))
@settings(max_examples=100, deadline=None)
def test_decoding_gives_the_bases_back(encoders, text):
    for tokenizer, encoder in encoders.items():
        ids = encoder.encode(text.encode())
        bases = folded(text)
        assert encoder.decode(ids) == bases.encode()
        assert tokenizer.decode(tokenizer(text)["input_ids"], skip_special_tokens=True) == bases
        assert encoder.unknown_count(ids) == 0
        assert encoder.bases_per_token[ids].sum() == len(bases) - bases.count("N")


def test_ids_of_the_base_tokenizer():
    tokenizer = base_tokenizer()
    assert tokenizer.convert_ids_to_tokens(range(9)) == ["[UNK]", "[BOS]", "[EOS]", "[PAD]", *"ACGTN"]
    assert len(tokenizer) == 9
    assert (tokenizer.unk_token_id, tokenizer.bos_token_id) == (0, 1)
    assert (tokenizer.eos_token_id, tokenizer.pad_token_id) == (2, 3)
    assert dict(tokenizer("gatu RX")) == {
        "input_ids": [1, 6, 4, 7, 7, 0, 8, 0],
        "attention_mask": [1] * 8,
    }


def test_kmer_ids_are_base_four_numbers():
    tokenizer = kmer_tokenizer(3)
    assert len(tokenizer) == 9 + 4**3
    assert tokenizer.convert_tokens_to_ids(["AAA", "AAC", "CAT", "TTT"]) == [9, 10, 9 + 16 + 3, 9 + 63]
    assert tokenizer("AAATTTACNTTTG", add_special_tokens=False)["input_ids"] == [9, 72, 4, 5, 8, 72, 6]


@pytest.mark.parametrize("k", [-1, 0, 1, 9])
def test_k_out_of_range_is_refused(k):
    with pytest.raises(ModelError, match=f"k = {k}: choose a k of 2 to 8"):
        kmer_tokenizer(k)


def test_unknown_letters_are_counted_not_hidden(byte_pair_tokenizer):
    for tokenizer in (base_tokenizer(), kmer_tokenizer(4), byte_pair_tokenizer):
        encoder = SequenceEncoder(tokenizer)
        ids = encoder.encode(b"ACGTACGTX-ACGTN[PAD]")
        # X, the hyphen, two brackets, P; A is A, D is an IUPAC code.
        assert encoder.unknown_count(ids) == 5
        assert encoder.decode(ids) == b"ACGTACGTNNACGTNNNANN"


def test_a_count_of_unknown_tokens_in_words():
    said = {tokens: unknown_in_words(tokens) for tokens in (1, 2, 1500)}
    assert said == {
        1: "1 token is unknown to the tokenizer",
        2: "2 tokens are unknown to the tokenizer",
        1500: "1,500 tokens are unknown to the tokenizer",
    }


def test_encoder_attributes():
    encoder = SequenceEncoder(kmer_tokenizer(2))
    assert (encoder.prefix_ids, encoder.suffix_ids) == ([1], [])
    assert encoder.bases_per_token.dtype == np.int16
    assert encoder.bases_per_token.tolist() == [0] * 4 + [1] * 4 + [0] + [2] * 16
    assert encoder.decode([1, 9, 2, 0, 3, 4]) == b"AANA"
    for outside in (-1, 25):
        with pytest.raises(ModelError, match=f"token id {outside} is outside the vocabulary of 25 tokens"):
            encoder.decode([9, outside])


def test_encoder_takes_arrays_and_views():
    letters = np.frombuffer(b"ACGTTGCAAC", dtype=np.uint8)
    for tokenizer in (base_tokenizer(), kmer_tokenizer(3)):
        encoder = SequenceEncoder(tokenizer)
        assert encoder.encode(letters).tolist() == encoder.encode(b"ACGTTGCAAC").tolist()
        assert encoder.encode(letters[::-1]).tolist() == encoder.encode(b"CAACGTTGCA").tolist()
        assert encoder.encode(b"").shape == (0,)
        assert encoder.encode_many([]) == []


def test_padding_and_truncation_of_the_tokenizer_do_not_reach_the_encoder(byte_pair_tokenizer):
    tokenizer = byte_pair_tokenizer
    expected = tokenizer("GATTACAGATTACAACGT", add_special_tokens=False)["input_ids"]
    tokenizer(["A", "GATTACA"], padding="max_length", truncation=True, max_length=3)
    encoder = SequenceEncoder(tokenizer)
    assert encoder.encode(b"GATTACAGATTACAACGT").tolist() == expected
    assert encoder.encode(b"A").tolist() == [4]


@pytest.mark.parametrize("k", range(1, 9))
def test_regular_k_is_found_after_reloading(k, tmp_path):
    fixed_length_tokenizer(k).save_pretrained(tmp_path)
    assert SequenceEncoder(load_tokenizer(tmp_path)).regular_k == k


def test_regular_k_is_not_claimed_for_look_alikes(tmp_path, byte_pair_tokenizer):
    assert SequenceEncoder(byte_pair_tokenizer).regular_k is None
    kmer_tokenizer(2).save_pretrained(tmp_path)
    file = tmp_path / "tokenizer.json"
    saved = json.loads(file.read_text())

    def regular_k_of(changed: dict) -> int | None:
        file.write_text(json.dumps(changed))
        return SequenceEncoder(load_tokenizer(tmp_path)).regular_k

    assert regular_k_of(saved) == 2
    swapped = saved["model"]["vocab"] | {"AA": 10, "AC": 9}
    assert regular_k_of(saved | {"model": saved["model"] | {"vocab": swapped}}) is None
    assert regular_k_of(saved | {"normalizer": None}) is None
    assert regular_k_of(saved | {"pre_tokenizer": {"type": "Whitespace"}}) is None
    extended = kmer_tokenizer(2)
    extended.add_tokens(["GATTACA"])
    assert SequenceEncoder(extended).regular_k is None
    extended = kmer_tokenizer(2)
    extended.add_special_tokens({"mask_token": "[MASK]"})
    encoder = SequenceEncoder(extended)
    assert (encoder.regular_k, len(encoder.bases_per_token), encoder.bases_per_token[-1]) == (2, 26, 0)


def test_clean_bases_are_encoded_by_arithmetic():
    """The requirement is 100 Mbp/s (several times that is measured); the tokenizer itself does under 20."""
    bases = np.frombuffer(random_bases(4_000_000).encode(), dtype=np.uint8)
    for k in (1, 3, 6):
        encoder = SequenceEncoder(fixed_length_tokenizer(k))
        seconds = []
        for _ in range(5):
            start = time.perf_counter()
            ids = encoder.encode(bases)
            seconds.append(time.perf_counter() - start)
        assert encoder.bases_per_token[ids].sum() == len(bases)
        assert len(bases) / min(seconds) > 50e6


def test_byte_pair_vocabulary(byte_pair_tokenizer):
    tokens = sorted(byte_pair_tokenizer.get_vocab().items(), key=lambda item: item[1])
    assert [token for token, _ in tokens[:9]] == ["[UNK]", "[BOS]", "[EOS]", "[PAD]", *"ACGTN"]
    assert [i for _, i in tokens] == list(range(300))
    merged = [token for token, _ in tokens[9:]]
    assert max(map(len, merged)) <= 8
    assert "GATTACA" in merged
    assert all(set(token) <= set("ACGT") for token in merged)


def test_first_byte_pair_merges_are_the_commonest_pairs():
    """AC occurs most, then AC followed by G: counted by hand. X takes no place in the vocabulary."""
    tokenizer = train_byte_pair_tokenizer(["ACG"] * 10 + ["AC"] * 10 + ["TGX"] * 5, vocab_size=11)
    assert tokenizer.convert_ids_to_tokens([9, 10]) == ["AC", "ACG"]
    assert tokenizer("acgtgn", add_special_tokens=False)["input_ids"] == [10, 7, 6, 8]


def test_byte_pair_encoding_equals_merging_by_rank(byte_pair_tokenizer):
    """Against the textbook's loop: merge the pair that was learnt first, until none is left."""
    merges = json.loads(byte_pair_tokenizer.backend_tokenizer.to_str())["model"]["merges"]
    rank = {tuple(pair): i for i, pair in enumerate(merges)}
    text = random_bases(400) + "N" + random_bases(300, seed=2)
    expected = []
    for word in re.findall("[ACGT]+|N", text):
        pieces = list(word)
        while pairs := [pair for pair in itertools.pairwise(pieces) if pair in rank]:
            best = min(pairs, key=rank.__getitem__)
            merged, i = [], 0
            while i < len(pieces):
                step = 2 if tuple(pieces[i : i + 2]) == best else 1
                merged.append("".join(pieces[i : i + step]))
                i += step
            pieces = merged
        expected += pieces
    assert byte_pair_tokenizer.tokenize(text) == expected


def test_byte_pair_training_is_repeatable_and_folds_letters():
    text = random_bases(60_000)
    first = train_byte_pair_tokenizer([text], vocab_size=120).get_vocab()
    assert train_byte_pair_tokenizer([text.lower().encode()], vocab_size=120).get_vocab() == first
    assert train_byte_pair_tokenizer(iter([text.replace("T", "u")]), vocab_size=120).get_vocab() == first


def test_byte_pair_training_samples_evenly_where_there_is_too_much():
    """The first fifth of the records is poly-A; a sample of the beginning would see nothing else."""
    records = ["A" * 10_000] * 20 + [random_bases(10_000, seed) for seed in range(80)]
    options = {"vocab_size": 40, "max_training_bases": 100_000}
    vocabularies = [train_byte_pair_tokenizer(records, **options, seed=seed).get_vocab() for seed in (1, 1, 2)]
    assert vocabularies[0] == vocabularies[1] != vocabularies[2]
    pairs = {first + second for first in "ACGT" for second in "ACGT"}
    assert len(pairs & set(vocabularies[0])) > 10


@pytest.mark.parametrize("lengths", [[], [0, 7], [10_000, 5], [3, 25_000, 9_996, 1], [4_000] * 9])
def test_byte_pair_training_reads_every_base_once(lengths):
    records = [random_bases(length, seed) for seed, length in enumerate(lengths)]
    blocks = list(_blocks([record.encode() for record in records]))
    assert all(len(block) == 10_000 for block in blocks[:-1])
    # An N keeps records apart, and so does the end of a block.
    assert "".join(blocks).replace("N", "") == "".join(records)
    assert "".join(blocks).count("N") <= max(0, len(records) - 1)
    assert not any(a[-9:] + b[:9] in block for a, b in itertools.pairwise(records) if b for block in blocks if a)


def test_byte_pair_mistakes_are_named():
    with pytest.raises(InputError, match="hold no A, C, G or T"):
        train_byte_pair_tokenizer([])
    with pytest.raises(InputError, match="hold no A, C, G or T"):
        train_byte_pair_tokenizer(["NNNN", ""])
    with pytest.raises(ModelError, match="9 tokens is too small: give 10 or more"):
        train_byte_pair_tokenizer(["ACGT"], vocab_size=9)


def test_byte_pair_training_on_real_bases_is_never_unknown(shared_data):
    with gzip.open(shared_data / "genomes" / "small" / "lambda_virus.fa.gz", "rt") as file:
        bases = "".join(line.strip() for line in file if not line.startswith(">"))
    tokenizer = train_byte_pair_tokenizer([bases], vocab_size=512)
    encoder = SequenceEncoder(tokenizer)
    ids = encoder.encode(bases.encode())
    assert len(tokenizer) == 512
    assert encoder.unknown_count(ids) == 0
    assert encoder.decode(ids) == bases.encode()
    assert 3.0 < len(bases) / len(ids) < 5.0
    # Whole words of a thousand bases: cutting there beforehand changes nothing.
    assert encoder.encode(bases[:3000].encode()).tolist() == [
        i for start in (0, 1000, 2000) for i in encoder.encode(bases[start : start + 1000].encode())
    ]
