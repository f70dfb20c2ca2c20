"""FSDP2: weights, gradients and optimizer state in shards over the processes, whole again wherever they are written.

torch.distributed.fsdp shards and torch.distributed.checkpoint gathers. A checkpoint is the same for any number of
processes, one included.
"""

from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.fsdp import FSDPModule, fully_shard
from transformers import PreTrainedModel

from primase import processes
from primase.training import checkpoints

_WHOLE = StateDictOptions(full_state_dict=True, cpu_offload=True)
OPTIMIZER_FILE = "optimizer.pt"


def shard(model: PreTrainedModel) -> None:
    """Shard every layer and what is left around them, in place; nothing in a run of one process."""
    if processes.count() == 1:
        return
    for blocks in (module for module in model.base_model.children() if isinstance(module, nn.ModuleList)):
        for block in blocks:
            fully_shard(block)
    fully_shard(model)


def is_sharded(model: nn.Module) -> bool:
    return isinstance(model, FSDPModule)


def whole_weights(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    """All weights in the main process, nothing in the others; every process must ask."""
    return get_model_state_dict(model, options=_WHOLE)


def whole_optimizer(model: PreTrainedModel, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """As `whole_weights`, by the names of the weights."""
    return get_optimizer_state_dict(model, optimizer, options=_WHOLE)


def load_weights(model: PreTrainedModel, folder: Path) -> None:
    """Each process reads the whole checkpoint and keeps its shards."""
    if not is_sharded(model):
        checkpoints.load_weights(model, folder)
        return
    plain_class = next(one for one in type(model).__mro__ if not issubclass(one, FSDPModule))
    loaded = plain_class.from_pretrained(folder, dtype=torch.float32, local_files_only=True, use_safetensors=True)
    set_model_state_dict(model, loaded.state_dict(), options=StateDictOptions(full_state_dict=True))


def load_optimizer(model: PreTrainedModel, optimizer: torch.optim.Optimizer, folder: Path) -> None:
    state = torch.load(folder / OPTIMIZER_FILE, map_location="cpu", weights_only=True)
    set_optimizer_state_dict(model, optimizer, state, options=StateDictOptions(full_state_dict=True))
