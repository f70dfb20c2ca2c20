"""The training loop of everything that is walked to its weights: the model, its untrained twin, the convolutional net.

AdamW with linear warm-up and decay; after each epoch the validation part is measured, the best weights are kept, and
training stops where they have not become better for a while. On a CPU the same seed gives the same weights.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from primase.errors import NonFiniteLossError
from primase.finetuning.scores import measure
from primase.finetuning.settings import FinetuningSettings
from primase.finetuning.task import Task
from primase.finetuning.windows import shuffled_batches

LARGEST_GRADIENT = 1.0

Log = Callable[[dict[str, float | int | str]], None]
"""Takes one line of metrics.jsonl."""


@dataclass(frozen=True)
class Fitting:
    """What a training looks at, whatever is trained."""

    task: Task
    settings: FinetuningSettings
    train_targets: np.ndarray
    validation_targets: np.ndarray
    log: Log
    progress: Callable[[float], None]
    """Takes the share of the steps that are done."""


def fit(
    module: nn.Module,
    logits_of_batch: Callable[[list[int]], torch.Tensor],
    costs: Sequence[int],
    most_cost: int,
    validate: Callable[[], np.ndarray],
    fitting: Fitting,
    *,
    learning_rate: float,
    seed: int,
) -> float:
    """Train `module` in place, leave its best weights in it, and return its leading metric on the validation rows.

    `logits_of_batch` gives logits [rows, outputs] of training rows by number; rows are batched so that their number
    times the largest of their `costs` is at most `most_cost`. `validate` gives the logits of the validation rows.
    Raises NonFiniteLossError.
    """
    settings, task = fitting.settings, fitting.task
    device = next(module.parameters()).device
    targets = torch.from_numpy(fitting.train_targets).to(device)
    loss_of = loss_function(task, fitting.train_targets, settings, device)
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    optimizer = _optimizer(trained, learning_rate, settings.weight_decay)
    draw = np.random.default_rng(seed)
    plan = shuffled_batches(costs, most_cost, draw)
    steps = len(plan) * settings.epochs
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: rate(step, steps, settings.warmup_fraction))
    best, best_weights, epochs_without = (-math.inf, -math.inf), [], 0
    begun, step = time.perf_counter(), 0
    for epoch in range(1, settings.epochs + 1):
        module.train()
        losses = 0.0
        for batch in plan:
            loss = loss_of(logits_of_batch(batch), targets[batch])
            if not torch.isfinite(loss):
                raise NonFiniteLossError(
                    f"the loss became {loss.item()} in step {step + 1}; lower --learning-rate (now {learning_rate:g})"
                )
            loss.backward()
            nn.utils.clip_grad_norm_(trained, LARGEST_GRADIENT)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad(set_to_none=True)
            losses += loss.item() * len(batch)
            step += 1
            fitting.progress(min(1.0, step / steps))
        logits = validate()
        validation_loss = loss_of(torch.from_numpy(logits), torch.from_numpy(fitting.validation_targets), "cpu").item()
        metric = float(measure(task, fitting.validation_targets, logits)[0, 0])
        fitting.log(
            {
                "seed": seed,
                "epoch": epoch,
                "step": step,
                "loss": losses / len(costs),
                "validation_loss": validation_loss,
                f"validation_{task.leading_metric}": metric,
                "learning_rate": schedule.get_last_lr()[0],
                "seconds": round(time.perf_counter() - begun, 3),
            }
        )
        if (metric, -validation_loss) > best:
            best, epochs_without = (metric, -validation_loss), 0
            best_weights = [parameter.detach().clone() for parameter in trained]
        else:
            epochs_without += 1
            if epochs_without == settings.patience:
                break
        plan = shuffled_batches(costs, most_cost, draw)
    fitting.progress(1.0)
    with torch.no_grad():
        for parameter, weights in zip(trained, best_weights, strict=True):
            parameter.copy_(weights)
    module.eval()
    return best[0]


def rate(step: int, steps: int, warmup_fraction: float) -> float:
    """The share of the peak learning rate in `step`, counted from 0: rises to 1, then falls to 0, both linearly."""
    warmup = math.ceil(steps * warmup_fraction)
    if step < warmup:
        return (step + 1) / warmup
    return max(0.0, (steps - step) / max(1, steps - warmup))


def class_weights(task: Task, targets: np.ndarray, settings: FinetuningSettings) -> np.ndarray | None:
    """float32 [outputs]: rows / (classes * rows of the class); of several labels rows without / rows with it."""
    if settings.class_weights == "none" or task.kind == "regression":
        return None
    if task.kind == "multi-label":
        return ((len(targets) - targets.sum(axis=0)) / targets.sum(axis=0)).astype(np.float32)
    counts = np.bincount(targets, minlength=task.outputs)
    return (len(targets) / (task.outputs * counts)).astype(np.float32)


def loss_function(task: Task, targets: np.ndarray, settings: FinetuningSettings, device: torch.device):
    """A function of logits, targets and maybe another device: cross-entropy, binary cross-entropy, or squared error."""
    weights = class_weights(task, targets, settings)
    weights = None if weights is None else torch.from_numpy(weights)

    def loss(logits: torch.Tensor, wanted: torch.Tensor, place: str | torch.device = device) -> torch.Tensor:
        weight = None if weights is None else weights.to(place)
        logits = logits.float()
        if task.kind == "regression":
            return nn.functional.mse_loss(logits[:, 0], wanted)
        if task.kind == "multi-label":
            return nn.functional.binary_cross_entropy_with_logits(logits, wanted, pos_weight=weight)
        return nn.functional.cross_entropy(logits, wanted, weight=weight)

    return loss


def _optimizer(trained: list[nn.Parameter], learning_rate: float, weight_decay: float) -> torch.optim.Optimizer:
    """Weight decay on matrices only, as is usual: not on norms and biases."""
    matrices = [parameter for parameter in trained if parameter.ndim > 1]
    others = [parameter for parameter in trained if parameter.ndim <= 1]
    groups = [{"params": matrices, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW([group for group in groups if group["params"]], lr=learning_rate)
