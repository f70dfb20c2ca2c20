"""Token rows of sequences: one where a sequence fits the context, else windows side by side of about equal length.

The logits of a sequence are the mean of those of its windows, in training and in prediction alike.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from primase.errors import InputError
from primase.scoring import LoadedModel


@dataclass(frozen=True)
class TokenRows:
    """Sequences as a model reads them."""

    rows: list[list[np.ndarray]] = field(repr=False)
    """Of each sequence its windows, int64 [tokens] each, the special tokens of the tokenizer included."""
    unknown_tokens: int
    """Which the tokenizer cannot spell."""

    @property
    def long_sequences(self) -> int:
        """Of more than one window."""
        return sum(len(windows) > 1 for windows in self.rows)


def token_rows(loaded: LoadedModel, sequences: Sequence[bytes]) -> TokenRows:
    """Raises InputError for an empty sequence."""
    prefix, suffix = loaded.encoder.prefix_ids, loaded.encoder.suffix_ids
    capacity = loaded.context_tokens - len(prefix) - len(suffix)
    rows, unknown = [], 0
    for number, ids in enumerate(loaded.encoder.encode_many(sequences), 1):
        if not len(ids):
            raise InputError(f"sequence {number} is empty; remove it")
        unknown += loaded.encoder.unknown_count(ids)
        windows = np.array_split(ids, -(-len(ids) // capacity))
        rows.append([np.concatenate([prefix, window, suffix]).astype(np.int64) for window in windows])
    return TokenRows(rows, unknown)


def padded(rows: Sequence[np.ndarray], pad_token_id: int, device: torch.device) -> dict[str, torch.Tensor]:
    """Model inputs: padding on the right, where a causal model's real tokens do not see it."""
    longest = max(map(len, rows))
    ids = np.full((len(rows), longest), pad_token_id, np.int64)
    mask = np.zeros((len(rows), longest), np.int64)
    for place, row in enumerate(rows):
        ids[place, : len(row)] = row
        mask[place, : len(row)] = 1
    inputs = {"input_ids": torch.from_numpy(ids).to(device)}
    if not mask.all():
        inputs["attention_mask"] = torch.from_numpy(mask).to(device)
    return inputs


def batches(costs: Sequence[int], most: int) -> Iterator[list[int]]:
    """Numbers of items of like cost together, dearest first; count times dearest is at most `most`, or it is one."""
    order = sorted(range(len(costs)), key=lambda place: -costs[place])
    first = 0
    while first < len(order):
        count = max(1, most // max(costs[order[first]], 1))
        yield order[first : first + count]
        first += count


def shuffled_batches(costs: Sequence[int], most: int, draw: np.random.Generator) -> list[list[int]]:
    """As `batches`, of a random half hundred's worth of items at a time, and in random order."""
    order = draw.permutation(len(costs))
    mean = max(1, int(np.mean(costs)))
    pool = max(1, 50 * most // mean)
    found: list[list[int]] = []
    for first in range(0, len(order), pool):
        inside = order[first : first + pool]
        found.extend(inside[batch].tolist() for batch in batches([costs[place] for place in inside], most))
    return [found[place] for place in draw.permutation(len(found))]
