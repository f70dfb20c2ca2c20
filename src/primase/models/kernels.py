"""Kernels in C++ for a processor: operators of torch, so that compiled layers hold them without a break.

In bf16 experts, attention, the output layer and the loss, where the processor has bf16 products in hardware; in fp32
attention, where it has vectors of eight numbers (AVX2). They are built where layers are to be compiled
(`training.compile`) and where a model is loaded to compute in bf16, if a C++ compiler is there, with what torch.compile
builds with, and kept in its cache. From then on they are used for all models of the process, until a training that does
without them puts them away.
"""

import ctypes
from pathlib import Path
from typing import Any

import torch

WIDTH_MULTIPLE = 32
"""What widths must be multiples of: a row of a tile holds so many bf16 numbers."""

LONGEST_ROW = 1024
"""Tokens of a row up to which attention is done here: beyond, scores of all pairs cost more than torch's attention."""

_bf16: ctypes.CDLL | None = None
_fp32: ctypes.CDLL | None = None


def build() -> None:
    """Build the kernels of both number formats, or find them built, where the processor has what they need."""
    global _bf16, _fp32
    if _bf16 is None and torch.cpu._is_avx512_bf16_supported():
        library = _built("bf16_kernels.cpp")
        if library.can_run():
            _bf16 = library
    if _fp32 is None and torch.cpu._is_avx2_supported():
        _fp32 = _built("fp32_kernels.cpp")


def _built(source: str) -> ctypes.CDLL:
    from torch._inductor.codecache import CppCodeCache  # takes a second to import

    folder = Path(__file__).parent
    text = "".join((folder / name).read_text("utf-8") for name in ("kernels.h", source))
    # torch.compile spells its vectors out and switches the compiler's own off; plain loops of the source rely on them.
    return CppCodeCache.load(text, needs_vec_isa=True, extra_flags=("-ftree-loop-vectorize",))


def put_away() -> None:
    """Do without them until they are built again: a training without must compute the same in any process."""
    global _bf16, _fp32
    _bf16 = _fp32 = None


def _call(library: ctypes.CDLL | None, name: str, *arguments: torch.Tensor | int | float | None) -> None:
    """Tensors are handed on as the address of their first number."""
    getattr(library, name)(*map(_in_c, arguments))


def _in_c(argument: torch.Tensor | int | float | None) -> Any:
    if argument is None or isinstance(argument, torch.Tensor):
        return ctypes.c_void_p(None if argument is None else argument.data_ptr())
    return ctypes.c_int64(argument) if isinstance(argument, int) else ctypes.c_float(argument)


# ---- experts ----


def takes_experts(gate_up: torch.Tensor, down: torch.Tensor) -> bool:
    """Whether the kernels are built, and `silu_experts` takes experts of this shape and number format."""
    has_whole_tiles = not any(width % WIDTH_MULTIPLE for width in down.shape[1:])
    return _bf16 is not None and has_whole_tiles and gate_up.dtype == down.dtype == torch.float32


def silu_experts(tokens: torch.Tensor, chosen: torch.Tensor, gate_up: torch.Tensor, down: torch.Tensor) -> torch.Tensor:
    """bf16 [choices, width]: down(silu(gate(x)) * up(x)) of each token at each of its experts.

    `tokens` float [tokens, width], `chosen` int64 [tokens, experts a token], `gate_up` float32 [experts, 2 inner,
    width], `down` float32 [experts, width, inner]. Products and results are bf16, sums and the weights' gradients fp32.
    """
    return torch.ops.primase.silu_experts(tokens.to(torch.bfloat16), chosen, gate_up, down)[0]


@torch.library.custom_op("primase::silu_experts", mutates_args=())
def _experts(
    tokens: torch.Tensor, chosen: torch.Tensor, gate_up: torch.Tensor, down: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """The output, and for the backward pass gate and up of the choices sorted by expert, that order, and in it the
    first choice of each expert."""
    experts, width, inner = down.shape
    tokens, gate_up, down = tokens.contiguous(), gate_up.contiguous(), down.contiguous()
    flat = chosen.flatten()
    order = flat.argsort(stable=True)
    first = flat.new_zeros(experts + 1)
    first[1:] = flat.bincount(minlength=experts).cumsum(0)
    output, both = tokens.new_empty(len(flat), width), tokens.new_empty(len(flat), 2 * inner)
    sizes = (experts, chosen.shape[1], width, inner)
    _call(_bf16, "experts_forward", tokens, gate_up, down, order, first, *sizes, both, output)
    return output, both, order, first


@_experts.register_fake
def _(tokens, chosen, gate_up, down):
    experts, width, inner = down.shape
    choices = chosen.numel()
    shapes = tokens.new_empty(choices, width), tokens.new_empty(choices, 2 * inner)
    return *shapes, chosen.new_empty(choices), chosen.new_empty(experts + 1)


@torch.library.custom_op("primase::silu_experts_backward", mutates_args=())
def _experts_backward(
    gradient: torch.Tensor,
    tokens: torch.Tensor,
    gate_up: torch.Tensor,
    down: torch.Tensor,
    both: torch.Tensor,
    order: torch.Tensor,
    first: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Gradients of the tokens, one a choice, and of the weights."""
    experts, width, inner = down.shape
    gradient, tokens, gate_up, down = (part.contiguous() for part in (gradient, tokens, gate_up, down))
    results = torch.empty_like(gradient), torch.empty_like(gate_up), torch.empty_like(down)
    sizes = (experts, len(order) // max(len(tokens), 1), width, inner)  # an empty batch has no token
    _call(_bf16, "experts_backward", gradient, tokens, gate_up, down, both, order, first, *sizes, *results)
    return results


@_experts_backward.register_fake
def _(gradient, tokens, gate_up, down, both, order, first):
    kept = {"memory_format": torch.contiguous_format}
    return tuple(torch.empty_like(part, **kept) for part in (gradient, gate_up, down))


def _keep_experts(ctx: Any, inputs: tuple, output: tuple) -> None:
    tokens, chosen, gate_up, down = inputs
    ctx.save_for_backward(tokens, gate_up, down, *output[1:])
    ctx.per_token = chosen.shape[1]


def _experts_gradient(ctx: Any, gradient: torch.Tensor, *_: Any) -> tuple:
    d_tokens, d_gate_up, d_down = torch.ops.primase.silu_experts_backward(gradient, *ctx.saved_tensors)
    if ctx.per_token > 1:
        d_tokens = d_tokens.unflatten(0, (-1, ctx.per_token)).sum(1)
    return d_tokens, None, d_gate_up, d_down


_experts.register_autograd(_experts_gradient, setup_context=_keep_experts)


# ---- the output layer ----


def takes_linear(weight: torch.Tensor) -> bool:
    """Whether the kernels are built, and `linear` takes a weight [out, width] of this shape and number format."""
    return _bf16 is not None and weight.dtype == torch.float32 and not any(n % WIDTH_MULTIPLE for n in weight.shape)


def linear(hidden: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """float32 [..., out] of `hidden` float32 [..., width] and `weight` [out, width], without a gradient.

    Both are rounded to bf16 and their products are not: torch would round the sums too.
    """
    hidden, weight = hidden.contiguous(), weight.contiguous()
    out, width = weight.shape
    output = hidden.new_empty(*hidden.shape[:-1], out)
    _call(_bf16, "linear", hidden, weight, hidden.numel() // width, out, width, output)
    return output


# ---- the loss ----


def takes_logits(logits: torch.Tensor) -> bool:
    """Whether the kernels are built, and `softmax_gradient` takes logits of this width and number format."""
    is_plain = logits.device.type == "cpu" and logits.dtype == torch.bfloat16 and logits.is_contiguous()
    return _bf16 is not None and is_plain and logits.shape[-1] % WIDTH_MULTIPLE == 0


def softmax_gradient(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """float64 [tokens]: the nats of each target int64 [tokens] under `logits` bf16 [tokens, vocabulary].

    In their place `logits` then hold the gradient of the summed nats, rounded to bf16; what lies between is fp32.
    """
    nats = torch.empty(len(logits), dtype=torch.float64)
    _call(_bf16, "softmax_gradient", logits, targets.contiguous(), *logits.shape, nats)
    return nats


# ---- attention ----


def _library(dtype: torch.dtype) -> ctypes.CDLL | None:
    return {torch.bfloat16: _bf16, torch.float32: _fp32}.get(dtype)


def takes_heads(width: int, dtype: torch.dtype) -> bool:
    """Whether the kernels of this number format are built, and `attention` takes heads of this width."""
    return _library(dtype) is not None and width % WIDTH_MULTIPLE == 0


def takes_attention(width: int, dtype: torch.dtype, mask: torch.Tensor | None) -> bool:
    """Whether `attention` takes heads of this width and this mask, which in fp32 it knows none of."""
    is_simple = mask is None or (
        dtype == torch.bfloat16 and mask.dtype == torch.bool and mask.ndim == 4 and mask.shape[1] == 1
    )
    return is_simple and takes_heads(width, dtype)


def attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    seen: torch.Tensor | None,
    scale: float,
    starts: torch.Tensor | None = None,
) -> torch.Tensor:
    """[rows, tokens, heads, width]: softmax(scale * query key^T, of what is seen) value, in the query's number format.

    `query` bf16 or fp32 [rows, heads, tokens, width], `key` and `value` the same with as many heads or a divisor of
    them, `seen` bool [rows or 1, 1, tokens, tokens] in bf16, None: each query sees the keys up to its own. A query that
    sees nothing gives zeros. The scores are held for a block of queries at a time, and computed again in the backward
    pass.

    `starts` int64 [n + 1], from 0 to the number of tokens: the one row that is given holds n rows, one after the other;
    row i are its tokens from starts[i] to starts[i + 1], and sees nothing of the others. `seen` is None then.
    """
    return torch.ops.primase.attention(query, key, value, seen, starts, scale)[0]


@torch.library.custom_op("primase::attention", mutates_args=())
def _attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    seen: torch.Tensor | None,
    starts: torch.Tensor | None,
    scale: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The output, and float32 [rows, heads, tokens], the logarithm of each query's sum."""
    rows, heads, tokens, width = query.shape
    output = query.new_empty(rows, tokens, heads, width)
    shifts = query.new_empty(rows, heads, tokens, dtype=torch.float32)
    laid_out = _laid_out(query, key, value, seen)
    sizes = (_row_count(query, starts), heads, key.shape[1], tokens, width, scale)
    _call(_library(query.dtype), "attention_forward", *laid_out, starts, *sizes, output, shifts)
    return output, shifts


def _row_count(query: torch.Tensor, starts: torch.Tensor | None) -> int:
    return len(query) if starts is None else len(starts) - 1


@_attention.register_fake
def _(query, key, value, seen, starts, scale):
    rows, heads, tokens, width = query.shape
    return query.new_empty(rows, tokens, heads, width), query.new_empty(rows, heads, tokens, dtype=torch.float32)


@torch.library.custom_op("primase::attention_backward", mutates_args=())
def _attention_backward(
    gradient: torch.Tensor,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    seen: torch.Tensor | None,
    starts: torch.Tensor | None,
    shifts: torch.Tensor,
    scale: float,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Gradients of query, key and value, each [rows, heads, tokens, width], a token's heads side by side."""
    _, heads, tokens, width = query.shape
    results = tuple(map(_heads_of_tokens, (query, key, value)))
    sizes = (_row_count(query, starts), heads, key.shape[1], tokens, width, scale)
    laid_out = _laid_out(query, key, value, seen)
    _call(
        _library(query.dtype), "attention_backward", gradient.contiguous(), *laid_out, starts, *sizes, shifts, *results
    )
    return results


@_attention_backward.register_fake
def _(gradient, query, key, value, seen, starts, shifts, scale):
    return tuple(map(_heads_of_tokens, (query, key, value)))


def _heads_of_tokens(part: torch.Tensor) -> torch.Tensor:
    rows, heads, tokens, width = part.shape
    return part.new_empty(rows, tokens, heads, width).transpose(1, 2)


def _laid_out(*parts: torch.Tensor | None) -> list[torch.Tensor | int | None]:
    """Query, key and value each with the numbers between neighbouring rows, heads and tokens; the mask with those
    between rows (0 where one is for all) and queries."""
    *heads, seen = (part if part is None or part.stride(-1) == 1 else part.contiguous() for part in parts)
    arguments = [item for part in heads for item in (part, *part.stride()[:3])]
    if seen is None:
        return [*arguments, None, 0, 0]
    return [*arguments, seen, seen.stride(0) if seen.shape[0] > 1 else 0, seen.stride(2)]


def _keep_attention(ctx: Any, inputs: tuple, output: tuple) -> None:
    query, key, value, seen, starts, ctx.scale = inputs
    ctx.save_for_backward(query, key, value, seen, starts, output[1])


def _attention_gradient(ctx: Any, gradient: torch.Tensor, _: Any) -> tuple:
    gradients = torch.ops.primase.attention_backward(gradient, *ctx.saved_tensors, ctx.scale)
    return *gradients, None, None, None


_attention.register_autograd(_attention_gradient, setup_context=_keep_attention)
