"""Muon for the matrices inside the layers, AdamW for the rest, as one optimizer for schedulers and checkpoints."""

from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from primase import hardware
from primase.recipe import TrainingSettings


class MuonWithAdamW(torch.optim.Optimizer):
    """Muon and torch.optim.AdamW side by side over disjoint parameters of one model.

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
        self._muon = BatchedMuon(
            groups["muon"],
            precision=torch.bfloat16 if in_bf16 else torch.float32,
            lr=settings.muon_learning_rate,
            weight_decay=settings.weight_decay,
            momentum=0.95,
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
    """Set groups and scheduler, both loaded from a checkpoint, to `fresh`, and the rates to those of this step."""
    for group, settings, factor in zip(optimizer.param_groups, fresh, scheduler.lr_lambdas, strict=True):
        group |= _lasting(settings)
        group["lr"] = settings["initial_lr"] * factor(scheduler.last_epoch)
    scheduler.base_lrs = [settings["initial_lr"] for settings in fresh]
    scheduler._last_lr = [group["lr"] for group in optimizer.param_groups]


def _lasting(settings: dict[str, Any]) -> dict[str, Any]:
    """Without the rate of the moment."""
    return {name: value for name, value in settings.items() if name != "lr"}


class BatchedMuon(torch.optim.Muon):
    """torch.optim.Muon that orthogonalises all matrices of a shape (or its transpose) at once.

    Products of small matrices one by one leave a processor or GPU idle. State, settings and, in bf16, results are
    torch's. `precision` is the number format of the orthogonalisation: torch takes bf16 always, which a processor
    without it emulates, a hundred times slower than fp32.
    """

    def __init__(self, matrices: list[nn.Parameter], *, precision: torch.dtype, **settings: float) -> None:
        super().__init__(matrices, **settings)
        self.precision = precision

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        for group in self.param_groups:
            learning = [parameter for parameter in group["params"] if parameter.grad is not None]
            for parameter in learning:
                if "momentum_buffer" not in self.state[parameter]:
                    self.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter.grad)
            for alike in _by_shape(learning):
                self._step_alike(alike, group)

    def _step_alike(self, parameters: list[nn.Parameter], group: dict[str, Any]) -> None:
        """One step of parameters that are of one shape once the tall ones are transposed."""
        gradients = [parameter.grad for parameter in parameters]
        updates = buffers = [self.state[parameter]["momentum_buffer"] for parameter in parameters]
        torch._foreach_lerp_(buffers, gradients, 1 - group["momentum"])
        if group["nesterov"]:
            updates = torch._foreach_lerp(gradients, buffers, group["momentum"])
        wide = torch.stack([update.mT if _is_tall(update) else update for update in updates]).to(self.precision)
        wide = newton_schulz(wide, group["ns_coefficients"], group["ns_steps"], group["eps"])
        for parameter, update in zip(parameters, wide, strict=True):
            rows, columns = parameter.shape
            parameter.mul_(1 - group["lr"] * group["weight_decay"])
            step = group["lr"] * max(1, rows / columns) ** 0.5
            parameter.add_(update.mT if _is_tall(parameter) else update, alpha=-step)


def _by_shape(matrices: list[nn.Parameter]) -> list[list[nn.Parameter]]:
    """The matrices that have one shape, or its transpose, and one device together."""
    alike: dict[tuple, list[nn.Parameter]] = {}
    for matrix in matrices:
        alike.setdefault((*sorted(matrix.shape), matrix.device), []).append(matrix)
    return list(alike.values())


def _is_tall(matrix: torch.Tensor) -> bool:
    return matrix.shape[0] > matrix.shape[1]


def newton_schulz(
    matrices: torch.Tensor, coefficients: tuple[float, float, float], steps: int, eps: float
) -> torch.Tensor:
    """`matrices` [number, rows, columns], no taller than wide, with their singular values brought near 1.

    The quintic iteration of K. Jordan's Muon (2024).
    """
    a, b, c = coefficients
    x = matrices / matrices.norm(dim=(1, 2), keepdim=True).clamp(min=eps)
    for _ in range(steps):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x


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
