"""Attention's kernel in fp32 beside plain torch in fp64, and within the model beside the stock one."""

from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch
from test_fast_step import IGNORED, MODELS, fresh_model, relative
from test_packing import WIDE, padded
from torch import nn

from primase.models import kernels, losses, packing, short_attention
from primase.models.compiling import compile_layers
from primase.models.packing import packed
from tests.kernels import check_rows_one_by_one, needs_fp32_kernels

pytestmark = needs_fp32_kernels


@pytest.fixture(autouse=True)
def built():
    kernels.build()
    yield
    kernels.put_away()


def difference(ours, exact):
    return float((ours.detach() - exact.detach()).norm() / exact.detach().norm())


ATTENTIONS = {
    "a single token": (2, 2, 2, 1, 32),
    "a short row": (3, 4, 2, 20, 32),
    "rows of several blocks": (2, 4, 4, 150, 64),
    "one head of keys for all": (1, 4, 1, 341, 32),
    "whole blocks": (1, 2, 1, 128, 96),
}


@pytest.mark.parametrize("case", ATTENTIONS)
def test_attention(case):
    rows, heads, key_heads, tokens, width = ATTENTIONS[case]
    torch.manual_seed(2)
    ours = [torch.randn(rows, tokens, some, width).requires_grad_() for some in (heads, key_heads, key_heads)]
    exact = [part.detach().double().requires_grad_() for part in ours]
    query, key, value = (part.transpose(1, 2) for part in exact)
    shared = [part.repeat_interleave(heads // key_heads, dim=1) for part in (key, value)]
    expected = nn.functional.scaled_dot_product_attention(query, *shared, is_causal=True, scale=0.3).transpose(1, 2)
    got = kernels.attention(*(part.transpose(1, 2) for part in ours), None, 0.3)
    assert difference(got, expected) < 1e-6
    gradient = torch.randn(got.shape)
    expected.backward(gradient.double())
    got.backward(gradient)
    floor = 1e-6 * max(float(other.grad.norm()) for other in exact)  # of a single token, query and key have none
    for part, other in zip(ours, exact, strict=True):
        assert float((part.grad - other.grad).norm()) < 2e-6 * float(other.grad.norm()) + floor


def test_rows_of_any_length_are_attended_to_one_by_one():
    check_rows_one_by_one(torch.float32)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_scores_that_are_no_numbers_are_seen(bad):
    parts = [torch.randn(1, 2, 20, 32) for _ in range(3)]
    parts[0][0, :, 2, 0] = bad
    parts[1].abs_()
    got = kernels.attention(*parts, None, 1.0)
    assert got[0, 2, 0].isnan().all()
    assert got[0, 3:].isfinite().all() and got[0, :2].isfinite().all()


def test_the_operator_is_sound():
    torch.manual_seed(3)
    heads = [torch.randn(2, 9, 2, 32).transpose(1, 2).requires_grad_() for _ in range(3)]
    torch.library.opcheck(torch.ops.primase.attention, (*heads, None, None, 0.2))
    one_row = [part[:1] for part in heads]
    torch.library.opcheck(torch.ops.primase.attention, (*one_row, None, torch.tensor([0, 2, 9]), 0.2))


def gradients(model, inputs, *, is_packed):
    given = packed(model, inputs, IGNORED, torch.float32) if is_packed else nullcontext(inputs)
    with given as batch:
        assert (batch["input_ids"].shape[0] == 1) is is_packed
        nats, outputs = losses.batch_nats(model, batch, IGNORED, unwrapped=model)
    loss = nats + (outputs.aux_loss if getattr(outputs, "aux_loss", None) is not None else 0.0)
    loss.backward()
    return nats.item(), {name: parameter.grad for name, parameter in model.named_parameters()}


@pytest.mark.parametrize("padding_side", ["left", "right"])
@pytest.mark.parametrize("name", MODELS)
def test_packed_rows_have_the_gradients_of_the_stock_model(name, padding_side, monkeypatch):
    compare_with_stock(name, padding_side, monkeypatch, lambda model: None)


def test_compiled_layers_have_them_too(monkeypatch):
    compare_with_stock("learned router", "right", monkeypatch, compile_layers)


def compare_with_stock(name, padding_side, monkeypatch, prepare):
    monkeypatch.setattr(packing, "FEWEST_PORTIONS", 4)
    monkeypatch.setitem(MODELS, "wide", MODELS[name] | WIDE)
    inputs = padded(padding_side)
    stock_nats, stock = gradients(fresh_model("wide", "eager"), inputs, is_packed=False)
    ours = fresh_model("wide", "primase")
    prepare(ours)
    nats, found = gradients(ours, inputs, is_packed=True)
    assert nats == pytest.approx(stock_nats, rel=1e-5)
    assert relative(found, stock) < 1e-5


def attended(mask=None, **options):
    """Whether the kernel did it, when transformers asks for attention, and how far it is from torch's."""
    torch.manual_seed(3)
    query, key, value = (torch.randn(2, 4, 40, 64) for _ in range(3))
    called = []
    kernel = kernels.attention
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernels, "attention", lambda *arguments: called.append(1) or kernel(*arguments))
        module = SimpleNamespace(is_causal=True, num_key_value_groups=1)
        ours = short_attention.attention_forward(module, query, key, value, mask, **options)[0]
    exact = nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=mask, is_causal=mask is None)
    return bool(called), difference(ours, exact.transpose(1, 2))


def test_transformers_attention_is_the_kernels():
    is_kernel, error = attended()
    assert is_kernel and error < 1e-6


@pytest.mark.parametrize(
    "other", [{"mask": torch.ones(2, 1, 40, 40, dtype=torch.bool).tril()}, {"position_bias": torch.zeros(1, 4, 40, 40)}]
)
def test_what_the_kernel_does_not_know_is_torchs(other):
    is_kernel, error = attended(**other)
    assert not is_kernel and error < 1e-6


def test_kernels_that_are_put_away_are_not_used():
    kernels.put_away()
    assert attended()[0] is False
