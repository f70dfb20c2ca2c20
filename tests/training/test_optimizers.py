"""Muon with AdamW: each parameter to the right one, each step as the two would make it alone."""

import copy

import pytest
import torch
from transformers import AutoModelForCausalLM, GPT2Config

from primase.models.build import build_model, configuration
from primase.tokenizers import kmer_tokenizer
from primase.training.optimizers import BatchedMuon, MuonWithAdamW
from tests.training.runs import DENSE, EXPERTS, tiny_recipe

SETTINGS = tiny_recipe(training__optimizer="muon", training__weight_decay=0.1).training


def tiny_model(model):
    settings = tiny_recipe(model).model
    return build_model(settings, configuration(settings, kmer_tokenizer(3)), seed=0)


def names_of(model, optimizer):
    name_of = {id(parameter): name for name, parameter in model.named_parameters()}
    return [{name_of[id(parameter)] for parameter in group["params"]} for group in optimizer.param_groups]


def test_who_gets_what():
    model = tiny_model(EXPERTS)
    muon, decayed, plain = names_of(model, MuonWithAdamW(model, SETTINGS, {"lm_head.weight"}))
    layers = [f"model.layers.{layer}." for layer in range(2)]
    assert muon == {f"{layer}self_attn.{part}_proj.weight" for layer in layers for part in "qkvo"}
    assert decayed == {"lm_head.weight"}
    assert {f"{layer}mlp.{name}" for layer in layers for name in ("gate.weight", "experts.down_proj")} <= plain
    assert {"model.embed_tokens.weight", "model.norm.weight"} <= plain
    assert muon | decayed | plain == {name for name, _ in model.named_parameters()}


def test_a_family_with_other_names():
    """GPT-2 has no `layers`, a table of positions, and an embedding that is its head too."""
    model = AutoModelForCausalLM.from_config(GPT2Config(vocab_size=20, n_positions=16, n_embd=8, n_layer=1, n_head=2))
    muon, *_ = names_of(model, MuonWithAdamW(model, SETTINGS, set()))
    assert muon == {
        f"transformer.h.0.{part}.weight" for part in ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")
    }


@pytest.fixture
def gradients():
    """Four sets of gradients for the dense model, from a fixed draw."""
    generator = torch.Generator().manual_seed(0)
    shapes = {name: parameter.shape for name, parameter in tiny_model(DENSE).named_parameters()}
    return [{name: torch.randn(shape, generator=generator) for name, shape in shapes.items()} for _ in range(4)]


def take_steps(model, optimizers, schedulers, gradients):
    for of_weight in gradients:
        for name, parameter in model.named_parameters():
            parameter.grad = of_weight[name].clone()
        for each in (*optimizers, *schedulers):
            each.step()


def halving(optimizer):
    return torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.5**step)


@pytest.mark.parametrize("bf16", [True, False])
def test_steps_are_those_of_the_two_alone(bf16, gradients, monkeypatch):
    """With a scheduler, which must reach both."""
    monkeypatch.setattr("primase.hardware.has_bf16", lambda device: bf16)
    model, twin = tiny_model(DENSE), tiny_model(DENSE)
    decayed = {name for name, parameter in model.named_parameters() if parameter.ndim > 1}
    settings = SETTINGS.model_copy(update={"precision": "bf16" if bf16 else "fp32"})
    both = MuonWithAdamW(model, settings, decayed)
    take_steps(model, [both], [halving(both)], gradients)

    weights = dict(twin.named_parameters())
    muon_names, decayed_names, plain_names = names_of(model, both)
    precision = torch.bfloat16 if bf16 else torch.float32
    matrices = [weights[n] for n in weights if n in muon_names]
    muon = BatchedMuon(matrices, precision=precision, lr=0.02, weight_decay=0.1, momentum=0.95)
    adamw = torch.optim.AdamW(
        [
            {"params": [weights[n] for n in weights if n in decayed_names], "weight_decay": 0.1},
            {"params": [weights[n] for n in weights if n in plain_names], "weight_decay": 0.0},
        ],
        lr=5e-3,
        betas=(0.9, 0.999),
        fused=True,
    )
    take_steps(twin, [muon, adamw], [halving(muon), halving(adamw)], gradients)
    assert [name for name, parameter in model.named_parameters() if not torch.equal(parameter, weights[name])] == []


@pytest.mark.parametrize(("precision", "off"), [(torch.float32, 0.02), (torch.bfloat16, 0.001)])
def test_batched_muon_is_torchs_up_to_rounding(precision, off, gradients):
    """Tall, wide and square matrices; torch rounds to bf16 on the way, 8 bits."""
    weights = [torch.nn.Parameter(gradients[0][name].clone()) for name in gradients[0] if gradients[0][name].ndim == 2]
    twins = [torch.nn.Parameter(weight.detach().clone()) for weight in weights]
    assert len({tuple(sorted(weight.shape)) for weight in weights}) < len(weights)
    ours = BatchedMuon(weights, precision=precision, lr=0.02, weight_decay=0.1)
    theirs = torch.optim.Muon(twins, lr=0.02, weight_decay=0.1)
    for of_weight in gradients:
        for weight, twin, gradient in zip(weights, twins, (g for g in of_weight.values() if g.ndim == 2), strict=True):
            weight.grad, twin.grad = gradient.clone(), gradient.clone()
        ours.step()
        theirs.step()
    for weight, twin, start in zip(weights, twins, (g for g in gradients[0].values() if g.ndim == 2), strict=True):
        moved = (twin - start).norm()
        assert moved > 0.01 and (weight - twin).norm() / moved < off
    assert ours.state[weights[0]].keys() == theirs.state[twins[0]].keys()


def test_state_goes_on(gradients):
    whole, stopped = tiny_model(DENSE), tiny_model(DENSE)
    optimizer = MuonWithAdamW(whole, SETTINGS, set())
    take_steps(whole, [optimizer], [halving(optimizer)], gradients)

    first = MuonWithAdamW(stopped, SETTINGS, set())
    scheduler = halving(first)
    take_steps(stopped, [first], [scheduler], gradients[:2])
    second = MuonWithAdamW(stopped, SETTINGS, set())
    again = halving(second)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    again.load_state_dict(scheduler.state_dict())
    take_steps(stopped, [second], [again], gradients[2:])
    weights = dict(stopped.named_parameters())
    assert [name for name, parameter in whole.named_parameters() if not torch.equal(parameter, weights[name])] == []


def test_a_run_in_fp32_orthogonalises_in_fp32(monkeypatch):
    monkeypatch.setattr("primase.hardware.has_bf16", lambda device: True)
    exact = SETTINGS.model_copy(update={"precision": "fp32"})
    assert MuonWithAdamW(tiny_model(DENSE), exact, set())._muon.precision == torch.float32
