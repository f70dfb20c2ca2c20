"""The kernels in C++ beside plain torch in fp32, and within compiled layers beside the stock model."""

from types import SimpleNamespace

import pytest
import torch
from test_fast_step import MODELS, batch, fresh_model, gradients, relative
from torch import nn

from primase.models import kernels, short_attention
from primase.models.compiling import compile_layers
from tests.kernels import needs_kernels, skip_without_kernels

pytestmark = needs_kernels


@pytest.fixture(scope="module", autouse=True)
def built():
    kernels.build()
    skip_without_kernels()


def difference(ours, exact):
    return float((ours.detach().float() - exact.detach()).norm() / exact.detach().norm())


def plain_experts(tokens, chosen, gate_up, down):
    outputs = []
    for token, experts in zip(tokens, chosen, strict=True):
        for expert in experts:
            gate, up = (gate_up[expert] @ token).chunk(2)
            outputs.append(down[expert] @ (nn.functional.silu(gate) * up))
    return torch.stack(outputs)


@pytest.mark.parametrize(("tokens", "per_token"), [(1, 1), (200, 1), (90, 2)])
def test_experts(tokens, per_token):
    """One expert gets more than a block of tokens, some get none."""
    torch.manual_seed(1)
    experts, width, inner = 5, 64, 96
    likely = torch.tensor([0.9, 0.05, 0.05, 1e-9, 1e-9]).expand(tokens, experts)
    chosen = likely.multinomial(per_token)
    exact = [
        torch.randn(tokens, width),
        torch.randn(experts, 2 * inner, width) / width**0.5,
        torch.randn(experts, width, inner) / inner**0.5,
    ]
    exact = [part.requires_grad_() for part in exact]
    ours = [part.detach().clone().requires_grad_() for part in exact]
    expected = plain_experts(exact[0], chosen, *exact[1:])
    got = kernels.silu_experts(ours[0], chosen, *ours[1:])
    assert difference(got, expected) < 0.01
    gradient = torch.randn_like(expected)
    expected.backward(gradient)
    got.backward(gradient.to(got.dtype))
    for part, other in zip(ours, exact, strict=True):
        assert difference(part.grad, other.grad) < 0.015
    idle = set(range(experts)) - set(chosen.flatten().tolist())
    assert idle and all(float(part.grad[expert].abs().max()) == 0 for part in ours[1:] for expert in idle)


ATTENTIONS = {
    "a short row": (3, 4, 2, 20, 32, None),
    "rows of several blocks": (2, 4, 4, 150, 64, None),
    "one head of keys for all": (1, 4, 1, 341, 32, None),
    "padded on the left": (3, 8, 8, 43, 32, "left"),
    "padded on the right": (3, 8, 2, 70, 32, "right"),
}


@pytest.mark.parametrize("case", ATTENTIONS)
def test_attention(case):
    rows, heads, key_heads, tokens, width, padding = ATTENTIONS[case]
    torch.manual_seed(2)
    parts = [torch.randn(rows, tokens, some, width).to(torch.bfloat16) for some in (heads, key_heads, key_heads)]
    ours = [part.clone().requires_grad_() for part in parts]
    exact = [part.float().requires_grad_() for part in parts]
    real = torch.ones(rows, tokens, dtype=torch.bool)
    for row in range(rows if padding else 0):
        real[row, slice(0, 5 * row) if padding == "left" else slice(tokens - 5 * row, tokens)] = False
    seen = torch.ones(tokens, tokens, dtype=torch.bool).tril()[None, None] & real[:, None, None]
    query, key, value = (part.transpose(1, 2) for part in exact)
    shared = [part.repeat_interleave(heads // key_heads, dim=1) for part in (key, value)]
    expected = nn.functional.scaled_dot_product_attention(query, *shared, attn_mask=seen).transpose(1, 2)
    got = kernels.attention(*(part.transpose(1, 2) for part in ours), seen if padding else None, width**-0.5)
    counted = real[:, :, None, None]
    assert difference(got * counted, torch.where(counted, expected, 0)) < 0.01
    gradient = torch.randn_like(expected) * counted
    torch.where(counted, expected, 0).backward(gradient)
    got.backward(gradient.to(got.dtype))
    for part, other in zip(ours, exact, strict=True):
        assert difference(part.grad, other.grad) < 0.01


def test_queries_that_see_nothing_give_zeros_and_no_gradient():
    parts = [torch.randn(1, 2, 6, 32).to(torch.bfloat16).requires_grad_() for _ in range(3)]
    got = kernels.attention(*parts, torch.zeros(1, 1, 6, 6, dtype=torch.bool), 1.0)
    got.sum().backward()
    assert float(got.abs().max()) == 0
    assert all(float(part.grad.abs().max()) == 0 for part in parts)


@pytest.mark.parametrize(("tokens", "out", "width"), [(1, 32, 32), (130, 4096, 256), (64, 288, 96)])
def test_the_output_layer_rounds_its_factors_and_not_its_sums(tokens, out, width):
    torch.manual_seed(4)
    hidden, weight = torch.randn(2, tokens, width), torch.randn(out, width)
    assert kernels.takes_linear(weight) and not kernels.takes_linear(weight[:-1])
    rounded = hidden.to(torch.bfloat16).double() @ weight.to(torch.bfloat16).double().T
    got = kernels.linear(hidden, weight)
    assert got.dtype == torch.float32 and difference(got, rounded.float()) < 1e-5


def attend(value_width=64, **options):
    """`short_attention` as transformers calls it without a gradient, under autocast, and whether the kernel did it."""
    torch.manual_seed(3)
    query, key = (torch.randn(2, 4, 40, 64) for _ in range(2))
    value = torch.randn(2, 4, 40, value_width)
    called = []
    kernel = kernels.attention
    with pytest.MonkeyPatch.context() as patch, torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        patch.setattr(kernels, "attention", lambda *arguments: called.append(1) or kernel(*arguments))
        module = SimpleNamespace(is_causal=True, num_key_value_groups=1)
        ours = short_attention.attention_forward(module, query, key, value, None, **options)[0]
    with torch.inference_mode():
        exact = nn.functional.scaled_dot_product_attention(query, key, value, is_causal=True).transpose(1, 2)
    return bool(called), difference(ours, exact)


def test_attention_without_a_gradient_is_the_kernels_too():
    is_kernel, error = attend()
    assert is_kernel and error < 0.01


@pytest.mark.parametrize("other", [{"value_width": 32}, {"position_bias": torch.zeros(1, 4, 40, 40)}, {"s_aux": 1.0}])
def test_other_attentions_are_left_to_transformers(other):
    is_kernel, error = attend(**other)
    assert not is_kernel and error < 0.01


def test_scores_that_are_no_numbers_are_seen():
    """The training stops on a loss that is not finite, and must not be kept from it."""
    for bad in (float("nan"), float("inf")):
        parts = [torch.randn(1, 2, 6, 32).to(torch.bfloat16) for _ in range(3)]
        parts[0][0, :, 2, 0] = bad
        parts[1].abs_()
        got = kernels.attention(*parts, None, 1.0)
        assert got[0, 2, 0].isnan().all()
        assert got[0, 3].isfinite().all()


def test_the_operators_are_sound():
    """What torch.compile believes of them (shapes, strides, gradients, no memory shared) is what they do."""
    torch.manual_seed(3)
    weights = torch.randn(3, 64, 32), torch.randn(3, 32, 32)
    experts = torch.randn(7, 32).to(torch.bfloat16), torch.randint(3, (7, 1)), *weights
    experts = [part.requires_grad_() if part.is_floating_point() else part for part in experts]
    torch.library.opcheck(torch.ops.primase.silu_experts, experts)
    heads = [torch.randn(2, 9, 2, 32).to(torch.bfloat16).transpose(1, 2).requires_grad_() for _ in range(3)]
    torch.library.opcheck(torch.ops.primase.attention, (*heads, None, None, 0.2))
    one_row = [part[:1] for part in heads]
    torch.library.opcheck(torch.ops.primase.attention, (*one_row, None, torch.tensor([0, 2, 9]), 0.2))


@pytest.mark.parametrize("name", ["tutorial", "two experts a token, balanced", "dense"])
def test_compiled_layers_in_bf16_are_as_near_to_fp32_as_stock_bf16(name, monkeypatch):
    # Of two experts all are chosen: bf16 decides a close choice in another way, and no gradient could be compared.
    wide = {"num_local_experts": 2} if "two" in name else {}
    wide |= {"hidden_size": 64, "intermediate_size": 32, "head_dim": 32, "num_attention_heads": 2}
    monkeypatch.setitem(MODELS, "wide", MODELS[name] | wide | {"num_key_value_heads": 1})
    inputs = batch("right")
    _, exact = gradients(fresh_model("wide", "eager"), inputs, stock=True)
    model = fresh_model("wide", "primase")
    compile_layers(model)
    used = []

    def note(kernel):
        theirs = getattr(kernels, kernel)
        monkeypatch.setattr(kernels, kernel, lambda *parts: used.append(kernel) or theirs(*parts))

    note("attention")
    note("silu_experts")
    _, ours = gradients(model, inputs, stock=False, autocast=True)
    _, stock = gradients(fresh_model("wide", "eager"), inputs, stock=True, autocast=True)
    assert relative(ours, exact) < 1.5 * relative(stock, exact) + 0.01
    assert set(used) == ({"attention"} if name == "dense" else {"attention", "silu_experts"})
