"""The quick training step beside the stock model: the same loss and the same gradients."""

import pytest
import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM

from primase.models import expert_products, losses, short_attention
from primase.models.compiling import compile_layers

IGNORED = -100
SHAPE = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 50,
    "max_position_embeddings": 64, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
MODELS = {
    "tutorial": {
        "model_type": "mixtral",
        "num_local_experts": 6,
        "num_experts_per_tok": 1,
        "intermediate_size": 24,
        "num_key_value_heads": 4,
    },
    "two experts a token, balanced": {
        "model_type": "mixtral",
        "num_local_experts": 6,
        "num_experts_per_tok": 2,
        "intermediate_size": 24,
        "output_router_logits": True,
        "num_key_value_heads": 2,
    },
    "learned router": {
        "model_type": "qwen3_moe",
        "num_experts": 5,
        "num_experts_per_tok": 1,
        "moe_intermediate_size": 16,
        "intermediate_size": 24,
        "norm_topk_prob": False,
        "head_dim": 8,
        "num_key_value_heads": 4,
    },
    "dense": {"model_type": "qwen3", "intermediate_size": 48, "head_dim": 8, "num_key_value_heads": 2},
}


def batch(padding_side):
    """Rows of 12, 20 and 9 tokens, padded."""
    generator = torch.Generator().manual_seed(3)
    ids, mask = torch.zeros(3, 20, dtype=torch.long), torch.zeros(3, 20, dtype=torch.long)
    for row, length in enumerate((12, 20, 9)):
        place = slice(20 - length, 20) if padding_side == "left" else slice(length)
        ids[row, place] = torch.randint(3, 50, (length,), generator=generator)
        mask[row, place] = 1
    labels = ids.masked_fill(mask == 0, IGNORED)
    targets = nn.functional.pad(labels[:, 1:], (0, 1), value=IGNORED)
    # What a padded place makes of seeing nothing is each implementation's own.
    return ids, mask, targets.masked_fill(mask == 0, IGNORED)


def fresh_model(name, implementation):
    torch.manual_seed(0)
    config = AutoConfig.for_model(**SHAPE | MODELS[name])
    expert_products.register()
    short_attention.register()
    options = {"experts_implementation": implementation} if config.model_type != "qwen3" else {}
    return AutoModelForCausalLM.from_config(config, attn_implementation=implementation, **options).train()


def gradients(model, inputs, *, stock, autocast=False):
    ids, mask, targets = inputs
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        if stock:
            outputs = model(input_ids=ids, attention_mask=mask, use_cache=False)
            logits = outputs.logits.float().flatten(0, 1)
            nats = nn.functional.cross_entropy(logits, targets.flatten(), ignore_index=IGNORED, reduction="sum")
        else:
            inputs = {"input_ids": ids, "attention_mask": mask, "targets": targets}
            nats, outputs = losses.batch_nats(model, inputs, IGNORED, unwrapped=model)
    loss = nats + (outputs.aux_loss if getattr(outputs, "aux_loss", None) is not None else 0.0)
    loss.backward()
    return nats.item(), {name: parameter.grad for name, parameter in model.named_parameters()}


def relative(ours, theirs):
    """Largest relative difference of a gradient, in norm; a dead router has none, and is measured by others."""
    floor = 1e-3 * max(float(gradient.norm()) for gradient in theirs.values())
    return max(float((ours[name] - theirs[name]).norm() / theirs[name].norm().clamp_min(floor)) for name in theirs)


@pytest.fixture(autouse=True)
def small_portions(monkeypatch):
    """So that the loss takes several."""
    monkeypatch.setattr(losses, "TOKENS_AT_ONCE", 7)


@pytest.mark.parametrize("padding_side", ["left", "right"])
@pytest.mark.parametrize("name", MODELS)
def test_fp32_loss_and_gradients_are_those_of_the_stock_model(name, padding_side):
    inputs = batch(padding_side)
    nats, ours = gradients(fresh_model(name, "primase"), inputs, stock=False)
    stock_nats, theirs = gradients(fresh_model(name, "eager"), inputs, stock=True)
    assert nats == pytest.approx(stock_nats, rel=1e-5)
    assert relative(ours, theirs) < 1e-5


@pytest.mark.parametrize("name", MODELS)
def test_bf16_gradients_are_as_near_to_fp32_as_those_of_stock_bf16(name):
    inputs = batch("right")
    exact_nats, exact = gradients(fresh_model(name, "eager"), inputs, stock=True)
    nats, ours = gradients(fresh_model(name, "primase"), inputs, stock=False, autocast=True)
    _, stock = gradients(fresh_model(name, "eager"), inputs, stock=True, autocast=True)
    assert nats == pytest.approx(exact_nats, rel=5e-3)
    assert relative(ours, exact) < 1.5 * relative(stock, exact) + 0.01


def test_compiled_layers_give_the_same_gradients():
    inputs = batch("right")
    model = fresh_model("tutorial", "primase")
    compile_layers(model)
    nats, ours = gradients(model, inputs, stock=False)
    stock_nats, theirs = gradients(fresh_model("tutorial", "eager"), inputs, stock=True)
    assert nats == pytest.approx(stock_nats, rel=1e-5)
    assert relative(ours, theirs) < 1e-5


def test_a_batch_without_any_target_costs_nothing():
    ids, mask, targets = batch("right")
    nats, ours = gradients(fresh_model("dense", "primase"), (ids, mask, torch.full_like(targets, IGNORED)), stock=False)
    assert nats == 0
    assert all(float(gradient.abs().max()) == 0 for gradient in ours.values())


def test_heads_that_are_more_than_a_product_are_left_alone():
    plain = AutoModelForCausalLM.from_config(AutoConfig.for_model(**SHAPE | MODELS["dense"]))
    assert losses.has_plain_head(plain)
    plain.config.final_logit_softcapping = 30.0
    assert not losses.has_plain_head(plain)


def test_the_tutorials_experts_are_computed_here(monkeypatch):
    """Not handed on to stock ones: the exactness above would say nothing then."""
    monkeypatch.setattr(expert_products, "grouped_mm_experts_forward", None)
    gradients(fresh_model("tutorial", "primase"), batch("right"), stock=False)


def test_attention_in_bf16_is_computed_here(monkeypatch):
    monkeypatch.setattr(short_attention, "sdpa_attention_forward", None)
    gradients(fresh_model("tutorial", "primase"), batch("right"), stock=False, autocast=True)
