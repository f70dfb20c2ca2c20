"""The model beside its rivals: scores, the paired difference in the leading metric, and the verdict in words."""

from dataclasses import dataclass, field

import numpy as np

from primase.finetuning.results import Predictor
from primase.finetuning.scores import IN_WORDS, interval, resampled, scores
from primase.finetuning.task import Task

FEWEST_ROWS = 100
"""With fewer test rows an interval says more about luck than about the model."""


@dataclass(frozen=True)
class Measured:
    """The predictions of the model or of a rival for the test rows."""

    kind: str
    name: str
    validation: list[float]
    logits: list[np.ndarray] = field(repr=False)
    """float32 [test rows, outputs], one a seed."""


def compare(task: Task, targets: np.ndarray, measured: list[Measured]) -> list[Predictor]:
    """All with their intervals; the first is the model, the others its rivals, resampled together with it."""
    predictors: list[Predictor] = []
    model_samples = np.empty(0)
    for each in measured:
        samples = resampled(task, targets, each.logits)
        predictor = Predictor(
            kind=each.kind,
            name=each.name,
            validation=each.validation,
            scores=scores(task, targets, each.logits, samples),
        )
        if not predictors:
            model_samples = samples[:, 0]
        else:
            low, high = interval(model_samples - samples[:, 0])
            advantage = predictors[0].leading.value - predictor.leading.value
            update = {"advantage": advantage, "low": float(low), "high": float(high)}
            predictor = predictor.model_copy(update=update)
        predictors.append(predictor)
    return predictors


def verdict(task: Task, predictors: list[Predictor], rows: int) -> str:
    """Which rivals are beaten, by how much, and whether the interval excludes nil."""
    metric = IN_WORDS[task.leading_metric]
    model, *rivals = predictors
    if not rivals:
        text = f"{metric} {model.leading.value:.3f}; without rivals nobody knows whether that is much."
    else:
        best = max(predictors, key=lambda predictor: predictor.leading.value)
        level = [p for p in predictors if p.leading.value == best.leading.value]
        who = "This model" if best is model else _named(best)
        if len(level) > 1:
            text = f"{len(level)} of {len(predictors)} are level at the top ({metric} {best.leading.value:.3f}). "
        else:
            text = f"{who} does best ({metric} {best.leading.value:.3f}). "
        text += " ".join(_sentence(rival, metric) for rival in rivals)
    if rows < FEWEST_ROWS:
        text += f" With {rows} test rows the intervals say little."
    return text


def is_certain(rival: Predictor) -> bool:
    """Whether the interval of the difference excludes nil."""
    return rival.low > 0 or rival.high < 0


def _sentence(rival: Predictor, metric: str) -> str:
    certain = "" if is_certain(rival) else ": not certain"
    low, high = (rival.low, rival.high) if rival.advantage >= 0 else (-rival.high, -rival.low)
    figures = f"by {abs(rival.advantage):.3f} {metric} ({low:.3f} to {high:.3f}{certain})"
    if round(abs(rival.advantage), 3) == 0:
        return f"The model is level with the {rival.name} ({low:.3f} to {high:.3f} {metric})."
    if rival.advantage >= 0:
        return f"The model is ahead of the {rival.name} {figures}."
    return f"The {rival.name} is ahead of the model {figures}."


def _named(rival: Predictor) -> str:
    return f"The {rival.name}"
