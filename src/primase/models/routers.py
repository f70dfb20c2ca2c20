"""The routers of a mixture of experts: where they are, what they choose, and whether the loss moves them.

The training counts their choices, the evaluation sets them beside annotations, the self-tests look at their gradient.
"""

import math
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle
from transformers import PreTrainedModel

SMALLEST_GRADIENT_RATIO = 1e-4
"""A router with less than this part of its experts' gradient has none: dead ones were measured at 1e-8 to 2e-7, which
is rounding, living ones at 4e-3 (moved by the balancing loss alone) to 40."""

LookAtChoice = Callable[[int, torch.Tensor], None]
"""Is given the place of a router among the model's, and int64 [tokens, experts a token]: the experts it chose."""


@dataclass(frozen=True)
class Router:
    """One layer's router."""

    layer: int
    """The number in its name, 0 the first; a model may have layers without experts."""
    module: nn.Module
    weights: tuple[nn.Parameter, ...]
    expert_weights: tuple[nn.Parameter, ...]
    """Of the experts that it chooses from; those that every token passes through are not among them."""


@dataclass(frozen=True)
class RouterGradient:
    """How strongly the loss pulls at a router and at its experts: root mean square over their weights."""

    layer: int
    router: float
    experts: float

    @property
    def ratio(self) -> float:
        """Router beside experts; 0 where neither has any gradient."""
        return self.router / self.experts if self.experts else 0.0

    @property
    def is_nil(self) -> bool:
        """Whether the router never learns; also where the gradient is not a number."""
        return not self.ratio >= SMALLEST_GRADIENT_RATIO


def find_routers(model: nn.Module) -> list[Router]:
    """The routers in the order of the layers; none in a dense model."""
    routers = []
    for name, module in model.named_modules():
        if not type(module).__name__.endswith("Router"):
            continue
        block = model.get_submodule(name.rpartition(".")[0])
        experts = tuple(weight for path, weight in block.named_parameters() if "experts" in path.split("."))
        number = re.search(r"\d+", name)
        layer = int(number[0]) if number else len(routers)
        routers.append(Router(layer, module, tuple(module.parameters()), experts))
    return routers


def keep_in_fp32(model: nn.Module) -> None:
    """Routers compute in fp32 under autocast too: rounded logits would send tokens to other experts.

    As in the Switch Transformer (Fedus et al., 2022, section 2.4); of a layer's products they are the smallest.
    """
    for router in find_routers(model):
        router.module.forward = partial(_in_fp32, router.module.forward)


def _in_fp32(forward: Callable[..., Any], hidden: torch.Tensor, *rest: Any, **named: Any) -> Any:
    with torch.autocast(hidden.device.type, enabled=False):
        return forward(hidden.float(), *rest, **named)


def watch_choices(model: nn.Module, look: LookAtChoice) -> list[RemovableHandle]:
    """Call `look` with the choice of each router in each forward pass, until the returned hooks are removed.

    A router that does not say what it chose (Llama 4) is passed over.
    """

    def hook(place: int, _module: nn.Module, _inputs: Any, output: Any) -> None:
        # Routers return logits, weights and chosen experts in this or another order; only the choice is of integers.
        for part in output if isinstance(output, tuple) else ():
            if not part.is_floating_point():
                look(place, part)

    return [
        router.module.register_forward_hook(partial(hook, place)) for place, router in enumerate(find_routers(model))
    ]


@contextmanager
def watching_choices(model: nn.Module, look: LookAtChoice) -> Iterator[None]:
    """As `watch_choices`, for the forward passes in this block."""
    handles = watch_choices(model, look)
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def router_gradients(model: PreTrainedModel, inputs: dict[str, torch.Tensor]) -> list[RouterGradient]:
    """Gradients of the training objective on one batch, layer by layer; an empty list for a dense model.

    `inputs`: `input_ids` int64 [rows, tokens] and, where rows are padded, `attention_mask`, as the model takes them.
    The objective is that of the training: mean nats a token, plus the balancing loss at its stated weight where the
    model returns one. The model stays as it was: its mode, and the gradients that its weights hold.
    """
    routers = find_routers(model)
    weights = [weight for router in routers for weight in router.weights + router.expert_weights]
    if not weights:
        return []
    was_training = model.training
    model.eval()
    try:
        with torch.enable_grad():
            # A weight that is frozen or unused has no gradient.
            learning = [weight for weight in weights if weight.requires_grad]
            found = torch.autograd.grad(_objective(model, inputs), learning, allow_unused=True) if learning else ()
    finally:
        model.train(was_training)
    gradients = {id(weight): gradient for weight, gradient in zip(learning, found, strict=True)}
    return [
        RouterGradient(router.layer, _rms(router.weights, gradients), _rms(router.expert_weights, gradients))
        for router in routers
    ]


def _objective(model: PreTrainedModel, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    """What one micro-batch of the trainer minimises; see `training.trainer`."""
    outputs = model(**inputs, use_cache=False)
    nats = nn.functional.cross_entropy(
        outputs.logits[:, :-1].float().transpose(1, 2), inputs["input_ids"][:, 1:], reduction="none"
    )
    if "attention_mask" in inputs:
        nats = nats[inputs["attention_mask"][:, 1:].bool()]
    loss = nats.sum() / max(nats.numel(), 1)
    if getattr(outputs, "aux_loss", None) is not None:
        loss = loss + model.config.router_aux_loss_coef * outputs.aux_loss
    return loss


def _rms(weights: tuple[nn.Parameter, ...], gradients: dict[int, torch.Tensor | None]) -> float:
    squares = sum(float(g.double().square().sum()) for w in weights if (g := gradients.get(id(w))) is not None)
    return math.sqrt(squares / max(sum(weight.numel() for weight in weights), 1))
