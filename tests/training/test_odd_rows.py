"""Rows that hold nothing to learn from never make a loss, a gradient or a weight NaN."""

import itertools
import math

import pytest
import torch

from primase.corpus.rows import PaddingCollator
from primase.training.checkpoints import complete_checkpoints
from primase.training.run import pretrain
from tests.training.runs import DENSE, EXPERTS, metrics, tiny_recipe, unequal, weights

SPLIT = {"split__validation_fraction": 0.2, "split__heldout_fraction": 0.1}


def assert_all_finite(run):
    for line in metrics(run):
        assert all(math.isfinite(value) for value in line.values()), line
    assert all(torch.isfinite(weight).all() for weight in weights(run / "final").values())


def fasta(folder, records):
    file = folder / "odd.fa"
    file.write_text("".join(f">r{number}\n{bases}\n" for number, bases in enumerate(records)))
    return file


@pytest.mark.parametrize(("model", "optimizer"), [(DENSE, "muon"), (EXPERTS, "adamw")], ids=["dense", "experts"])
def test_windows_of_only_n(model, optimizer, tmp_path):
    """One window of bases among twenty of N: most steps and most measurements see no base at all."""
    genome = fasta(tmp_path, ["ACGTTGCA" * 15 + "N" * 1200])
    recipe = tiny_recipe(
        model,
        data__window_bases=60,
        data__unknown_bases="keep",
        training__optimizer=optimizer,
        training__log_every=1,
        **SPLIT,
    )
    run = pretrain(genome, tmp_path / "run", recipe).run
    assert_all_finite(run)
    assert any(line["bases"] == before["bases"] for before, line in _neighbours(run)), "no step without bases was made"


def _neighbours(run):
    lines = [line for line in metrics(run) if "bases" in line]
    return itertools.pairwise(lines)


@pytest.mark.parametrize(("model", "optimizer"), [(DENSE, "muon"), (EXPERTS, "adamw")], ids=["dense", "experts"])
def test_rows_of_one_token(model, optimizer, tmp_path):
    """Records of a base or two are rows of at most one 3-mer beside a few that teach something."""
    records = ["A", "AC", "G", "TT", "C", "CA"] * 8 + ["ACGTTGCATTAG" * 4] * 4
    recipe = tiny_recipe(
        model,
        data__window_bases=60,
        data__short_records="keep",
        training__rows_per_batch=1,
        training__accumulation_steps=1,
        training__optimizer=optimizer,
        training__log_every=1,
        **SPLIT,
    )
    run = pretrain(fasta(tmp_path, records), tmp_path / "run", recipe).run
    assert_all_finite(run)


def test_steps_without_a_target_teach_nothing(tmp_path):
    """All labels are padding or first tokens: the loss is 0, and the weights stay as they were made."""
    genome = fasta(tmp_path, ["ACGTTGCATTAG" * 100])
    whole = PaddingCollator.__call__

    patch = pytest.MonkeyPatch()

    def cut_to_first_tokens(_plan):
        patch.setattr(PaddingCollator, "__call__", lambda self, rows: whole(self, [row[:1] for row in rows]))

    recipe = tiny_recipe(
        DENSE,
        training__steps=3,
        training__weight_decay=0.0,
        training__log_every=1,
        training__save_every=1,
        training__evaluate_every="never",
        training__keep_checkpoints=3,
    )

    def leave_the_self_tests_alone(step, steps, _metrics):
        if step == steps:
            patch.undo()

    run = pretrain(
        genome, tmp_path / "run", recipe, on_plan=cut_to_first_tokens, on_step=leave_the_self_tests_alone
    ).run
    assert_all_finite(run)
    assert [line["loss_nats_per_token"] for line in metrics(run)] == [0.0, 0.0, 0.0]
    first, _, last = complete_checkpoints(run)
    assert unequal(weights(first.folder), weights(last.folder)) == []
