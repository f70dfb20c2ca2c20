"""What labels mean: the guess, the order of classes, targets, probabilities, and each mistake in one line."""

import numpy as np
import pytest

from primase.errors import InputError, RecipeError
from primase.finetuning.settings import FinetuningSettings
from primase.finetuning.task import Task, understand
from primase.formats import LabelledRecord


def records(*labels):
    return [
        LabelledRecord(str(i), "ACGT", label if isinstance(label, tuple) else (label,), "t.csv", i)
        for i, label in enumerate(labels, 1)
    ]


@pytest.mark.parametrize(
    ("labels", "kind", "classes"),
    [
        (["1", "0", "1"], "binary", ("0", "1")),
        (["1.0", "0.0", "1"], "binary", ("0", "1")),
        (["10", "9", "-1"], "multi-class", ("-1", "9", "10")),
        (["IE", "EI", "N"], "multi-class", ("EI", "IE", "N")),
        (["yes", "no"], "binary", ("no", "yes")),
        (["1_1", "11", "1_2", "12"], "multi-class", ("11", "12", "1_1", "1_2")),
        (["007", "7", "7.0"], "binary", ("007", "7")),
        (["0.5", "1", "2"], "regression", ("label",)),
        ([str(i) for i in range(21)], "regression", ("label",)),
        ([str(i) for i in range(20)], "multi-class", tuple(map(str, range(20)))),
    ],
)
def test_the_guess(labels, kind, classes):
    task = understand(records(*labels), ["label"], None, None)
    assert (task.kind, task.labels) == (kind, classes)


def test_targets_of_classes():
    task = understand(records("b", "a", "b"), ["label"], None, None)
    assert task.targets(records("b", "a")).tolist() == [1, 0]
    with pytest.raises(InputError, match=r"t.csv: row 2: label 'c' is not among the training rows \(a, b\)"):
        task.targets(records("a", "c"))


def test_targets_of_values_are_standardised_and_come_back():
    task = understand(records("1", "3.5", "-2"), ["label"], "regression", None)
    targets = task.targets(records("1", "3.5", "-2"))
    assert targets.mean() == pytest.approx(0, abs=1e-6) and targets.std() == pytest.approx(1)
    assert task.probabilities(targets[:, None])[:, 0] == pytest.approx([1, 3.5, -2])


def test_several_labels():
    columns = understand(records(("1", "0"), ("0", "1"), ("1", "1")), ["x", "y"], None, None)
    assert columns.kind == "multi-label" and columns.labels == ("x", "y")
    assert columns.targets(records(("1", "0"))).tolist() == [[1, 0]]
    separated = understand(records("a;b", "b ; c", "", "c"), ["label"], None, ";")
    assert separated.labels == ("a", "b", "c")
    assert separated.targets(records("c;a", "")).tolist() == [[1, 0, 1], [0, 0, 0]]
    with pytest.raises(InputError, match="row 1: label 'd' is not among"):
        separated.targets(records("d"))


def test_probabilities():
    logits = np.array([[0.0, 0.0, np.log(2)], [1000, 0, 0]])
    assert Task("multi-class", ("a", "b", "c"), ()).probabilities(logits) == pytest.approx(
        np.array([[0.25, 0.25, 0.5], [1, 0, 0]])
    )
    assert Task("multi-label", ("a", "b", "c"), ()).probabilities(logits)[0] == pytest.approx([0.5, 0.5, 2 / 3])


@pytest.mark.parametrize(
    ("labels", "columns", "kind", "separator", "message"),
    [
        (["1", "1"], ["label"], None, None, "t.csv: column 'label' holds one label only, '1'"),
        (["1", "1"], ["label"], "regression", None, "column 'label' holds one value only"),
        (["1", "x"], ["label"], "regression", None, "t.csv: row 2: column 'label' holds 'x', no number"),
        (["1", "inf"], ["label"], "regression", None, "row 2: column 'label' holds 'inf', no number"),
        (["a", "b", "c"], ["label"], "binary", None, "holds 3 labels, not two; leave out --task binary"),
        ([f"t{i}" for i in range(50)], ["label"], None, None, "holds 50 different texts in 50 rows"),
        ([("1", "2"), ("0", "1")], ["x", "y"], None, None, "t.csv: row 1: column 'y' holds '2'; of several label"),
        ([("1", "0"), ("0", "0")], ["x", "y"], None, None, "label 'y' is the same in every row"),
        ([("1", "0")], ["x", "y"], "binary", None, "task binary: takes one label column"),
        (["1", "0"], ["label"], "multi-label", None, "task multi-label: give several --label columns"),
        (["1", "0"], ["label"], "picture", None, "task 'picture': choose binary, multi-class"),
        (["", "", "a"], ["label"], None, ";", "holds 1 labels; a multi-label task has several"),
    ],
)
def test_mistakes(labels, columns, kind, separator, message):
    with pytest.raises(InputError) as error:
        understand(records(*labels), columns, kind, separator)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"method": "magic"}, "--method: input should be 'full', 'lora' or 'probe' (given: 'magic')"),
        ({"epochs": 0}, "--epochs: input should be greater than or equal to 1"),
        ({"learning_rate": -1.0}, "--learning-rate: "),
        ({"test_fraction": 0.9}, "--test-fraction: "),
        ({"class_weights": "heavy"}, "--class-weights: "),
    ],
)
def test_settings_that_do_not_fit(option, message):
    with pytest.raises(RecipeError) as error:
        FinetuningSettings.of(label=("label",), **option)
    assert message in str(error.value)
