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

from primase.models import bf16_kernels

FAMILIES = ("mixtral", "qwen3", "qwen3_moe")
"""Models (`config.model_type`) that hand what `mask` returns to their attention and mix tokens nowhere else."""

_starts: torch.Tensor | None = None


FEWEST_PORTIONS = 64
"""The tokens of all rows are filled up to a multiple of at most this part of them, since oneDNN compiles a product anew
for each number of tokens."""


@contextmanager
def packed(
    model: PreTrainedModel, batch: dict[str, torch.Tensor], ignored: int, *, in_bf16: bool
) -> Iterator[dict[str, torch.Tensor]]:
    """The batch with which `model` is to be called in this block: packed where it can be, or else as it is.

    `batch`: `input_ids`, `labels` and `targets` int64 [rows, tokens] and, where rows are padded, `attention_mask`;
    `in_bf16`: whether the model runs under autocast to bf16. Packed it is [1, tokens of all rows and what they are
    filled up with], with `position_ids`; labels and targets of what is filled up are `ignored`.
    """
    global _starts
    if not (in_bf16 and _can_pack(model, batch)):
        yield batch
        return
    ids = batch["input_ids"]
    is_real = batch.get("attention_mask", torch.ones_like(ids)).bool()
    lengths = is_real.sum(1)
    tokens = int(lengths.sum())
    multiple = 1 << max(tokens // FEWEST_PORTIONS, 1).bit_length() - 1
    fill = 0 if is_real.all() else -tokens % multiple
    lengths = pad(lengths, (0, 1), value=fill)  # as a row of its own
    _starts = pad(lengths.cumsum(0), (1, 0))
    of_fill = {"input_ids": 0, "labels": ignored, "targets": ignored}
    packed = {name: pad(batch[name][is_real], (0, fill), value=value)[None] for name, value in of_fill.items()}
    packed["position_ids"] = (torch.arange(tokens + fill) - _starts[:-1].repeat_interleave(lengths))[None]
    packed["attention_mask"] = (torch.arange(tokens + fill) < tokens).long()[None]  # for the balancing loss
    try:
        yield packed
    finally:
        _starts = None


def mask(**arguments: Any) -> torch.Tensor | None:
    """What the attention of this name gets as its mask: the starts of packed rows, int64 [rows + 1], or torch's."""
    return sdpa_mask(**arguments) if _starts is None else _starts


def _can_pack(model: PreTrainedModel, batch: dict[str, torch.Tensor]) -> bool:
    """Whether each layer's attention will be the kernel's, which alone knows packed rows."""
    config = model.config
    head_width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return (
        config.model_type in FAMILIES
        and config._attn_implementation == "primase"
        and batch.keys() <= {"input_ids", "labels", "targets", "attention_mask"}
        and model.device.type == "cpu"
        and not (model.training and config.attention_dropout)
        and getattr(config, "sliding_window", None) is None
        and bf16_kernels.takes_heads(head_width)
    )
