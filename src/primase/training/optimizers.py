"""Muon for the matrices inside the layers, AdamW for the rest, as one optimizer for schedulers and checkpoints."""

from typing import Any

import torch
from torch import nn

from primase.recipe import TrainingSettings


class MuonWithAdamW(torch.optim.Optimizer):
    """torch.optim.Muon and torch.optim.AdamW side by side over disjoint parameters of one model.

    Muon orthogonalises the momentum of a matrix (K. Jordan, 2024); embeddings, head, router, norms and the
    three-dimensional weights of experts have no such geometry and go to AdamW.
    """

    def __init__(self, model: nn.Module, settings: TrainingSettings, decayed: set[str]) -> None:
        named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
        muon_names = {
            name for name, p in named if p.ndim == 2 and ".layers." in name and not _is_router(name)
        }
        groups: dict[str, list[nn.Parameter]] = {"muon": [], "decayed": [], "plain": []}
        for name, parameter in named:
            kind = "muon" if name in muon_names else "decayed" if name in decayed else "plain"
            groups[kind].append(parameter)
        self._muon = torch.optim.Muon(
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
        super().__init__(self._muon.param_groups + self._adamw.param_groups, {})
        self._share_groups()

    def _share_groups(self) -> None:
        """The groups that a scheduler changes are the very dictionaries that the two optimizers read."""
        self.param_groups = self._muon.param_groups + self._adamw.param_groups

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        self._muon.step()
        self._adamw.step()

    def state_dict(self) -> dict[str, Any]:
        return {"muon": self._muon.state_dict(), "adamw": self._adamw.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._muon.load_state_dict(state_dict["muon"])
        self._adamw.load_state_dict(state_dict["adamw"])
        self._share_groups()


def _is_router(name: str) -> bool:
    return name.endswith((".gate.weight", ".router.weight"))
