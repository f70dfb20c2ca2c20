"""Attention of short rows on a processor: `model.attention = "primase"`.

Registered with transformers' interface for attention. The backward pass of torch's own attention in bf16 is a loop of
small products, each compiled for its shape: for rows of 50 tokens it takes twenty times as long as three batched
products. Where `kernels` are built, in bf16 or fp32, they do it instead, without a gradient too, and rows may be packed
(`packing`). Everywhere else (a GPU, fp32 with padding or without kernels, dropout, heads of two widths, scores that are
capped or shifted) torch's attention is used.
"""

from typing import Any

import torch
from torch import nn
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import repeat_kv, sdpa_attention_forward
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS

from primase.models import kernels, packing

OTHER_SCORES = ("softcap", "s_aux", "position_bias")
"""Options of transformers that change the scores: a cap (Gemma 2), sinks (GPT-OSS), a bias of the distance."""


class _Attention(torch.autograd.Function):
    """softmax(scale * query key^T, masked) value, everything [rows x heads, tokens, head width]."""

    @staticmethod
    def forward(
        context: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, hidden: torch.Tensor, scale: float
    ) -> torch.Tensor:
        """`hidden` bool, to be broadcast over [rows, heads, tokens, tokens]: pairs that do not see each other."""
        shape = query.shape
        query, key, value = (part.flatten(0, 1) for part in (query, key, value))
        scores = torch.bmm(query, key.transpose(1, 2)).mul_(scale)
        # The smallest number instead of minus infinity: a padded row sees nothing, and must not become NaN.
        scores.unflatten(0, shape[:2]).masked_fill_(hidden, torch.finfo(scores.dtype).min)
        weights = scores.softmax(-1)
        context.save_for_backward(query, key, value, weights)
        context.shape, context.scale = shape, scale
        return torch.bmm(weights, value).view(shape)

    @staticmethod
    def backward(context: Any, gradient: torch.Tensor) -> tuple:
        query, key, value, weights = context.saved_tensors
        gradient = gradient.flatten(0, 1)
        d_value = torch.bmm(weights.transpose(1, 2), gradient)
        d_weights = torch.bmm(gradient, value.transpose(1, 2))
        d_scores = torch.ops.aten._softmax_backward_data(d_weights, weights, -1, weights.dtype).mul_(context.scale)
        d_query = torch.bmm(d_scores, key)
        d_key = torch.bmm(d_scores.transpose(1, 2), query)
        return *(part.view(context.shape) for part in (d_query, d_key, d_value)), None, None


def attention_forward(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """float [rows, tokens, heads, head width]; arguments and result are those of transformers."""
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    is_autocast = torch.is_autocast_enabled("cpu")
    dtype = torch.get_autocast_dtype("cpu") if is_autocast else query.dtype
    if attention_mask is not None and attention_mask.dtype == torch.int64:  # the starts of packed rows
        query, key, value = (part.to(dtype) for part in (query, key, value))
        return kernels.attention(query, key, value, None, scale, attention_mask), None
    tokens, seen = query.shape[2], key.shape[2]
    is_causal = attention_mask is None and getattr(module, "is_causal", True)
    is_kernel = kernels.takes_attention(query.shape[-1], dtype, attention_mask)
    is_ours = (
        query.device.type == "cpu"
        and (is_kernel or (dtype == torch.bfloat16 and query.requires_grad))
        and dropout == 0
        and tokens == seen <= kernels.LONGEST_ROW
        and query.shape[-1] == value.shape[-1]
        and all(options.get(name) is None for name in OTHER_SCORES)
        and (is_causal or (attention_mask is not None and attention_mask.dtype == torch.bool))
    )
    if not is_ours:
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scale, **options
        )
    if is_kernel:
        query, key, value = (part.to(dtype) for part in (query, key, value))
        return kernels.attention(query, key, value, attention_mask, scale), None
    key, value = (repeat_kv(part, module.num_key_value_groups) for part in (key, value))
    hidden = torch.ones(tokens, tokens, dtype=torch.bool).triu(1) if is_causal else ~attention_mask
    with torch.autocast("cpu", enabled=False):
        output = _Attention.apply(*(part.to(dtype) for part in (query, key, value)), hidden, scale)
    return output.transpose(1, 2).contiguous(), None


def register() -> None:
    """Make `primase` a name that transformers knows for attention and for its masks."""
    AttentionInterface.register("primase", attention_forward)
    ALL_MASK_ATTENTION_FUNCTIONS.register("primase", packing.mask)
