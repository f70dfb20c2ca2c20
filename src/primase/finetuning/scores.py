"""Metrics of predictions with bootstrap intervals; every metric takes weights, so that a resample is a weight vector.

Each metric gives one value a row of `weights` (float64 [samples, rows], how often each row was drawn): all ones is the
metric itself. What has no value in a resample (a class that was not drawn) is NaN there and left out of the quantiles.
Classes: Matthews correlation (Gorodkin 2004, for several classes), macro F1 (nil for a class that is neither there nor
predicted), accuracy, and for several classes the mean of one against the rest of AUROC and average precision (AUPRC).
Several labels: the mean over them of each, F1 that of having the label. Values: Spearman, Pearson, and R2 (1 - squared
error / variance).
"""

import numpy as np

from primase.finetuning.results import Score
from primase.finetuning.task import Task

RESAMPLES = 1000
WEIGHTS_AT_ONCE = 2**21
"""Weights that are held at once, 8 bytes each."""

CLASS_METRICS = ("mcc", "f1", "auroc", "auprc", "accuracy")
VALUE_METRICS = ("spearman", "pearson", "r2")

IN_WORDS = {
    "mcc": "MCC", "f1": "F1", "auroc": "AUROC", "auprc": "AUPRC", "accuracy": "accuracy", "spearman": "Spearman",
    "pearson": "Pearson", "r2": "R2",
}  # fmt: skip


def metric_names(task: Task) -> tuple[str, ...]:
    """The leading metric first."""
    names = VALUE_METRICS if task.kind == "regression" else CLASS_METRICS
    return (task.leading_metric, *(name for name in names if name != task.leading_metric))


def measure(task: Task, targets: np.ndarray, logits: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """float64 [samples, metrics], in the order of `metric_names`; a single sample of all rows without weights."""
    weights = np.ones((1, len(targets))) if weights is None else weights
    with np.errstate(divide="ignore", invalid="ignore"):
        if task.kind == "regression":
            values = _of_values(logits[:, 0].astype(np.float64), targets.astype(np.float64), weights)
        elif task.kind == "multi-label":
            decided = (logits > 0).astype(np.int64)
            by_label = [
                _of_classes(decided[:, i], targets[:, i].astype(np.int64), _two(logits[:, i]), weights, of_class=1)
                for i in range(task.outputs)
            ]
            values = {name: _mean([label[name] for label in by_label]) for name in CLASS_METRICS}
        else:
            values = _of_classes(logits.argmax(axis=1), targets, task.probabilities(logits), weights)
    return np.stack([values[name] for name in metric_names(task)], axis=1)


def resampled(task: Task, targets: np.ndarray, logits: list[np.ndarray], seed: int = 0) -> np.ndarray:
    """float64 [resamples, metrics]: means over the seeds' `logits`; the same `seed` draws the same rows."""
    rows = len(targets)
    draw = np.random.default_rng(seed)
    blocks, left = [], RESAMPLES
    while left:
        samples = min(left, max(1, WEIGHTS_AT_ONCE // rows))
        weights = draw.multinomial(rows, np.full(rows, 1 / rows), size=samples).astype(np.float64)
        blocks.append(np.mean([measure(task, targets, each, weights) for each in logits], axis=0))
        left -= samples
    return np.concatenate(blocks)


def scores(task: Task, targets: np.ndarray, logits: list[np.ndarray], samples: np.ndarray) -> list[Score]:
    """Each metric: its mean over the seeds, the interval of `samples` (of `resampled`), the spread over the seeds."""
    by_seed = np.array([measure(task, targets, each)[0] for each in logits])
    low, high = interval(samples)
    return [
        Score(
            metric=name,
            value=float(by_seed[:, i].mean()),
            low=float(low[i]),
            high=float(high[i]),
            by_seed=by_seed[:, i].tolist(),
            seed_deviation=float(by_seed[:, i].std(ddof=1)) if len(by_seed) > 1 else None,
        )
        for i, name in enumerate(metric_names(task))
    ]


def interval(samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """2.5 % and 97.5 % quantiles over the first axis, resamples without a value left out."""
    defined = np.where(np.isfinite(samples), samples, np.nan)
    return tuple(np.nanquantile(defined, (0.025, 0.975), axis=0))


def _mean(values: list) -> np.ndarray:
    """Over the first axis, of those that have a value; NaN where none has."""
    values = np.asarray(values)
    defined = np.isfinite(values)
    return np.where(defined, values, 0.0).sum(axis=0) / defined.sum(axis=0)


def _two(logit: np.ndarray) -> np.ndarray:
    """Scores [rows, 2] of a label that does not hold, and holds."""
    return np.stack([-logit, logit], axis=1)


def _of_classes(
    predicted: np.ndarray, true: np.ndarray, ranking: np.ndarray, weights: np.ndarray, of_class: int | None = None
) -> dict[str, np.ndarray]:
    """`ranking` [rows, classes]: by which rows are ordered for AUROC and AUPRC. F1 is that of `of_class`, if given."""
    classes = np.arange(ranking.shape[1])
    is_true, is_predicted = true[:, None] == classes, predicted[:, None] == classes
    # Of the confusion matrix only margins and diagonal: with a thousand classes a thousand of them fill the memory.
    of_true, of_predicted, of_both = (weights @ are for are in (is_true, is_predicted, is_true & is_predicted))
    total, right = weights.sum(axis=1), of_both.sum(axis=1)
    covariance = right * total - (of_true * of_predicted).sum(axis=1)
    scale = np.sqrt(total**2 - (of_predicted**2).sum(axis=1)) * np.sqrt(total**2 - (of_true**2).sum(axis=1))
    f1 = np.nan_to_num(2 * of_both / (of_true + of_predicted))
    ranked = [_ranked(ranking[:, c], true == c, weights) for c in ((1,) if len(classes) == 2 else classes)]
    auroc, auprc = _mean(ranked)
    return {
        "mcc": np.where(scale > 0, covariance / scale, 0.0),
        "f1": f1.mean(axis=1) if of_class is None else f1[:, of_class],
        "accuracy": right / total,
        "auroc": auroc,
        "auprc": auprc,
    }


def _ranked(score: np.ndarray, positive: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """AUROC (ties count half) and average precision [samples] each."""
    order = np.argsort(-score, kind="stable")
    last_of_tie = np.flatnonzero(np.append(np.diff(score[order]) != 0, True))
    weights = weights[:, order]
    found = np.cumsum(weights * positive[order], axis=1)[:, last_of_tie]
    false = np.cumsum(weights * ~positive[order], axis=1)[:, last_of_tie]
    positives, negatives = found[:, -1], false[:, -1]
    gained = np.diff(found, axis=1, prepend=0)
    wrong = np.diff(false, axis=1, prepend=0)
    auroc = (wrong * (found - gained / 2)).sum(axis=1) / (positives * negatives)
    precision = np.divide(found, found + false, out=np.zeros_like(found), where=found + false > 0)
    return auroc, (gained * precision).sum(axis=1) / positives


def _of_values(predicted: np.ndarray, true: np.ndarray, weights: np.ndarray) -> dict[str, np.ndarray]:
    squared_error = weights @ (predicted - true) ** 2
    mean = weights @ true / weights.sum(axis=1)
    variance = weights @ true**2 - weights.sum(axis=1) * mean**2
    every = (len(weights), len(true))
    return {
        "spearman": _correlation(_ranks(predicted, weights), _ranks(true, weights), weights),
        "pearson": _correlation(np.broadcast_to(predicted, every), np.broadcast_to(true, every), weights),
        "r2": 1 - squared_error / variance,
    }


def _ranks(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Middle ranks [samples, rows] in each resample: the weight below, and half of that of the tie."""
    distinct, tie = np.unique(values, return_inverse=True)
    of_tie = np.zeros((len(weights), len(distinct)))
    np.add.at(of_tie.T, tie, weights.T)
    return (np.cumsum(of_tie, axis=1) - of_tie / 2)[:, tie]


def _correlation(left: np.ndarray, right: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Pearson [samples] of left and right [samples, rows]; 0 where one of them is constant, as a rank of nothing."""
    total = weights.sum(axis=1, keepdims=True)
    left = left - (weights * left).sum(axis=1, keepdims=True) / total
    right = right - (weights * right).sum(axis=1, keepdims=True) / total
    scale = np.sqrt((weights * left**2).sum(axis=1) * (weights * right**2).sum(axis=1))
    return np.where(scale > 1e-12, (weights * left * right).sum(axis=1) / scale, 0.0)
