"""Experts: counts against the router's logits taken by hand, tastes known by heart, routers that are dead or alive."""

import math

import numpy as np
import pytest
import torch

from primase.cli.routing_table import routing_lines
from primase.evaluation.routing import NO_CLASS, dead_router_warning, measure_routing, token_classes
from primase.models.build import build_model, configuration
from primase.models.routers import find_routers, keep_in_fp32, router_gradients
from primase.recipe import ModelSettings
from primase.scoring import LoadedModel
from primase.sequence_encoder import SequenceEncoder
from primase.tokenizers import base_tokenizer, kmer_tokenizer
from tests.models import tiny_model

CONTEXT = 24


def mixture(k: int = 1, preset: str = "mixtral-1m", side: str = "right", **settings) -> LoadedModel:
    small = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 4}
    tokenizer = base_tokenizer() if k == 1 else kmer_tokenizer(k)
    tokenizer.padding_side = side
    model_settings = ModelSettings(preset=preset, settings=small | settings)
    model = build_model(model_settings, configuration(model_settings, tokenizer), seed=0).eval()
    return LoadedModel(model, tokenizer, SequenceEncoder(tokenizer), CONTEXT)


def stretches(*lengths: int) -> list[np.ndarray]:
    rng = np.random.default_rng(3)
    return [rng.choice(np.frombuffer(b"ACGTacgtN", np.uint8), length) for length in lengths]


def choices_by_hand(loaded: LoadedModel, sequences: list[np.ndarray], k: int) -> np.ndarray:
    """int64 [layers, experts]: one row after another, none of them padded."""
    counts = np.zeros((2, 8), np.int64)
    for sequence in sequences:
        for start in range(0, len(sequence), (CONTEXT - 1) * k):
            ids = loaded.encoder.encode(sequence[start : start + (CONTEXT - 1) * k])[: CONTEXT - 1]
            row = torch.tensor([[*loaded.encoder.prefix_ids, *ids]])
            with torch.no_grad():
                logits = loaded.model(row, output_router_logits=True).router_logits
            for layer, of_layer in enumerate(logits):
                chosen = of_layer[1:].topk(loaded.model.config.num_experts_per_tok).indices
                counts[layer] += np.bincount(chosen.flatten(), minlength=8)
    return counts


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize(("k", "per_token"), [(1, 1), (3, 2)])
def test_load(k, per_token, side):
    loaded = mixture(k, side=side, num_experts_per_tok=per_token)
    sequences = stretches(100, 7, 23, 61)
    expected = choices_by_hand(loaded, sequences, k)
    routing = measure_routing(loaded, sequences, None, [])
    assert (routing.experts, routing.experts_per_token) == (8, per_token)
    assert routing.tokens * per_token == expected[0].sum()
    for number, layer in enumerate(routing.layers):
        share = expected[number] / expected[number].sum()
        np.testing.assert_allclose(layer.load, share)
        assert layer.layer == number
        assert layer.dead_experts == (expected[number] == 0).sum()
        assert layer.entropy_bits == pytest.approx(-sum(p * math.log2(p) for p in share if p))
        assert layer.enrichment == {}


def forced() -> LoadedModel:
    """A and C go to expert 0, G and T to expert 1, everything else to expert 2, whatever stands beside them."""
    loaded = mixture(num_hidden_layers=1, num_local_experts=4)
    layer = loaded.model.model.layers[0]
    with torch.no_grad():
        layer.self_attn.o_proj.weight.zero_()
        loaded.model.get_input_embeddings().weight.zero_()
        layer.mlp.gate.weight.zero_()
        loaded.model.get_input_embeddings().weight[:, 2] = 1.0
        for expert, letters in enumerate((b"AC", b"GT")):
            ids = torch.from_numpy(loaded.encoder.encode(letters))
            loaded.model.get_input_embeddings().weight[ids] = torch.eye(32)[expert]
        layer.mlp.gate.weight[:3, :3] = torch.eye(3)
    return loaded


def test_enrichment_by_hand():
    sequence = np.frombuffer(b"AACCGN" * 10 + b"GGTTGT" * 10, np.uint8)
    # The first class is the first six bases of ten and no N; the second all else of the first half.
    labels = np.full(120, NO_CLASS, np.uint8)
    labels[:60] = 1
    labels[:6] = 0
    routing = measure_routing(forced(), [sequence], [labels], ["start", "half", "absent"])
    (layer,) = routing.layers
    assert routing.tokens == 120
    assert layer.load == pytest.approx([40 / 120, 70 / 120, 10 / 120, 0])
    assert layer.dead_experts == 1
    share_of_all = np.array([40.5, 70.5, 10.5, 0.5]) / 122
    # An N is no base, and no class has its token.
    assert layer.enrichment["start"] == pytest.approx(np.log2(np.array([4.5, 1.5, 0.5, 0.5]) / 7 / share_of_all))
    assert layer.enrichment["half"] == pytest.approx(np.log2(np.array([36.5, 9.5, 0.5, 0.5]) / 47 / share_of_all))
    assert set(layer.enrichment) == {"start", "half"}


def test_a_token_has_the_class_of_most_of_its_bases():
    labels = np.array([0, 0, 1, 0, 1, 1, NO_CLASS, NO_CLASS, 1, 1, 0, NO_CLASS, 1, 0], np.uint8)
    # Two as many: the earlier class, and a class before none. A token without a base has none.
    assert token_classes(labels, np.array([3, 3, 0, 3, 2, 1, 2])).tolist() == [0, 1, 255, 255, 0, 255, 0]
    draw = np.random.default_rng(0)
    labels = draw.choice(np.array([0, 1, 2, NO_CLASS], np.uint8), 300)
    token_bases = draw.integers(0, 6, 80)
    first = 0
    for found, bases in zip(token_classes(labels, token_bases), token_bases, strict=True):
        own = labels[first : first + bases].tolist()
        assert found == (min(own, key=lambda label: (-own.count(label), label)) if own else NO_CLASS)
        first += bases


def test_classes_of_3_mers():
    """The labels go with the bases, not with the tokens."""
    loaded = mixture(3)
    sequence = np.frombuffer(b"ACGNNACGTTGCA" * 3, np.uint8)
    labels = np.zeros(39, np.uint8)
    labels[13:] = 1
    routing = measure_routing(loaded, [sequence], [labels], ["first", "rest"])
    assert routing.tokens == len(loaded.encoder.encode(sequence))
    assert set(routing.layers[0].enrichment) == {"first", "rest"}
    # ACG N N ACG TTG CAA ...: four tokens are of the first class, the last of them with two bases of three.
    counts = np.array(routing.layers[0].load) * routing.tokens + 0.5
    of_first = counts / counts.sum() * 2 ** np.array(routing.layers[0].enrichment["first"]) * (4 + 8 * 0.5) - 0.5
    np.testing.assert_allclose(of_first, of_first.round(), atol=1e-6)
    assert of_first.sum() == pytest.approx(4)


def test_tokens_are_drawn_evenly():
    """An A alone in the first half, a G in the second: half of what is looked at is of either."""
    sequence = np.frombuffer(b"A" * 5_000 + b"G" * 5_000, np.uint8)
    routing = measure_routing(forced(), [sequence], None, [], max_tokens=1_000)
    assert 950 < routing.tokens <= 1_000
    assert routing.layers[0].load[:2] == pytest.approx([0.5, 0.5], abs=0.03)


@pytest.mark.parametrize(
    ("preset", "settings", "learns"),
    [
        ("mixtral-1m", {}, False),
        ("mixtral-1m", {"num_experts_per_tok": 2}, True),
        ("mixtral-1m", {"output_router_logits": True}, True),
        ("qwen3-moe-105m", {"num_experts": 8, "moe_intermediate_size": 16}, True),
    ],
)
def test_whether_the_routers_learn(preset, settings, learns):
    routing = measure_routing(mixture(preset=preset, **settings), stretches(200), None, [])
    assert routing.learns == learns
    warning = dead_router_warning(routing)
    assert (warning is None) == learns
    if not learns:
        assert warning == (
            "WARNING: the router of layers 0, 1 receives no gradient: its experts are chosen by a random projection "
            "that never learns"
        )
    assert (warning in routing_lines(routing)) == (not learns)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("settings", [{"num_experts_per_tok": 2}, {"output_router_logits": True}])
def test_gradients_are_those_of_the_training_loss(settings, side):
    """Against backward() on transformers' own loss, which weighs both parts alike where there is one batch."""
    loaded = mixture(3, side=side, **settings)
    ids = torch.from_numpy(np.random.default_rng(0).integers(9, 73, (3, 20)))
    mask = torch.ones_like(ids)
    hidden = slice(0, 6) if side == "left" else slice(14, 20)
    mask[1, hidden] = 0
    found = router_gradients(loaded.model, {"input_ids": ids, "attention_mask": mask})
    assert all(weight.grad is None for weight in loaded.model.parameters())
    loaded.model(ids, attention_mask=mask, labels=ids.masked_fill(mask == 0, -100)).loss.backward()
    for layer, gradient in zip(loaded.model.model.layers, found, strict=True):
        router = layer.mlp.gate.weight.grad
        experts = torch.cat([layer.mlp.experts.gate_up_proj.grad.flatten(), layer.mlp.experts.down_proj.grad.flatten()])
        assert gradient.router == pytest.approx(float(router.square().mean().sqrt()), rel=1e-3)
        assert gradient.experts == pytest.approx(float(experts.square().mean().sqrt()), rel=1e-3)


def test_a_frozen_router_is_dead():
    loaded = mixture(num_experts_per_tok=2)
    find_routers(loaded.model)[1].module.weight.requires_grad_(False)
    routing = measure_routing(loaded, stretches(100), None, [])
    assert "router of layer 1 receives" in dead_router_warning(routing)


def test_layers_without_experts_keep_their_number():
    loaded = mixture(
        preset="qwen3-moe-105m", num_experts=8, moe_intermediate_size=16, num_hidden_layers=3, mlp_only_layers=[1]
    )
    assert [layer.layer for layer in measure_routing(loaded, stretches(60), None, []).layers] == [0, 2]


def test_a_dense_model_has_no_routing():
    assert measure_routing(tiny_model(), stretches(60), None, []) is None
    assert dead_router_warning(None) is None and routing_lines(None) == []
    assert router_gradients(tiny_model().model, {"input_ids": torch.ones(1, 4, dtype=torch.long)}) == []


def test_labels_that_do_not_fit():
    with pytest.raises(ValueError, match="stretch 1 has 9 bases and 8 labels"):
        measure_routing(mixture(), stretches(5, 9), [np.zeros(5, np.uint8), np.zeros(8, np.uint8)], ["x"])


def test_nothing_is_left_behind():
    loaded = mixture()
    loaded.model.train()
    measure_routing(loaded, stretches(50), None, [])
    assert loaded.model.training
    assert all(weight.grad is None for weight in loaded.model.parameters())
    assert not any(module._forward_hooks for module in loaded.model.modules())


def test_the_table():
    sequence = np.frombuffer(b"A" * 300 + b"G" * 900 + b"N" * 9, np.uint8)
    labels = np.r_[np.zeros(300, np.uint8), np.ones(900, np.uint8), np.full(9, NO_CLASS, np.uint8)]
    lines = routing_lines(measure_routing(forced(), [sequence], [labels], ["poly-A", "poly-G"]))
    assert lines[0] == "experts: 1 of 4 a token, over 1,209 tokens"
    assert lines[2].split()[:3] == ["0", "0.87", "1"]
    # 0.87 bits: of 300, 900 and 9. The expert of N, with nine tokens, says nothing.
    assert lines[3:6] == [
        "strongest preferences (how much more often than by all tokens):",
        "  poly-A: expert 0 of layer 0, 4.0 times",
        "  poly-G: expert 1 of layer 0, 1.3 times",
    ]
    assert lines[-1].startswith("WARNING: the router of layer 0 ")
    assert all(line.isascii() for line in lines)


@pytest.mark.parametrize("preset", ["mixtral-1m", "qwen3-moe-105m"])
def test_routers_are_not_rounded(preset):
    settings = {"moe_intermediate_size": 32, "num_experts": 4} if preset == "qwen3-moe-105m" else {}
    model = mixture(preset=preset, **settings).model
    router = find_routers(model)[0].module
    hidden = torch.randn(1, 50, 32, generator=torch.Generator().manual_seed(1))
    exact = router(hidden)[0]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = router(hidden)[0]
        keep_in_fp32(model)
        kept = router(hidden)[0]
        of_rounded_input = router(hidden.to(torch.bfloat16))[0]
    assert rounded.dtype == torch.bfloat16 and not torch.equal(rounded.float(), exact)
    assert torch.equal(kept, exact)
    assert of_rounded_input.dtype == torch.float32
