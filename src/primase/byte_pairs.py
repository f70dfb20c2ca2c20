"""Byte pairs over A, C, G and T in linear time: token for token what merging by rank gives, without merging.

Merging by rank is slow on long stretches of DNA. But a row of tokens is the encoding of its letters just where each
two neighbours are the encoding of theirs: until a first merge crosses a boundary, the merges on both sides
of it go as they would without the rest. So the longest token that fits its left neighbour is taken, a shorter one
where the rest then has no encoding, and a place that no token leads on from is never tried again. Whether
two tokens fit is found by undoing their merges, latest first, and asking at each state whether the pair at the
boundary would have been merged earlier (as in the crate `bpe` of github/rust-gems, there for ranks that are the ids).
"""

import json
from dataclasses import dataclass

import numpy as np
from numba import njit
from tokenizers import Tokenizer

_LETTERS = "ACGT"
_FREE = -1
_ANY_LENGTH = 2**62


@dataclass(frozen=True)
class BytePairs:
    """A vocabulary of byte pairs, laid out for the kernels. Tokens go by their ids in the tokenizer."""

    piece_bases: int
    """The longest piece that is encoded by itself, counted from the start of a sequence or the last N."""
    unknown_id: int
    """What an N becomes."""
    tables: tuple[np.ndarray, ...]
    """Children of each node of the trie and the token that ends there; of each token its length, the next shorter token
    that begins it, and its last merge (left, right, rank); keys and ranks of all merges, hashed."""

    @classmethod
    def of(cls, backend: Tokenizer, piece_bases: int | None) -> "BytePairs | None":
        """The byte pairs of a tokenizer, or None where something in it is beyond this module.

        piece_bases: as in the class; None where the tokenizer does not cut stretches of A, C, G and T.
        """
        parts = json.loads(backend.to_str())
        model = parts["model"]
        extras = ("dropout", "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk", "byte_fallback")
        if model.get("type") != "BPE" or any(model.get(name) for name in (*extras, "ignore_merges")):
            return None
        vocabulary, merges = model["vocab"], [tuple(pair) for pair in model["merges"]]
        unknown_id = vocabulary.get("N", vocabulary.get(model["unk_token"]))
        is_plain = all(set(left + right) <= set(_LETTERS) for left, right in merges) and len({*merges}) == len(merges)
        could_be_added = any(token["content"].isalpha() for token in parts["added_tokens"])
        if not is_plain or could_be_added or unknown_id is None or not set(_LETTERS) <= vocabulary.keys():
            return None
        tables = _tables(vocabulary, merges)
        return None if tables is None else cls(piece_bases or _ANY_LENGTH, unknown_id, tables)

    def encode(self, codes: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Token ids, int32 [tokens], of sequences one after another, and how many each has, int64 [sequences].

        codes: uint8 [bases], A 0, C 1, G 2, T 3, N 4. starts, ends: int64 [sequences], where each lies in `codes`.
        """
        ids = np.empty(int((ends - starts).sum()), np.int32)
        counts = np.empty(len(starts), np.int64)
        longest = min(self.piece_bases, int((ends - starts).max(initial=0)))
        can_end = np.empty(longest + 1, np.bool_)
        used = _encode(codes, starts, ends, self.piece_bases, self.unknown_id, can_end, *self.tables, ids, counts)
        return ids[:used], counts


def _tables(vocabulary: dict[str, int], merges: list[tuple[str, str]]) -> tuple[np.ndarray, ...] | None:
    """What `BytePairs.tables` describes; None where a token is made by a merge of lower rank than one before it."""
    size = max(vocabulary.values()) + 1
    keys, ranks = _merge_table([(vocabulary[a], vocabulary[b]) for a, b in merges])
    results = np.array([vocabulary[a + b] for a, b in merges], np.int32)
    spelled = {token: i for token, i in vocabulary.items() if token and set(token) <= set(_LETTERS)}
    lengths = np.zeros(size, np.int32)
    letters = np.zeros((size, max(map(len, spelled))), np.int32)
    for token, i in spelled.items():
        lengths[i] = len(token)
        letters[i, : len(token)] = [vocabulary[letter] for letter in token]
    last_merge = np.full((size, 3), -1, np.int32)
    is_token = np.zeros(size, np.bool_)
    in_order = np.array(sorted(spelled.values(), key=lambda i: lengths[i]), np.int32)
    _find_last_merges(in_order, lengths, letters, keys, ranks, results, last_merge, is_token)
    left, right, rank = last_merge[is_token].T
    if ((rank >= 0) & (np.maximum(last_merge[left, 2], last_merge[right, 2]) >= rank)).any():
        return None
    children, token_at, shorter = _trie({token: i for token, i in spelled.items() if is_token[i]}, size)
    return children, token_at, lengths, shorter, last_merge, keys, ranks


def _merge_table(pairs: list[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    """Open addressing: keys int64 [slots], _FREE where empty, and int32 [slots] the rank of each merge."""
    slots = 1 << (4 * len(pairs) + 4).bit_length()
    keys, ranks = np.full(slots, _FREE, np.int64), np.zeros(slots, np.int32)
    for rank, (left, right) in enumerate(pairs):
        key = left << 32 | right
        slot = _slot(left, right, slots)
        while keys[slot] != _FREE:
            slot = (slot + 1) & (slots - 1)
        keys[slot], ranks[slot] = key, rank
    return keys, ranks


def _trie(tokens: dict[str, int], size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """int32 [nodes, 4] children, int32 [nodes] tokens and int32 [vocabulary] the next shorter token; -1 for none."""
    children, token_at = [[-1] * 4], [-1]
    shorter = np.full(size, -1, np.int32)
    for token, i in sorted(tokens.items(), key=lambda item: len(item[0])):
        node = 0
        for letter in token:
            shorter[i] = token_at[node] if token_at[node] >= 0 else shorter[i]
            code = _LETTERS.index(letter)
            if children[node][code] < 0:
                children[node][code] = len(children)
                children.append([-1] * 4)
                token_at.append(-1)
            node = children[node][code]
        token_at[node] = i
    return np.array(children, np.int32), np.array(token_at, np.int32), shorter


@njit(cache=True, inline="always")
def _slot(left, right, slots):
    return ((left * 40503 + right) * 40503 >> 5) & (slots - 1)


@njit(cache=True, inline="always")
def _rank(left, right, keys, ranks):
    """The rank of a merge, -1 where there is none."""
    key = np.int64(left) << 32 | np.int64(right)
    slot = _slot(np.int64(left), np.int64(right), keys.size)
    while keys[slot] != _FREE:
        if keys[slot] == key:
            return np.int64(ranks[slot])
        slot = (slot + 1) & (keys.size - 1)
    return np.int64(-1)


@njit(cache=True)
def _merge(symbols, count, keys, ranks, results, last):
    """Merge the symbols in place, lowest rank first and leftmost first; how many are left. `last`: the last merge."""
    while True:
        best, place = np.int64(-1), 0
        for i in range(count - 1):
            rank = _rank(symbols[i], symbols[i + 1], keys, ranks)
            if rank >= 0 and (best < 0 or rank < best):
                best, place = rank, i
        if best < 0:
            return count
        last[0], last[1], last[2] = symbols[place], symbols[place + 1], best
        symbols[place] = results[best]
        count -= 1
        symbols[place + 1 : count] = symbols[place + 2 : count + 1]


@njit(cache=True)
def _find_last_merges(in_order, lengths, letters, keys, ranks, results, last_merge, is_token):
    """Which tokens their own letters are merged to, and the merge that makes each."""
    symbols = np.empty(letters.shape[1], np.int32)
    for token in in_order:
        symbols[: lengths[token]] = letters[token, : lengths[token]]
        left_over = _merge(symbols, lengths[token], keys, ranks, results, last_merge[token])
        is_token[token] = left_over == 1 and symbols[0] == token


@njit(cache=True)
def _fit(left, right, last_merge, keys, ranks):
    """Whether the letters of both tokens are encoded as these two."""
    limit = np.int64(2**62)
    while True:
        rank = _rank(left, right, keys, ranks)
        if 0 <= rank < limit:
            return False
        left_rank, right_rank = last_merge[left, 2], last_merge[right, 2]
        if left_rank < 0 and right_rank < 0:
            return True
        # Of equal ranks the leftmost is merged first: the right one is undone first, and loses to the boundary.
        if left_rank > right_rank:
            limit, left = np.int64(left_rank), last_merge[left, 1]
        else:
            limit, right = np.int64(right_rank) + 1, last_merge[right, 0]


@njit(cache=True, nogil=True)
def _encode(
    codes,
    starts,
    ends,
    piece_bases,
    unknown_id,
    can_end,
    children,
    token_at,
    lengths,
    shorter,
    last_merge,
    keys,
    ranks,
    ids,
    counts,
):
    used = 0
    for sequence in range(starts.size):
        before, position = used, starts[sequence]
        while position < ends[sequence]:
            if codes[position] > 3:
                ids[used] = unknown_id
                used, position = used + 1, position + 1
                continue
            first, begin, after = used, position, position + 1
            while after < ends[sequence] and codes[after] < 4 and after - begin < piece_bases:
                after += 1
            can_end[: after - begin + 1] = True
            token = _longest(codes, begin, after, children, token_at)
            while position < after:
                last = ids[used - 1] if used > first else -1
                while token >= 0 and not (
                    can_end[position + lengths[token] - begin]
                    and (last < 0 or _fit(last, token, last_merge, keys, ranks))
                ):
                    token = shorter[token]
                if token < 0:  # no way on from here: back to the token before, which then tries a shorter one
                    can_end[position - begin] = False
                    token = last
                    used, position = used - 1, position - lengths[last]
                    continue
                ids[used] = token
                used, position = used + 1, position + lengths[token]
                token = _longest(codes, position, after, children, token_at)
        counts[sequence] = used - before
    return used


@njit(cache=True, inline="always")
def _longest(codes, position, after, children, token_at):
    """The longest token that begins at a place, -1 at the end."""
    node, token = 0, -1
    while position < after:
        node = children[node, codes[position]]
        if node < 0:
            break
        if token_at[node] >= 0:
            token = token_at[node]
        position += 1
    return token
