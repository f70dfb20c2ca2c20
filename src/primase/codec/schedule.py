"""Lanes that are coded side by side, and the context from which each token is predicted: that of `primase.scoring`."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from primase.errors import ModelError
from primase.scoring import LoadedModel, stride_tokens

STRIDE_FRACTION = 0.5
CONTEXTS_OF_A_LANE = 8
"""A lane starts without context, which costs bits; so long a lane spends few of them."""
MOST_LANES = 64
CACHE_BYTES = 2**29
"""Fewer lanes where keys and values would take more than this: 512 MiB."""
SAMPLE_BASES = 10_000


@dataclass(frozen=True)
class Block:
    """A stretch of token places that all lanes code before their contexts are read anew."""

    begin: int
    """First place in the lanes that is coded here."""
    lanes: np.ndarray
    """int64 [rows]: the lanes that still have tokens, in order."""
    firsts: np.ndarray
    """int64 [rows]: the context of each lane is the tokenizer's prefix and its tokens from here to `begin`."""
    ends: np.ndarray
    """int64 [rows]: end of what each lane codes here."""


def choose_lanes(loaded: LoadedModel, letters: np.ndarray) -> int:
    """Lanes for so many bases: fewer steps and longer lanes pull in opposite directions."""
    sample = letters[:SAMPLE_BASES]
    tokens = len(loaded.encoder.encode(sample)) * len(letters) / len(sample)
    config = loaded.model.config
    layers, width = getattr(config, "num_hidden_layers", 1), getattr(config, "hidden_size", 1)
    cache_bytes = 2 * 4 * layers * width * loaded.context_tokens * (1 + STRIDE_FRACTION)
    most = min(MOST_LANES, int(CACHE_BYTES / cache_bytes))
    return max(1, min(most, int(tokens / (CONTEXTS_OF_A_LANE * loaded.context_tokens))))


def cut_lanes(loaded: LoadedModel, letters: np.ndarray, lanes: int) -> list[np.ndarray]:
    """The letters in `lanes` parts of nearly equal length, cut between tokens where all tokens have one length."""
    unit = loaded.encoder.regular_k or 1
    lanes = min(lanes, max(1, len(letters) // unit))
    cuts = np.arange(1, lanes) * (len(letters) // unit) // lanes * unit
    return np.split(letters, cuts)


def tokens_of_lanes(loaded: LoadedModel, lanes: list[np.ndarray]) -> list[np.ndarray]:
    """Token ids int64 [tokens] of each lane. Raises ModelError where they do not spell the letters."""
    ids_of_lanes = loaded.encoder.encode_many(lanes)
    for letters, ids in zip(lanes, ids_of_lanes, strict=True):
        spelled = int(loaded.encoder.bases_per_token[ids].sum())
        if spelled != len(letters):
            raise ModelError(
                f"the tokenizer cannot spell the sequence: its tokens hold {spelled:,} of {len(letters):,} bases of a "
                "lane, so nothing could be decoded; give a model whose tokenizer knows A, C, G and T"
            )
        if loaded.encoder.decode(ids) != letters.tobytes():
            raise ModelError(
                "the tokenizer does not give back the bases that it was given, so nothing could be decoded; give a "
                "model whose tokenizer spells A, C, G and T"
            )
    return ids_of_lanes


def schedule(
    loaded: LoadedModel, token_counts: np.ndarray, stride_fraction: float = STRIDE_FRACTION
) -> Iterator[Block]:
    """Blocks in order, for lanes of so many tokens (int64 [lanes]).

    Token for token the context is the one that `score_windows` predicts it from: the first row is filled, then the
    context slides by a stride. The end tokens that scoring adds to a window are not coded, but move its last row.
    """
    prefix, suffix = len(loaded.encoder.prefix_ids), len(loaded.encoder.suffix_ids)
    capacity = loaded.context_tokens - prefix - suffix
    stride = stride_tokens(loaded, stride_fraction)
    totals = np.where(token_counts > capacity, token_counts + suffix, token_counts)
    begin = 0
    while (lanes := np.flatnonzero(token_counts > begin)).size:
        ends = np.minimum(begin + stride if begin else capacity, totals[lanes])
        firsts = np.maximum(ends - capacity, 0) if begin else np.zeros_like(ends)
        yield Block(begin, lanes, firsts, np.minimum(ends, token_counts[lanes]))
        begin = begin + stride if begin else capacity
