"""The data path's way from bases to token ids and back, for any fast tokenizer.

Where every token holds a fixed number of bases, ids are computed with numpy, and byte pairs over A, C, G and T in
linear time (`byte_pairs`); other tokenizers are asked in batches. The ids are those that the tokenizer itself gives,
without its special tokens.
"""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from tokenizers import Tokenizer

from primase.dna import UNKNOWN_CODE, codes, is_iupac
from primase.errors import ModelError
from primase.tokenizers import (
    BASE_TOKENS,
    FOLDED_LETTERS,
    LARGEST_K,
    SPECIAL_TOKENS,
    WORD_BASES,
    byte_pair_backend,
    fixed_length_backend,
)

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from primase.byte_pairs import BytePairs

# What a tokenizer of Primase does to single letters, done to a whole sequence before any tokenizer sees it:
# one made elsewhere may know upper case only.
_FOLD = bytes.maketrans(
    "".join(FOLDED_LETTERS).encode(),
    "".join(base * len(letters) for letters, base in FOLDED_LETTERS.items()).encode(),
)

_FIRST_BASE_ID = len(SPECIAL_TOKENS)
_FIRST_KMER_ID = len(SPECIAL_TOKENS) + len(BASE_TOKENS)
# By code: A, C, G, T, an IUPAC code for several of them, no IUPAC code at all.
_ID_OF_CODE = np.array([*range(_FIRST_BASE_ID, _FIRST_KMER_ID), SPECIAL_TOKENS.index("[UNK]")], dtype=np.int64)
_CODE_OF_LETTER = (codes(bytes(range(256))) + ~is_iupac(bytes(range(256)))).tobytes()
_ID_OF_LETTER = _ID_OF_CODE[np.frombuffer(_CODE_OF_LETTER, np.uint8)].astype(np.uint8).tobytes()


class SequenceEncoder:
    """Encodes sequences of bases with a tokenizer of transformers, special tokens left out.

    Any case; U is read as T and the ambiguity codes of IUPAC as N, for every tokenizer. What the tokenizer
    has no token for (for DNABERT-2: N) becomes its unknown token: count it with `unknown_count`.

    Attributes:
        prefix_ids, suffix_ids: lists of the special ids that the tokenizer puts before and after a sequence.
        spelled: bytes of each id: the letters A, C, G, T, N in its token.
        letters_per_token: int16 [vocabulary]; their number, an unknown token counting as one N.
        bases_per_token: int16 [vocabulary]; A, C, G and T that an id spells; N, unknown, special tokens: 0.
        regular_k: bases a token where that is fixed (`base_tokenizer`: 1, `kmer_tokenizer`: k), else None.
        unknown_id: id of the unknown token, or None.
    """

    def __init__(self, tokenizer: "PreTrainedTokenizerFast") -> None:
        # A copy: calling the tokenizer with padding or truncation leaves them switched on in its backend.
        self._backend = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
        self._backend.no_padding()
        self._backend.no_truncation()
        self.unknown_id: int | None = tokenizer.unk_token_id
        self.regular_k = _regular_k(self._backend)
        self._byte_pairs = _byte_pairs(self._backend)
        self.prefix_ids, self.suffix_ids = _surrounding_ids(self._backend)
        self.spelled = _spelled_bases(tokenizer)
        self.letters_per_token = np.array([len(s) for s in self.spelled], dtype=np.int16)
        self.bases_per_token = np.array([len(s) - s.count(b"N") for s in self.spelled], dtype=np.int16)

    def encode(self, bases: np.ndarray | bytes) -> np.ndarray:
        """Token ids, int64 [tokens], of one sequence given as ASCII letters (uint8 [bases], or bytes)."""
        return self.encode_many([bases])[0]

    def encode_many(self, sequences: Sequence[np.ndarray | bytes]) -> list[np.ndarray]:
        """Token ids of each sequence, as `encode` gives them; quicker than one by one, on all cores."""
        if self.regular_k is not None:
            one_length = len({len(sequence) for sequence in sequences}) == 1
            batches = [sequences] if one_length else [[sequence] for sequence in sequences]
            return [ids for batch in batches for ids in _regular_ids(batch, self.regular_k)]
        if self._byte_pairs is not None:
            letters = b"".join(map(bytes, sequences))
            letter_codes = np.frombuffer(letters.translate(_CODE_OF_LETTER), np.uint8)
            if letter_codes.max(initial=0) <= UNKNOWN_CODE:
                ends = np.cumsum([len(sequence) for sequence in sequences], dtype=np.int64)
                starts = np.concatenate([np.zeros(1, np.int64), ends])[: len(sequences)]
                ids, counts = self._byte_pairs.encode(letter_codes, starts, ends)
                return np.split(ids.astype(np.int64), np.cumsum(counts)[:-1])[: len(sequences)]
        texts = [bytes(sequence).translate(_FOLD).decode("latin-1") for sequence in sequences]
        encodings = self._backend.encode_batch_fast(texts, add_special_tokens=False)
        return [np.array(encoding.ids, dtype=np.int64) for encoding in encodings]

    def encode_segments(
        self, base_codes: np.ndarray, starts: np.ndarray, ends: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Token ids, int [tokens], of sequences that lie in one array, and how many each has, int64 [sequences].

        base_codes: uint8 [bases], A 0, C 1, G 2, T 3, N 4. starts, ends: int64 [sequences].
        """
        if self._byte_pairs is not None:
            return self._byte_pairs.encode(base_codes, starts, ends)
        letters = np.frombuffer(b"ACGTN", np.uint8)[base_codes]
        ids = self.encode_many([letters[start:end] for start, end in zip(starts, ends, strict=True)])
        return np.concatenate(ids), np.array([len(some) for some in ids], np.int64)

    def first_bases(self, ids: np.ndarray, letters: int) -> np.ndarray:
        """int64 [tokens + 1]: where each token begins, and where the last ends, in the sequence of so many letters that
        was encoded. Raises ModelError where the tokens do not spell it letter by letter.
        """
        first = np.concatenate([[0], np.cumsum(self.letters_per_token[ids], dtype=np.int64)])
        if first[-1] != letters:
            raise ModelError(
                f"the tokenizer cannot spell this sequence letter by letter: its tokens hold {first[-1]:,} of "
                f"{letters:,}; use a model whose tokenizer has a token for each of A, C, G and T"
            )
        return first

    def decode(self, ids: np.ndarray | Sequence[int]) -> bytes:
        """The bases that the ids spell, ASCII upper case; unknown tokens are N, special tokens nothing.

        Raises ModelError where an id is outside the vocabulary.
        """
        ids = np.asarray(ids, dtype=np.int64)
        outside = ids[(ids < 0) | (ids >= len(self.spelled))]
        if outside.size:
            raise ModelError(
                f"token id {outside[0]} is outside the vocabulary of {len(self.spelled)} tokens: "
                "decode with the tokenizer that the model was trained with"
            )
        return b"".join([self.spelled[i] for i in ids.tolist()])

    def unknown_count(self, ids: np.ndarray | Sequence[int]) -> int:
        """How many of the ids are the unknown token."""
        return 0 if self.unknown_id is None else int(np.count_nonzero(np.asarray(ids) == self.unknown_id))


def unknown_in_words(tokens: int) -> str:
    """'1 token is unknown to the tokenizer', '2 tokens are unknown to the tokenizer'."""
    return f"{tokens:,} {'token is' if tokens == 1 else 'tokens are'} unknown to the tokenizer"


def _regular_k(backend: Tokenizer) -> int | None:
    """k of the fixed-length tokenizer that this one is equal to, if any, wherever it comes from."""
    parts = json.loads(backend.to_str())
    vocabulary_size = len(parts["model"].get("vocab", ()))
    for k in range(1, LARGEST_K + 1):
        if vocabulary_size == _FIRST_KMER_ID + (4**k if k > 1 else 0):
            ours = json.loads(fixed_length_backend(k).to_str())
            same = all(parts[name] == ours[name] for name in ("normalizer", "pre_tokenizer", "model"))
            return k if same and all(token["special"] for token in parts["added_tokens"]) else None
    return None


def _byte_pairs(backend: Tokenizer) -> "BytePairs | None":
    """The quick way to encode, where the tokenizer cuts text as ours does or takes letters in a row as one word."""
    parts = json.loads(backend.to_str())
    if parts["model"].get("type") != "BPE":
        return None
    from primase.byte_pairs import BytePairs  # numba: only where it is needed

    ours = json.loads(byte_pair_backend().to_str())
    if all(parts[name] == ours[name] for name in ("normalizer", "pre_tokenizer")):
        return BytePairs.of(backend, WORD_BASES)
    is_whole = parts["normalizer"] is None and parts["pre_tokenizer"] in (None, {"type": "Whitespace"})
    return BytePairs.of(backend, None) if is_whole else None


def _surrounding_ids(backend: Tokenizer) -> tuple[list[int], list[int]]:
    """The special ids that the post-processor puts before and after a sequence."""
    encoding = backend.encode("A")
    sequence_places = [i for i, special in enumerate(encoding.special_tokens_mask) if not special]
    return encoding.ids[: sequence_places[0]], encoding.ids[sequence_places[-1] + 1 :]


def _spelled_bases(tokenizer: "PreTrainedTokenizerFast") -> list[bytes]:
    """For each id, the letters A, C, G, T, N in its token; markers such as "##" are left out."""
    vocabulary = tokenizer.get_vocab()
    special_ids = set(tokenizer.all_special_ids)
    special_ids.update(i for i, token in tokenizer.added_tokens_decoder.items() if token.special)
    spelled = [b""] * (max(vocabulary.values()) + 1)
    for token, i in vocabulary.items():
        if i not in special_ids:
            spelled[i] = "".join(letter for letter in token if letter in "ACGTN").encode()
    if tokenizer.unk_token_id is not None:
        spelled[tokenizer.unk_token_id] = b"N"
    return spelled


def _regular_ids(sequences: Sequence[np.ndarray | bytes], k: int) -> list[np.ndarray]:
    """int64 ids of sequences of one length, as the tokenizer with k bases a token gives them."""
    letters = b"".join(map(bytes, sequences))
    table = _ID_OF_LETTER if k == 1 else _CODE_OF_LETTER
    code_rows = np.frombuffer(letters.translate(table), np.uint8).reshape(len(sequences), len(sequences[0]))
    if k == 1:
        return list(code_rows.astype(np.int64))
    only_bases = (code_rows < UNKNOWN_CODE).all(axis=1)
    ids = _kmer_ids(code_rows, k)
    return [row if clean else _mixed_ids(c, k) for row, clean, c in zip(ids, only_bases, code_rows, strict=True)]


def _mixed_ids(base_codes: np.ndarray, k: int) -> np.ndarray:
    """ids of one sequence of codes 0 to 5: k-mers start anew at each stretch of bases."""
    is_base = base_codes < UNKNOWN_CODE
    stretches = np.split(base_codes, np.flatnonzero(is_base[1:] != is_base[:-1]) + 1)
    return np.concatenate([_kmer_ids(s, k) if s[0] < UNKNOWN_CODE else _ID_OF_CODE[s] for s in stretches])


def _kmer_ids(base_codes: np.ndarray, k: int) -> np.ndarray:
    """ids [..., tokens] of codes 0 to 3 [..., bases]: k-mers from the first base, then single bases."""
    kmers, rest = divmod(base_codes.shape[-1], k)
    ids = np.empty((*base_codes.shape[:-1], kmers + rest), dtype=np.int64)
    digits = base_codes[..., : kmers * k].reshape(*base_codes.shape[:-1], kmers, k)
    numbers = digits[..., 0].astype(np.uint16)  # the largest k-mer is 4**8 - 1
    for place in range(1, k):
        numbers *= 4
        numbers += digits[..., place]
    np.add(numbers, _FIRST_KMER_ID, out=ids[..., :kmers], dtype=np.int64)
    ids[..., kmers:] = _ID_OF_CODE[base_codes[..., kmers * k :]]
    return ids
