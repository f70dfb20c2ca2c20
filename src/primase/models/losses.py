"""The loss of the next token without all logits at once.

A batch of 10,000 tokens and a vocabulary of 4,096 make 170 MB of logits in fp32, and their softmax and its gradient as
much again; a portion of them fits into a processor's cache. The gradient is computed along with the loss.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from primase.models import kernels

TOKENS_AT_ONCE = 1024

_SCALED_LOGITS = ("final_logit_softcapping", "logit_scale", "logits_scaling", "lm_head_multiplier")
"""Settings of models that change the logits after the output layer (Gemma 2, Cohere, Granite, Falcon-H1)."""


class _NextTokenNats(torch.autograd.Function):
    @staticmethod
    def forward(
        context: Any, hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor, dtype: torch.dtype
    ) -> torch.Tensor:
        """Summed nats, float32 []: `hidden` [tokens, width], `weight` [vocabulary, width], `targets` int64 [tokens]."""
        total = torch.zeros((), dtype=torch.float32, device=hidden.device)
        d_hidden = torch.empty_like(hidden) if context.needs_input_grad[0] else None
        d_weight = torch.zeros_like(weight, dtype=torch.float32) if context.needs_input_grad[1] else None
        working = weight.to(dtype)
        for first in range(0, len(hidden), TOKENS_AT_ONCE):
            part = slice(first, first + TOKENS_AT_ONCE)
            x, wanted = hidden[part].to(dtype), targets[part]
            nats, d_logits = _nats_and_gradient(x @ working.t(), wanted)
            total += nats
            if d_hidden is not None:
                d_hidden[part] = d_logits @ working
            if d_weight is not None:
                d_weight += d_logits.t() @ x
        context.save_for_backward(d_hidden, d_weight)
        context.weight_dtype = weight.dtype
        return total

    @staticmethod
    def backward(context: Any, gradient: torch.Tensor) -> tuple:
        d_hidden, d_weight = context.saved_tensors
        return (
            None if d_hidden is None else d_hidden * gradient.to(d_hidden.dtype),
            None if d_weight is None else (d_weight * gradient).to(context.weight_dtype),
            None,
            None,
        )


def _nats_and_gradient(logits: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Summed nats of `targets` int64 [tokens], their gradient [tokens, vocabulary] where `logits` was, or anew."""
    if kernels.takes_logits(logits):
        return kernels.softmax_gradient(logits, targets).sum(), logits
    log_p = logits.log_softmax(-1, dtype=torch.float32)
    nats = -log_p.gather(1, targets[:, None]).sum()
    d_logits = log_p.exp_()
    d_logits.scatter_add_(1, targets[:, None], d_logits.new_full((1, 1), -1.0).expand(len(targets), 1))
    return nats, d_logits.to(logits.dtype)


def next_token_nats(hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Summed nats of `targets` int64 [tokens], float32 [], from `hidden` [tokens, width] and an output layer's weight.

    The same sum as a cross entropy over `hidden @ weight.T`, products in the number format of autocast where it is on.
    """
    kind = hidden.device.type
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else hidden.dtype
    with torch.autocast(kind, enabled=False):
        return _NextTokenNats.apply(hidden, weight, targets, dtype)


def has_plain_head(model: PreTrainedModel) -> bool:
    """Whether the logits are the output layer's products and nothing more, so that portions of them can be priced."""
    head = model.get_output_embeddings()
    return (
        isinstance(head, nn.Linear)
        and head.bias is None
        and not any(getattr(model.config, name, None) for name in _SCALED_LOGITS)
    )


def batch_nats(
    model: nn.Module, batch: dict[str, torch.Tensor], ignored: int, *, unwrapped: PreTrainedModel
) -> tuple[torch.Tensor, Any]:
    """Summed nats of a batch's `targets` int64 [rows, tokens], float32 [], and what else the model returned.

    `batch` holds the model's inputs too; its `labels` are not used. `model` may be wrapped for several processes,
    `unwrapped` is it bare. Targets of the value `ignored` count nothing.
    """
    targets = batch["targets"]
    inputs = {name: values for name, values in batch.items() if name not in ("labels", "targets")}
    if has_plain_head(unwrapped):
        with _nats_for_logits(unwrapped, targets, ignored):
            outputs = model(**inputs, use_cache=False)
        return outputs.logits, outputs
    outputs = model(**inputs, use_cache=False)
    logits = outputs.logits.float().flatten(0, 1)
    return nn.functional.cross_entropy(logits, targets.flatten(), ignore_index=ignored, reduction="sum"), outputs


@contextmanager
def _nats_for_logits(model: PreTrainedModel, targets: torch.Tensor, ignored: int) -> Iterator[None]:
    """Within the block the model returns the summed nats of `targets` int64 [rows, tokens] where its logits would be.

    Targets of the value `ignored` count nothing. The output layer computes them in its own forward pass, so that what
    wraps it (DistributedDataParallel, FSDP) sees it used as ever.
    """
    head = model.get_output_embeddings()

    def forward(hidden: torch.Tensor) -> torch.Tensor:
        counted = targets != ignored
        return next_token_nats(hidden[counted], head.weight, targets[counted])

    head.forward = forward
    try:
        yield
    finally:
        del head.forward
