"""Muon for the matrices inside the layers, AdamW for the rest, as one optimizer for schedulers and checkpoints."""

from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from primase import hardware
from primase.recipe import TrainingSettings


class MuonWithAdamW(torch.optim.Optimizer):
    """torch.optim.Muon and torch.optim.AdamW side by side over disjoint parameters of one model.

    Muon orthogonalises the momentum of a matrix (K. Jordan, 2024); embeddings, head, router, norms and the
    three-dimensional weights of experts have no such geometry and go to AdamW. Of these only the parameters named in
    `decayed` are decayed.
    """

    def __init__(self, model: PreTrainedModel, settings: TrainingSettings, decayed: set[str]) -> None:
        matrices = _inner_matrices(model)
        groups: dict[str, list[nn.Parameter]] = {"muon": [], "decayed": [], "plain": []}
        for name, parameter in model.named_parameters():
            kind = "muon" if name in matrices else "decayed" if name in decayed else "plain"
            groups[kind].append(parameter)
        # fp32 is asked for where runs are to agree beyond what bf16 can tell apart (in several processes, say).
        in_bf16 = hardware.has_bf16(model.device) and settings.precision != "fp32"
        muon = torch.optim.Muon if in_bf16 else MuonInFp32
        self._muon = muon(
            groups["muon"], lr=settings.muon_learning_rate, weight_decay=settings.weight_decay, momentum=0.95
        )
        self._adamw = torch.optim.AdamW(
            [
                {"params": groups["decayed"], "weight_decay": settings.weight_decay},
                {"params": groups["plain"], "weight_decay": 0.0},
            ],
            lr=settings.learning_rate,
            betas=(0.9, settings.beta2),
            fused=True,
        )
        # The groups that a scheduler changes are the very dictionaries that the two optimizers read.
        super().__init__(self._muon.param_groups + self._adamw.param_groups, {})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        self._muon.step()
        self._adamw.step()

    def state_dict(self) -> dict[str, Any]:
        return {"muon": self._muon.state_dict(), "adamw": self._adamw.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._muon.load_state_dict(state_dict["muon"])
        self._adamw.load_state_dict(state_dict["adamw"])
        self.param_groups = self._muon.param_groups + self._adamw.param_groups


def settings_of(optimizer: torch.optim.Optimizer) -> list[dict[str, Any]]:
    """What the groups of a fresh optimizer are set to: learning rates, decay, betas."""
    return [{name: value for name, value in group.items() if name != "params"} for group in optimizer.param_groups]


def restore_settings(
    optimizer: torch.optim.Optimizer, scheduler: torch.optim.lr_scheduler.LambdaLR, fresh: list[dict[str, Any]]
) -> None:
    """Set groups and scheduler, both loaded from a checkpoint, to `fresh` where it differs from what was loaded."""
    loaded = settings_of(optimizer)
    if [_lasting(group) for group in loaded] == [_lasting(group) for group in fresh]:
        return
    for group, settings, factor in zip(optimizer.param_groups, fresh, scheduler.lr_lambdas, strict=True):
        group |= _lasting(settings)
        group["lr"] = settings["initial_lr"] * factor(scheduler.last_epoch)
    scheduler.base_lrs = [settings["initial_lr"] for settings in fresh]
    scheduler._last_lr = [group["lr"] for group in optimizer.param_groups]


def _lasting(settings: dict[str, Any]) -> dict[str, Any]:
    """Without the rate of the moment."""
    return {name: value for name, value in settings.items() if name != "lr"}


class MuonInFp32(torch.optim.Muon):
    """torch.optim.Muon with its orthogonalisation in the number format of the weights.

    torch casts to bf16, which a processor without it emulates: a hundred times slower than fp32, and by far the longest
    part of a training step. State and settings are torch's.
    """

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        for group in self.param_groups:
            momentum = group["momentum"]
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                buffer = state.setdefault("momentum_buffer", torch.zeros_like(parameter.grad))
                buffer.lerp_(parameter.grad, 1 - momentum)
                update = parameter.grad.lerp(buffer, momentum) if group["nesterov"] else buffer
                update = newton_schulz(update, group["ns_coefficients"], group["ns_steps"], group["eps"])
                rows, columns = parameter.shape
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
                parameter.add_(update, alpha=-group["lr"] * max(1, rows / columns) ** 0.5)


def newton_schulz(
    matrix: torch.Tensor, coefficients: tuple[float, float, float], steps: int, eps: float
) -> torch.Tensor:
    """The matrix with its singular values brought near 1 (quintic iteration of K. Jordan's Muon, 2024)."""
    a, b, c = coefficients
    is_tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if is_tall else matrix
    x = x / x.norm().clamp(min=eps)
    for _ in range(steps):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.T if is_tall else x


def _inner_matrices(model: PreTrainedModel) -> set[str]:
    """Names of the two-dimensional weights that are no embedding, head or router."""
    outside = {id(model.get_output_embeddings().weight)}
    outside |= {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    return {
        name
        for name, parameter in model.named_parameters()
        if parameter.ndim == 2
        and id(parameter) not in outside
        and not name.endswith((".gate.weight", ".router.weight"))
    }
