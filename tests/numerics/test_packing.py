"""Rows one after the other without padding, beside the same rows padded."""

from contextlib import nullcontext

import pytest
import torch
from test_fast_step import IGNORED, MODELS, batch, fresh_model, relative
from torch import nn

from primase.corpus.rows import next_tokens
from primase.models import kernels, losses, packing
from primase.models.compiling import compile_layers
from primase.models.packing import packed
from primase.training.metrics import RouterHealth
from tests.kernels import check_rows_one_by_one, needs_kernels, skip_without_kernels

pytestmark = needs_kernels

WIDE = {
    "hidden_size": 64, "head_dim": 32, "num_attention_heads": 2, "num_key_value_heads": 1, "vocab_size": 64,
}  # fmt: skip


@pytest.fixture(autouse=True)
def filled_up_and_priced_in_portions(monkeypatch):
    """41 tokens up to a multiple of 8."""
    monkeypatch.setattr(packing, "FEWEST_PORTIONS", 4)
    monkeypatch.setattr(losses, "TOKENS_AT_ONCE", 20)


@pytest.fixture(scope="module", autouse=True)
def built():
    kernels.build()
    skip_without_kernels()


@pytest.fixture(params=MODELS)
def model(request, monkeypatch):
    """All experts are chosen, where there are several a token: bf16 decides a close choice in another way."""
    few = {"num_local_experts": 2} if "two" in request.param else {}
    monkeypatch.setitem(MODELS, "wide", MODELS[request.param] | WIDE | few)
    return lambda implementation="primase": fresh_model("wide", implementation)


def padded(padding_side="right"):
    ids, mask, targets = batch(padding_side)
    return {"input_ids": ids, "attention_mask": mask, "targets": targets, "labels": ids.masked_fill(mask == 0, IGNORED)}


def perhaps_packed(model, inputs, is_packed):
    return packed(model, inputs, IGNORED, torch.bfloat16) if is_packed else nullcontext(inputs)


def gradients(model, inputs, *, autocast=True, is_packed=True):
    with (
        torch.autocast("cpu", torch.bfloat16, enabled=autocast),
        perhaps_packed(model, inputs, autocast and is_packed) as given,
    ):
        nats, outputs = losses.batch_nats(model, given, IGNORED, unwrapped=model)
    loss = nats + (outputs.aux_loss if getattr(outputs, "aux_loss", None) is not None else 0.0)
    loss.backward()
    return nats.item(), {name: parameter.grad for name, parameter in model.named_parameters()}


@pytest.mark.parametrize("padding_side", ["left", "right"])
def test_packed_rows_are_as_near_to_fp32_as_padded_ones(model, padding_side):
    inputs = padded(padding_side)
    exact_nats, exact = gradients(model("eager"), inputs, autocast=False)
    padded_nats, unpacked = gradients(model(), inputs, is_packed=False)
    nats, ours = gradients(model(), inputs)
    assert nats == pytest.approx(exact_nats, rel=5e-3)
    assert nats == pytest.approx(padded_nats, rel=1e-3)
    assert relative(ours, exact) < 1.2 * relative(unpacked, exact) + 0.005


def test_compiled_layers_take_packed_rows(model):
    """Of one batch after the other: neither their number nor where they begin is compiled in."""
    ours = model()
    compile_layers(ours)
    inputs = padded()
    for rows in (slice(3), slice(1, 3)):
        some = {name: values[rows] for name, values in inputs.items()}
        _, exact = gradients(model("eager"), some, autocast=False)
        _, unpacked = gradients(model(), some, is_packed=False)
        ours.zero_grad()
        assert relative(gradients(ours, some)[1], exact) < 1.5 * relative(unpacked, exact) + 0.01


def test_padding_on_the_left_predicts_the_first_token_packed_too(model):
    """As it does in stock training; what it makes of seeing nothing is each implementation's own."""
    inputs = padded("left")
    inputs["targets"] = next_tokens(inputs["labels"])
    found = []
    for is_packed in (False, True):
        with perhaps_packed(model(), inputs, is_packed) as given:
            assert (given["input_ids"].shape[0] == 1) is is_packed
            assert sorted(given["targets"][given["targets"] != IGNORED].tolist()) == sorted(
                inputs["targets"][inputs["targets"] != IGNORED].tolist()
            )
            if is_packed:
                assert packing.mask().tolist() == [0, 1, 13, 33, 34, 43, 44, 45, 46, 47, 48]
        found.append(gradients(model(), inputs, is_packed=is_packed)[0])
    assert found[0] == pytest.approx(found[1], rel=0.01)


def test_a_row_sees_nothing_of_the_others(model):
    """Nor of what is filled up: the hidden states of one stay the same to the last bit, whatever stands beside it."""
    trained = model().eval()
    inputs = padded()
    other = {name: values.clone() for name, values in inputs.items()}
    other["input_ids"][0] = other["input_ids"][0].roll(1) * inputs["attention_mask"][0]
    other["input_ids"][2, :9] = 7

    def of_the_second_row(inputs):
        with (
            torch.inference_mode(),
            torch.autocast("cpu", torch.bfloat16),
            packed(trained, inputs, IGNORED, torch.bfloat16) as given,
        ):
            names = ("input_ids", "attention_mask", "position_ids")
            return trained.model(**{name: given[name] for name in names}, use_cache=False)[0][0, 12:32]

    assert torch.equal(of_the_second_row(inputs), of_the_second_row(other))


def test_what_a_packed_batch_holds(monkeypatch):
    monkeypatch.setitem(MODELS, "wide", MODELS["dense"] | WIDE)
    inputs = padded()
    with packed(fresh_model("wide", "primase"), inputs, IGNORED, torch.bfloat16) as given:
        assert packing.mask().tolist() == [0, 12, 32, *range(41, 49)]
    rows = [row[mask.bool()].tolist() for row, mask in zip(inputs["input_ids"], inputs["attention_mask"], strict=True)]
    ids = [token for row in rows for token in row]
    assert given["input_ids"].tolist() == [ids + 7 * [0]]
    assert given["position_ids"].tolist() == [[*range(12), *range(20), *range(9), *(7 * [0])]]
    assert given["attention_mask"].tolist() == [41 * [1] + 7 * [0]]
    assert given["labels"].tolist() == [ids + 7 * [IGNORED]]
    targets = given["targets"][0]
    assert (targets != IGNORED).sum() == (inputs["targets"] != IGNORED).sum()
    assert targets[[11, 31, 40]].tolist() == 3 * [IGNORED]
    assert targets[:11].tolist() == rows[0][1:]


def test_full_rows_are_not_filled_up(monkeypatch):
    monkeypatch.setitem(MODELS, "wide", MODELS["dense"] | WIDE)
    ids = torch.arange(3, 33).view(2, 15)
    inputs = {"input_ids": ids, "labels": ids, "targets": ids}
    with packed(fresh_model("wide", "primase"), inputs, IGNORED, torch.bfloat16) as given:
        assert given["input_ids"].tolist() == [list(range(3, 33))]
        assert packing.mask().tolist() == [0, 15, 30]


def test_the_tokens_that_experts_get_are_counted_alike(monkeypatch):
    monkeypatch.setitem(MODELS, "wide", MODELS["two experts a token, balanced"] | WIDE)
    loads = []
    for is_packed in (False, True):
        model = fresh_model("wide", "primase")
        health = RouterHealth(model, 6)
        with (
            torch.autocast("cpu", torch.bfloat16),
            perhaps_packed(model, padded(), is_packed) as given,
            health.counting(given["labels"] != IGNORED),
        ):
            losses.batch_nats(model, given, IGNORED, unwrapped=model)
        loads.append(health.load)
    assert loads[0].sum(1).tolist() == loads[1].sum(1).tolist() == [82, 82]
    assert float((loads[0] - loads[1]).abs().sum()) <= 8  # a few close choices


@pytest.mark.parametrize(
    "other",
    [
        {"attention_dropout": 0.1},
        {"model_type": "llama"},
        {"head_dim": 8},
        {"is_causal": False},
        {"sliding_window": 8, "use_sliding_window": True},
    ],
)
def test_what_the_kernel_does_not_know_is_padded(other, monkeypatch):
    monkeypatch.setitem(MODELS, "wide", MODELS["dense"] | WIDE | other)
    inputs = padded()
    with packed(fresh_model("wide", "primase"), inputs, IGNORED, torch.bfloat16) as given:
        assert given is inputs


def test_long_rows_are_padded(monkeypatch):
    monkeypatch.setattr(kernels, "LONGEST_ROW", 19)
    monkeypatch.setitem(MODELS, "wide", MODELS["dense"] | WIDE)
    inputs = padded()
    with packed(fresh_model("wide", "primase"), inputs, IGNORED, torch.bfloat16) as given:
        assert given is inputs


def test_stock_attention_is_padded(monkeypatch):
    monkeypatch.setitem(MODELS, "wide", MODELS["dense"] | WIDE)
    inputs = padded()
    with packed(fresh_model("wide", "sdpa"), inputs, IGNORED, torch.bfloat16) as given:
        assert given is inputs


def test_rows_of_any_length_are_attended_to_one_by_one():
    check_rows_one_by_one(torch.bfloat16)


@pytest.mark.parametrize("tokens", [1, 37])
def test_the_gradient_of_a_softmax(tokens):
    torch.manual_seed(6)
    logits, targets = (4 * torch.randn(tokens, 96)).to(torch.bfloat16), torch.randint(96, (tokens,))
    exact = logits.double().requires_grad_()
    expected = nn.functional.cross_entropy(exact, targets, reduction="none")
    expected.sum().backward()
    assert kernels.takes_logits(logits)
    for other in (logits[:, :-1].clone(), torch.zeros(2, 128, dtype=torch.bfloat16)[:, :64], logits.float()):
        assert not kernels.takes_logits(other)
    nats = kernels.softmax_gradient(logits, targets)
    assert torch.allclose(nats, expected, rtol=1e-5, atol=1e-5)
    assert float((logits - exact.grad).abs().max()) < 2**-8 * float(exact.grad.abs().max())


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_logits_that_are_no_numbers_are_seen(bad):
    logits = torch.zeros(3, 64, dtype=torch.bfloat16)
    logits[1, 5] = bad
    nats = kernels.softmax_gradient(logits, torch.tensor([0, 1, 2]))
    assert nats.isnan().tolist() == [False, True, False]
