"""A forward pass in bf16 that keeps what is made of its results exact enough: fp32 weights, fp32 logits."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from primase.models import kernels, routers, tensor_pool
from primase.models.build import is_mixture, register_products
from primase.models.compiling import has_compiler


def take_kernels(model: PreTrainedModel) -> None:
    """Attention and experts as the training computes them in bf16 on a processor, where the architecture has them.

    Positions are rounded too. Kernels are built where they can be, and tensors then take their memory from the pool.
    """
    routers.keep_in_fp32(model)
    if model.device.type != "cpu":
        return
    register_products()
    if model.config._attn_implementation == "sdpa":
        model.set_attn_implementation("primase")
    if is_mixture(model.config) and model._can_set_experts_implementation():
        model.set_experts_implementation("primase")
    for module in model.modules():
        if type(module).__name__.endswith("RotaryEmbedding"):
            # In fp32 they would make queries and keys fp32 until these are rounded again: a tenth of the time.
            module.register_forward_hook(_rounded_angles)
    if has_compiler(model.device):
        kernels.build()
        tensor_pool.install()


@contextmanager
def rounded(model: PreTrainedModel) -> Iterator[None]:
    """Products in bf16, but logits in fp32: bf16 would be off by up to 0.03 nats in a logit of 8."""
    head, kind = model.get_output_embeddings(), model.device.type
    has_kernel = kind == "cpu" and type(head) is nn.Linear and head.bias is None

    def forward(hidden: torch.Tensor) -> torch.Tensor:
        with torch.autocast(kind, enabled=False):
            if has_kernel and kernels.takes_linear(head.weight):
                return kernels.linear(hidden.float(), head.weight)
            return type(head).forward(head, hidden.float())

    if head is not None:
        head.forward = forward
    try:
        with torch.autocast(kind, torch.bfloat16):
            yield
    finally:
        if head is not None:
            del head.forward


def _rounded_angles(_module: nn.Module, _inputs: tuple, angles: Any) -> Any:
    """Cosines and sines in bf16; complex numbers, as some models have them, as they are."""
    return tuple(one.bfloat16() for one in angles) if isinstance(angles, tuple) else angles
