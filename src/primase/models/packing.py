"""Rows of unlike length one after the other in one row, without padding, where attention's kernel knows their limits.

Of 200-base windows in batches of 512, sorted by length, padding is 7 % of the tokens. What a layer does to each token
by itself needs no rows; attention gets the starts of the rows in place of a mask, and positions begin anew in each.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.nn.functional import pad
from transformers import PreTrainedModel
from transformers.masking_utils import sdpa_mask

from primase.models import kernels

FAMILIES = ("mixtral", "qwen3", "qwen3_moe")
"""Models (`config.model_type`) that hand what `mask` returns to their attention and mix tokens nowhere else."""

FEWEST_PORTIONS = 64
"""The tokens of a batch are filled up to a multiple of the power of two that makes no fewer portions of them: oneDNN
compiles a product anew for each number of tokens."""

_starts: torch.Tensor | None = None


@contextmanager
def packed(
    model: PreTrainedModel, batch: dict[str, torch.Tensor], ignored: int, dtype: torch.dtype
) -> Iterator[dict[str, torch.Tensor]]:
    """The batch with which `model` is to be called in this block: packed where it can be, or else as it is.

    `batch`: `input_ids`, `labels` and `targets` int64 [rows, tokens] and, where rows are padded, `attention_mask`;
    `dtype`: what the model computes in, by autocast or by its weights. Packed it is [1, tokens], with `position_ids`.
    Padding on the left has a target, the row's first token, so one place of it stays, as a row of its own; so does each
    token that is filled up, with labels and targets that are `ignored`.
    """
    global _starts
    if not _can_pack(model, batch, dtype):
        yield batch
        return
    is_real = batch.get("attention_mask", torch.ones_like(batch["input_ids"])).bool()
    kept = is_real | (batch["targets"] != ignored)
    begins = ~is_real | (is_real.cumsum(1) == 1)
    tokens = int(kept.sum())
    # Without padding the number of tokens is that of the batch, which other batches of full rows have too.
    fill = 0 if kept.all() else -tokens % (1 << max(tokens // FEWEST_PORTIONS, 1).bit_length() - 1)
    starts = pad(begins[kept], (0, fill + 1), value=True).nonzero().flatten()
    positions = torch.arange(tokens + fill) - starts[:-1].repeat_interleave(starts.diff())
    values = {"input_ids": 0, "labels": ignored, "targets": ignored}
    flat = {name: pad(batch[name][kept], (0, fill), value=value)[None] for name, value in values.items()}
    attention_mask = pad(is_real[kept].long(), (0, fill))  # of use to the balancing loss
    _starts = starts
    try:
        yield flat | {"position_ids": positions[None], "attention_mask": attention_mask[None]}
    finally:
        _starts = None


def mask(**arguments: Any) -> torch.Tensor | None:
    """What the attention of this name gets as its mask: the starts of packed rows, int64 [rows + 1], or torch's."""
    return sdpa_mask(**arguments) if _starts is None else _starts


def _can_pack(model: PreTrainedModel, batch: dict[str, torch.Tensor], dtype: torch.dtype) -> bool:
    """Whether each layer's attention will be the kernel's, which alone knows packed rows."""
    config = model.config
    head_width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return (
        config.model_type in FAMILIES
        and config._attn_implementation == "primase"
        and batch.keys() <= {"input_ids", "labels", "targets", "attention_mask"}
        and batch["input_ids"].shape[1] <= kernels.LONGEST_ROW
        and model.device.type == "cpu"
        and not (model.training and config.attention_dropout)
        and getattr(config, "sliding_window", None) is None
        and getattr(config, "is_causal", True)
        and kernels.takes_heads(head_width, dtype)
    )
