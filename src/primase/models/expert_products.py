"""The products of a mixture of experts on a processor: `model.experts = "primase"`.

Registered with transformers' interface for experts: the model, its weights and its checkpoints stay stock. Anywhere but
on a processor, and for experts of another build, transformers' own `grouped_mm` is used.

oneDNN compiles a bf16 product anew for each shape, and an expert has another number of tokens each time: a third of the
stock step's time goes there. Here each expert's tokens are filled up with zeros to a multiple of 32, so that few shapes
occur; and the tokens of one expert go through both of its layers while they are in the cache.
"""

from typing import Any

import torch
from torch import nn
from torch.nn import functional
from transformers.activations import SiLUActivation
from transformers.integrations.moe import ALL_EXPERTS_FUNCTIONS, grouped_mm_experts_forward

BF16_MULTIPLE = 32
"""Tokens of an expert are filled up to a multiple of it in bf16."""


class _SiluExperts(torch.autograd.Function):
    """down(silu(gate(x)) * up(x)) of each token's expert.

    Arithmetic in `dtype`, gradients of the weights in their own number format.
    """

    @staticmethod
    def forward(
        context: Any,
        tokens: torch.Tensor,
        gate_up: torch.Tensor,
        down: torch.Tensor,
        blocks: "_Blocks",
        dtype: torch.dtype,
    ) -> torch.Tensor:
        """float [choices, width] of `tokens` [tokens, width], `gate_up` [experts, 2 inner, width], `down`
        [experts, width, inner]; a choice is one token at one of its experts."""
        inner = down.shape[2]
        x = blocks.spread(tokens.to(dtype))
        both = x.new_empty(len(x), 2 * inner)
        activations = x.new_empty(len(x), inner)
        y = torch.empty_like(x)
        for expert, block in blocks:
            torch.mm(x[block], gate_up[expert].to(dtype).t(), out=both[block])
            gate, up = both[block].chunk(2, dim=1)
            torch.mul(functional.silu(gate), up, out=activations[block])
            torch.mm(activations[block], down[expert].to(dtype).t(), out=y[block])
        context.save_for_backward(x, both, activations, gate_up, down)
        context.blocks, context.token_dtype = blocks, tokens.dtype
        return y[blocks.place]

    @staticmethod
    def backward(context: Any, gradient: torch.Tensor) -> tuple:
        x, both, activations, gate_up, down = context.saved_tensors
        blocks, dtype, inner = context.blocks, x.dtype, down.shape[2]
        dy = torch.zeros_like(x)
        dy[blocks.place] = gradient.to(dtype)
        dx = torch.empty_like(x)
        d_both = x.new_empty(blocks.longest, 2 * inner)
        d_gate_up, d_down = torch.zeros_like(gate_up), torch.zeros_like(down)
        for expert, block in blocks:
            gate, up = both[block].chunk(2, dim=1)
            d_activations = dy[block] @ down[expert].to(dtype)
            d_gate, d_up = (half[: len(gate)] for half in d_both.chunk(2, dim=1))
            torch.mul(d_activations, functional.silu(gate), out=d_up)
            torch.mul(torch.ops.aten.silu_backward(d_activations, gate), up, out=d_gate)
            torch.mm(d_both[: len(gate)], gate_up[expert].to(dtype), out=dx[block])
            d_down[expert] = dy[block].t() @ activations[block]
            d_gate_up[expert] = d_both[: len(gate)].t() @ x[block]
        return blocks.gather_sum(dx).to(context.token_dtype), d_gate_up, d_down, None, None


class _Blocks:
    """Where the tokens of each expert lie when they are sorted by expert, each expert's block filled up with zeros."""

    def __init__(self, chosen: torch.Tensor, experts: int, multiple: int) -> None:
        """`chosen` int64 [tokens, experts a token]."""
        self.per_token = chosen.shape[1]
        flat = chosen.flatten()
        counts = flat.bincount(minlength=experts)
        filled = (counts + multiple - 1) // multiple * multiple
        stops = filled.cumsum(0)
        order = flat.argsort(stable=True)
        sorted_experts = flat[order]
        rank = torch.arange(len(flat)) - (counts.cumsum(0) - counts)[sorted_experts]
        self.place = torch.empty_like(order)
        """int64 [choices]: the row of each choice among the sorted ones."""
        self.place[order] = (stops - filled)[sorted_experts] + rank
        self.rows = int(stops[-1])
        self.longest = int(filled.max())
        self._slices = [
            (expert, slice(stop - rows, stop))
            for expert, (stop, rows) in enumerate(zip(stops.tolist(), filled.tolist(), strict=True))
            if rows
        ]

    def __iter__(self):
        """Pairs of an expert and the slice of its rows; experts without a token are passed over."""
        return iter(self._slices)

    def spread(self, tokens: torch.Tensor) -> torch.Tensor:
        """[rows, width]: each token at the place of each of its choices, zeros in between."""
        spread = tokens.new_zeros(self.rows, tokens.shape[1])
        spread[self.place] = tokens.repeat_interleave(self.per_token, dim=0) if self.per_token > 1 else tokens
        return spread

    def gather_sum(self, rows: torch.Tensor) -> torch.Tensor:
        """[tokens, width]: the sum over each token's choices."""
        gathered = rows[self.place]
        return gathered.unflatten(0, (-1, self.per_token)).sum(1) if self.per_token > 1 else gathered


def experts_forward(
    self: nn.Module, hidden_states: torch.Tensor, top_k_index: torch.Tensor, top_k_weights: torch.Tensor
) -> torch.Tensor:
    """float [tokens, width]; `self` is the model's module of experts, its arguments are those of transformers."""
    if not _is_silu_on_processor(self, hidden_states):
        return grouped_mm_experts_forward(self, hidden_states, top_k_index, top_k_weights)
    outputs = _silu_experts(hidden_states, top_k_index, self.gate_up_proj, self.down_proj)
    if top_k_index.shape[1] == 1:
        return outputs * top_k_weights.to(outputs.dtype)
    return (outputs.unflatten(0, top_k_index.shape) * top_k_weights.to(outputs.dtype)[..., None]).sum(1)


@torch.compiler.disable
def _silu_experts(
    tokens: torch.Tensor, chosen: torch.Tensor, gate_up: torch.Tensor, down: torch.Tensor
) -> torch.Tensor:
    """float [tokens x experts a token, width]: what each chosen expert makes of its token, not weighed yet."""
    dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else tokens.dtype
    blocks = _Blocks(chosen, len(down), BF16_MULTIPLE if dtype == torch.bfloat16 else 1)
    with torch.autocast("cpu", enabled=False):
        return _SiluExperts.apply(tokens, gate_up, down, blocks, dtype)


def _is_silu_on_processor(module: nn.Module, hidden_states: torch.Tensor) -> bool:
    """Whether the experts are of the plain kind: gate and up stacked in this order, SiLU, no biases."""
    return (
        hidden_states.device.type == "cpu"
        and isinstance(module.act_fn, (nn.SiLU, SiLUActivation))
        and module.has_gate
        and module.is_concatenated
        and not (module.is_transposed or module.has_bias or module.has_post_expert_norm or module._is_expert_parallel)
    )


def register() -> None:
    """Make `primase` a name that transformers knows for experts."""
    ALL_EXPERTS_FUNCTIONS.register("primase", experts_forward)
