"""Metrics against scikit-learn and scipy; a resample by weights is the metric of the rows drawn."""

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as sk

from primase.finetuning.scores import RESAMPLES, measure, metric_names, resampled, scores
from primase.finetuning.task import Task
from primase.finetuning.verdict import Measured, compare, verdict

ROWS = 60
BINARY = Task("binary", ("a", "b"), ("label",))
THREE = Task("multi-class", ("a", "b", "c"), ("label",))
SEVERAL = Task("multi-label", ("a", "b", "c"), ("a", "b", "c"))
VALUES = Task("regression", ("y",), ("y",), mean=3.0, deviation=2.0)


def example(task: Task, rows: int = ROWS):
    draw = np.random.default_rng(1)
    logits = draw.normal(size=(rows, task.outputs)).round(1).astype(np.float32)  # rounded: there are ties
    if task.kind == "regression":
        return (logits[:, 0] + draw.normal(size=rows)).round(1).astype(np.float32), logits
    if task.kind == "multi-label":
        return (logits + draw.normal(size=logits.shape) > 0).astype(np.float32), logits
    return np.where(draw.random(rows) < 0.5, logits.argmax(1), draw.integers(task.outputs, size=rows)), logits


def by_libraries(task: Task, targets: np.ndarray, logits: np.ndarray) -> dict[str, float]:
    if task.kind == "regression":
        predicted = logits[:, 0]
        return {
            "spearman": stats.spearmanr(predicted, targets).statistic,
            "pearson": stats.pearsonr(predicted, targets).statistic,
            "r2": sk.r2_score(targets, predicted),
        }
    if task.kind == "multi-label":
        each = [
            by_libraries(BINARY, t.astype(int), np.stack([-z, z], 1)) for t, z in zip(targets.T, logits.T, strict=True)
        ]
        means = {name: np.mean([one[name] for one in each]) for name in each[0]}
        return means | {"f1": sk.f1_score(targets, logits > 0, average="macro")}
    probabilities, predicted = task.probabilities(logits), logits.argmax(1)
    ranked = range(task.outputs) if task.outputs > 2 else [1]
    return {
        "mcc": sk.matthews_corrcoef(targets, predicted),
        "f1": sk.f1_score(targets, predicted, average="macro"),
        "accuracy": sk.accuracy_score(targets, predicted),
        "auroc": np.mean([sk.roc_auc_score(targets == c, probabilities[:, c]) for c in ranked]),
        "auprc": np.mean([sk.average_precision_score(targets == c, probabilities[:, c]) for c in ranked]),
    }


@pytest.mark.parametrize("task", [BINARY, THREE, SEVERAL, VALUES], ids=lambda task: task.kind)
def test_metrics_are_those_of_the_libraries_also_in_a_resample(task):
    targets, logits = example(task)
    draw = np.random.default_rng(2).integers(ROWS, size=(3, ROWS))
    weights = np.stack([np.ones(ROWS), *(np.bincount(rows, minlength=ROWS) for rows in draw)])
    found = measure(task, targets, logits, weights)
    for values, rows in zip(found, [np.arange(ROWS), *draw], strict=True):
        expected = by_libraries(task, targets[rows], logits[rows])
        assert dict(zip(metric_names(task), values, strict=True)) == pytest.approx(expected, abs=1e-6)


def test_the_leading_metric_is_first():
    assert [metric_names(task)[0] for task in (BINARY, THREE, SEVERAL, VALUES)] == ["mcc", "mcc", "f1", "spearman"]


def test_intervals_hold_the_truth_as_often_as_they_say():
    """Accuracy of a coin that is right 7 times in 10: a binomial, whose standard error is known."""
    draw = np.random.default_rng(0)
    held, widths = 0, []
    for _ in range(60):
        targets = draw.integers(2, size=100)
        right = draw.random(100) < 0.7
        predicted = np.where(right, targets, 1 - targets)
        logits = np.eye(2, dtype=np.float32)[predicted]
        samples = resampled(BINARY, targets, [logits])
        accuracy = next(s for s in scores(BINARY, targets, [logits], samples) if s.metric == "accuracy")
        held += accuracy.low <= 0.7 <= accuracy.high
        widths.append(accuracy.high - accuracy.low)
    assert 50 <= held <= 60
    assert np.mean(widths) == pytest.approx(2 * 1.96 * np.sqrt(0.21 / 100), rel=0.1)


def test_several_seeds_are_averaged_and_their_spread_is_told():
    targets, logits = example(BINARY)
    worse = np.random.default_rng(5).normal(size=logits.shape).astype(np.float32)
    samples = resampled(BINARY, targets, [logits, worse])
    assert samples.shape == (RESAMPLES, 5)
    found = scores(BINARY, targets, [logits, worse], samples)[0]
    each = [sk.matthews_corrcoef(targets, z.argmax(1)) for z in (logits, worse)]
    assert found.by_seed == pytest.approx(each) and found.value == pytest.approx(np.mean(each))
    assert found.seed_deviation == pytest.approx(abs(each[0] - each[1]) / np.sqrt(2))
    assert scores(BINARY, targets, [logits], samples)[0].seed_deviation is None


def test_a_paired_difference_is_narrower_and_the_verdict_names_the_winner():
    draw = np.random.default_rng(3)
    targets = draw.integers(2, size=400)
    good = np.where(draw.random(400) < 0.8, targets, 1 - targets)
    slightly = good.copy()
    slightly[:24] = 1 - targets[:24]  # the same rows, but for these
    logits = {name: np.eye(2, dtype=np.float32)[p] for name, p in (("good", good), ("less", slightly))}
    logits["guess"] = draw.normal(size=(400, 2)).astype(np.float32)
    measured = [Measured("model", "this model", [0.6], [logits["less"]])]
    measured += [
        Measured("cnn", "net", [0.6], [logits["good"]]),
        Measured("kmer", "counting", [0.0], [logits["guess"]]),
    ]
    model, net, counting = compare(BINARY, targets, measured)
    assert model.advantage is None
    assert net.advantage < 0 and net.high < 0 and net.high - net.low < model.leading.high - model.leading.low
    assert counting.low > 0.3
    text = verdict(BINARY, [model, net, counting], 400)
    assert text.startswith("The net does best (MCC 0.")
    assert "The net is ahead of the model by 0." in text and "The model is ahead of the counting by 0." in text
    assert "not certain" not in text
    even = verdict(BINARY, compare(BINARY, targets, [measured[0], measured[0]]), 50)
    assert "level with" in even and even.endswith("With 50 test rows the intervals say little.")
