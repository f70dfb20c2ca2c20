"""Linear heads that are solved, not walked to: of the probe, and of the k-mer rival (scikit-learn)."""

import warnings

import numpy as np

from primase.finetuning.fit import Fitting
from primase.finetuning.scores import measure
from primase.finetuning.task import Task

INVERSE_PENALTIES = (0.01, 0.1, 1.0, 10.0)
"""scikit-learn's C, and 1 / alpha of a ridge regression; chosen on the validation rows."""

MOST_ITERATIONS = 300


def solve(train: np.ndarray, validation: np.ndarray, fitting: Fitting) -> tuple[np.ndarray, float]:
    """Weights float32 [outputs, width] without an intercept, which heads of transformers lack, and the metric.

    `train` and `validation` are features [rows, width], scaled here by their deviation, which goes into the weights.
    """
    scale = train.std(axis=0) + 1e-6
    best, best_weight = -np.inf, np.zeros((fitting.task.outputs, train.shape[1]))
    for penalty in INVERSE_PENALTIES:
        head = LinearHead.fit(train / scale, penalty, fitting, intercept=False)
        metric = head.metric(validation / scale, fitting)
        if metric > best:
            best, best_weight = metric, head.weight
    return (best_weight / scale).astype(np.float32), best


class LinearHead:
    """A logistic regression (multinomial, or one a label) or a ridge regression."""

    def __init__(self, weight: np.ndarray, intercept: np.ndarray) -> None:
        self.weight, self.intercept = weight, intercept
        """[outputs, width] and [outputs]; of two classes the logits are opposite."""

    @classmethod
    def fit(cls, features, penalty: float, fitting: Fitting, *, intercept: bool) -> "LinearHead":
        """`features` [rows, width], dense or sparse, of the training rows."""
        from sklearn.linear_model import LogisticRegression, Ridge

        task, targets = fitting.task, fitting.train_targets
        if task.kind == "regression":
            model = Ridge(alpha=1 / penalty, fit_intercept=intercept).fit(features, targets)
            return cls(np.atleast_2d(model.coef_), np.atleast_1d(model.intercept_))
        balanced = "balanced" if fitting.settings.class_weights == "balanced" else None
        models = []
        for wanted in targets.T.astype(int) if task.kind == "multi-label" else [targets]:
            model = LogisticRegression(
                C=penalty, fit_intercept=intercept, max_iter=MOST_ITERATIONS, class_weight=balanced
            )
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # not converged: the validation rows judge what came of it
                models.append(model.fit(features, wanted))
        weight = np.concatenate([model.coef_ for model in models])
        intercepts = np.concatenate([np.atleast_1d(model.intercept_) for model in models])
        if task.kind == "binary":
            weight, intercepts = np.concatenate([-weight, weight]) / 2, np.concatenate([-intercepts, intercepts]) / 2
        return cls(weight, intercepts)

    def logits(self, features) -> np.ndarray:
        """float32 [rows, outputs]."""
        return np.asarray(features @ self.weight.T + self.intercept, np.float32)

    def metric(self, features, fitting: Fitting) -> float:
        """The leading metric on the validation rows."""
        return leading(fitting.task, fitting.validation_targets, self.logits(features))


def leading(task: Task, targets: np.ndarray, logits: np.ndarray) -> float:
    """The leading metric of the task."""
    return float(measure(task, targets, logits)[0, 0])
