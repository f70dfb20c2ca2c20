"""The products of a mixture of experts on a processor: `model.experts = "primase"`.

Registered with transformers' interface for experts: the model, its weights and its checkpoints stay stock. Anywhere but
on a processor, and for experts of another build, transformers' own `grouped_mm` is used.

oneDNN compiles a bf16 product anew for each shape, and an expert has another number of tokens each time: a third of the
stock step's time goes there. A product of few tokens also reaches a fraction of what the processor can do. Here experts
with about as many tokens form a group: their tokens are filled up with zeros to one of few numbers, and one batched
product takes them all. Where the kernels for bf16 are built (`kernels`), they do it instead.
"""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from transformers.activations import SiLUActivation
from transformers.integrations.moe import ALL_EXPERTS_FUNCTIONS, _default_apply_gate, grouped_mm_experts_forward

from primase.models import kernels

BF16_MULTIPLE = 32
"""Tokens of an expert are filled up to a multiple of it in bf16."""

STEPS_OF_AN_OCTAVE = 4
"""Numbers of tokens between one and its double that they are filled up to: more waste less, and make smaller groups."""


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
        x = blocks.spread(tokens.to(dtype))
        both = x.new_empty(len(x), gate_up.shape[1])
        working_gate_up = [group.weights(gate_up, dtype) for group in blocks.groups]
        for group, weights in zip(blocks.groups, working_gate_up, strict=True):
            torch.bmm(group.of(x), weights.transpose(1, 2), out=group.of(both))
        activations = _gated(both)
        y = torch.empty_like(x)
        working_down = [group.weights(down, dtype) for group in blocks.groups]
        for group, weights in zip(blocks.groups, working_down, strict=True):
            torch.bmm(group.of(activations), weights.transpose(1, 2), out=group.of(y))
        context.save_for_backward(x, both, activations, gate_up, down, *working_gate_up, *working_down)
        context.blocks, context.token_dtype = blocks, tokens.dtype
        return y[blocks.place]

    @staticmethod
    def backward(context: Any, gradient: torch.Tensor) -> tuple:
        x, both, activations, gate_up, down, *working = context.saved_tensors
        blocks = context.blocks
        dy = torch.zeros_like(x)
        dy[blocks.place] = gradient.to(x.dtype)
        d_activations, d_down = blocks.backward(dy, activations, down, working[len(blocks.groups) :])
        d_both = _gated_backward(d_activations, both)
        dx, d_gate_up = blocks.backward(d_both, x, gate_up, working[: len(blocks.groups)])
        return blocks.gather_sum(dx).to(context.token_dtype), d_gate_up, d_down, None, None


def _gated(both: torch.Tensor) -> torch.Tensor:
    """[rows, inner]: silu(gate) * up of `both` [rows, 2 inner]."""
    gate, up = both.chunk(2, dim=1)
    return functional.silu(gate) * up


def _gated_backward(gradient: torch.Tensor, both: torch.Tensor) -> torch.Tensor:
    """[rows, 2 inner]: the gradient of `both`."""
    gate, up = both.chunk(2, dim=1)
    return torch.cat((torch.ops.aten.silu_backward(gradient * up, gate), gradient * functional.silu(gate)), dim=1)


@dataclass(frozen=True)
class _Group:
    """Experts with equally many rows, zeros among them, one expert's after the other's."""

    experts: list[int]
    first: int
    rows: int
    """Of each expert."""

    def of(self, tensor: torch.Tensor) -> torch.Tensor:
        """[experts of the group, rows, width]: a view of `tensor` [all rows, width]."""
        stop = self.first + len(self.experts) * self.rows
        return tensor[self.first : stop].view(len(self.experts), self.rows, -1)

    def weights(self, weights: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        """[experts of the group, ...] of `weights` [experts, ...], in `dtype`."""
        if len(self.experts) == 1:
            return weights[self.experts[0]].to(dtype)[None]
        # One by one: to pick and to convert at once would be two passes over the weights.
        chosen = weights.new_empty((len(self.experts), *weights.shape[1:]), dtype=dtype)
        for place, expert in enumerate(self.experts):
            chosen[place].copy_(weights[expert])
        return chosen


class _Blocks:
    """Where the tokens of each expert lie when they are sorted by expert, each expert's filled up with zeros."""

    def __init__(self, chosen: torch.Tensor, experts: int, filled: Callable[[int], int]) -> None:
        """`chosen` int64 [tokens, experts a token]; `filled`: how many rows an expert of so many tokens gets."""
        self.per_token = chosen.shape[1]
        flat = chosen.flatten()
        counts = flat.bincount(minlength=experts)
        by_rows = defaultdict(list)
        for expert, tokens in enumerate(counts.tolist()):
            by_rows[filled(tokens)].append(expert)
        self.idle = by_rows.pop(0, [])
        """Experts without a token."""
        self.groups: list[_Group] = []
        self.rows = 0
        starts = [0] * experts
        for rows, members in sorted(by_rows.items()):
            self.groups.append(_Group(members, self.rows, rows))
            for expert in members:
                starts[expert] = self.rows
                self.rows += rows
        order = flat.argsort(stable=True)
        sorted_experts = flat[order]
        rank = torch.arange(len(flat)) - (counts.cumsum(0) - counts)[sorted_experts]
        self.place = torch.empty_like(order)
        """int64 [choices]: the row of each choice among the sorted ones."""
        self.place[order] = torch.tensor(starts)[sorted_experts] + rank

    def spread(self, tokens: torch.Tensor) -> torch.Tensor:
        """[rows, width]: each token at the place of each of its choices, zeros in between."""
        spread = tokens.new_zeros(self.rows, tokens.shape[1])
        spread[self.place] = tokens.repeat_interleave(self.per_token, dim=0) if self.per_token > 1 else tokens
        return spread

    def gather_sum(self, rows: torch.Tensor) -> torch.Tensor:
        """[tokens, width]: the sum over each token's choices."""
        gathered = rows[self.place]
        return gathered.unflatten(0, (-1, self.per_token)).sum(1) if self.per_token > 1 else gathered

    def backward(
        self, gradient: torch.Tensor, inputs: torch.Tensor, weights: torch.Tensor, working: list[torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Gradients of `inputs` [rows, in] and `weights` [experts, out, in], given that [rows, out] of their product.

        `working`: the weights of each group as they were multiplied.
        """
        d_inputs, d_weights = torch.empty_like(inputs), torch.empty_like(weights)
        for group, used in zip(self.groups, working, strict=True):
            torch.bmm(group.of(gradient), used, out=group.of(d_inputs))
            products = torch.bmm(group.of(gradient).transpose(1, 2), group.of(inputs))
            for expert, product in zip(group.experts, products, strict=True):
                d_weights[expert].copy_(product)
        for expert in self.idle:
            d_weights[expert].zero_()
        return d_inputs, d_weights


def _filled(tokens: int) -> int:
    """Rows in bf16: a multiple of BF16_MULTIPLE, and of few numbers beyond."""
    octave = 1 << max(tokens - 1, 0).bit_length()  # the power of two that they fit in
    step = max(octave // (2 * STEPS_OF_AN_OCTAVE), BF16_MULTIPLE)
    return -(-tokens // step) * step


def experts_forward(
    self: nn.Module, hidden_states: torch.Tensor, top_k_index: torch.Tensor, top_k_weights: torch.Tensor
) -> torch.Tensor:
    """float [tokens, width]; `self` is the model's module of experts, its arguments are those of transformers."""
    if not _is_silu_on_processor(self, hidden_states):
        return grouped_mm_experts_forward(self, hidden_states, top_k_index, top_k_weights)
    dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else hidden_states.dtype
    if dtype == torch.bfloat16 and kernels.takes_experts(self.gate_up_proj, self.down_proj):
        outputs = kernels.silu_experts(hidden_states, top_k_index, self.gate_up_proj, self.down_proj)
    else:
        outputs = _silu_experts(hidden_states, top_k_index, self.gate_up_proj, self.down_proj, dtype)
    if top_k_index.shape[1] == 1:
        return outputs * top_k_weights.to(outputs.dtype)
    return (outputs.unflatten(0, top_k_index.shape) * top_k_weights.to(outputs.dtype)[..., None]).sum(1)


@torch.compiler.disable
def _silu_experts(
    tokens: torch.Tensor, chosen: torch.Tensor, gate_up: torch.Tensor, down: torch.Tensor, dtype: torch.dtype
) -> torch.Tensor:
    """float [tokens x experts a token, width]: what each chosen expert makes of its token, not weighed yet."""
    blocks = _Blocks(chosen, len(down), _filled if dtype == torch.bfloat16 else int)
    with torch.autocast("cpu", enabled=False):
        return _SiluExperts.apply(tokens, gate_up, down, blocks, dtype)


NOT_PLAIN = ("is_transposed", "has_bias", "has_post_expert_norm", "_is_expert_parallel")
"""Attributes of an experts module; the last two are not in the oldest release of transformers that is taken."""


def _is_silu_on_processor(module: nn.Module, hidden_states: torch.Tensor) -> bool:
    """Whether the experts are of the plain kind: gate and up stacked in this order, SiLU, no biases."""
    return (
        hidden_states.device.type == "cpu"
        and isinstance(getattr(module, "act_fn", None), (nn.SiLU, SiLUActivation))
        and getattr(type(module), "_apply_gate", None) is _default_apply_gate
        and module.has_gate
        and module.is_concatenated
        and not any(getattr(module, name, False) for name in NOT_PLAIN)
    )


def register() -> None:
    """Make `primase` a name that transformers knows for experts."""
    ALL_EXPERTS_FUNCTIONS.register("primase", experts_forward)
