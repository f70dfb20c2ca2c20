"""metrics.jsonl: its keys, its sums, and the health of the routers."""

import math
from itertools import pairwise
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from primase.corpus.prepare import prepare
from primase.corpus.store import Corpus
from primase.scoring import LoadedModel, score_windows
from primase.training import trainer
from primase.training.metrics import MetricsFile, RouterHealth
from primase.training.run import pretrain
from primase.training.training_setup import TrainingSetup
from tests.training.runs import DENSE, EXPERTS, metrics, tiny_recipe

TRAINING_KEYS = {
    "step",
    "epoch",
    "tokens",
    "bases",
    "seconds",
    "loss_nats_per_token",
    "bits_per_base",
    "learning_rate",
    "tokens_per_second",
    "mfu",
}
ROUTER_KEYS = {"router_entropy", "dead_experts"}


@pytest.mark.parametrize(("model", "keys"), [(DENSE, TRAINING_KEYS), (EXPERTS, TRAINING_KEYS | ROUTER_KEYS)])
def test_lines(model, keys, genome, tmp_path):
    run = pretrain(genome, tmp_path / "run", tiny_recipe(model, training__log_every=1)).run
    lines = [line for line in metrics(run) if "eval_bits_per_base" not in line]
    assert [line["step"] for line in lines] == list(range(1, 21))
    assert all(set(line) == keys for line in lines)
    # 8 windows a step; a start token and 20 tokens of three bases give 20 targets.
    assert [line["tokens"] for line in lines] == [8 * 20 * step for step in range(1, 21)]
    assert [line["bases"] for line in lines] == [8 * 60 * step for step in range(1, 21)]
    assert 2 * Corpus.open(run / "corpus").part_bases("train") == lines[-1]["bases"]
    assert lines[-1]["epoch"] == 2.0
    for line in lines:
        assert 0 < line["mfu"] < 1.5
        assert line["bits_per_base"] == pytest.approx(line["loss_nats_per_token"] * 20 / 60 / math.log(2))
    assert all(before["seconds"] <= after["seconds"] for before, after in pairwise(lines))
    assert [line["learning_rate"] for line in lines] == pytest.approx([5e-3 * (1 - step / 20) for step in range(20)])


def test_what_is_measured_is_the_validation_part(genome, tmp_path):
    recipe = tiny_recipe(DENSE)
    corpus = prepare([genome], tmp_path / "corpus", recipe)
    setup = TrainingSetup.open(recipe, corpus)
    model = setup.fresh_model().eval()
    loaded = LoadedModel(model, setup.tokenizer, setup.rows.encoder, setup.rows.row_tokens)
    bits = {}
    for part in ("train", "validation", "heldout"):
        windows = list(corpus.iterate(corpus.part(part)))
        scores = score_windows(loaded, windows, stride_fraction=recipe.evaluation.stride_fraction)
        bits[part] = sum(score.nats.sum() for score in scores) / math.log(2) / sum(len(window) for window in windows)
    measured = setup.measure_validation(model)["bits_per_base"]
    assert measured == pytest.approx(bits["validation"], rel=1e-5)
    assert abs(measured - bits["train"]) > 1e-4 and abs(measured - bits["heldout"]) > 1e-4


def test_a_line_is_the_mean_since_the_last(genome, tmp_path):
    each, every_fourth = (
        [
            line["loss_nats_per_token"]
            for line in metrics(pretrain(genome, tmp_path / str(every), tiny_recipe(training__log_every=every)).run)
            if "tokens" in line
        ]
        for every in (1, 4)
    )
    assert every_fourth == pytest.approx([sum(each[first : first + 4]) / 4 for first in range(0, 20, 4)])


def test_the_seconds_are_those_of_all_steps(genome, tmp_path, monkeypatch):
    """Also of steps between the last line of an epoch and its end: an epoch has 10, a line is written every 8."""
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(trainer, "time", SimpleNamespace(perf_counter=lambda: clock.now))
    training_step = trainer.PretrainingTrainer.training_step

    def in_a_second(self, *arguments, **named):
        clock.now += 1.0
        return training_step(self, *arguments, **named)

    monkeypatch.setattr(trainer.PretrainingTrainer, "training_step", in_a_second)
    recipe = tiny_recipe(training__log_every=8, training__evaluate_every="never", training__accumulation_steps=1,
        training__rows_per_batch=8, training__save_every=100)  # fmt: skip
    lines = [line for line in metrics(pretrain(genome, tmp_path / "run", recipe).run) if "tokens" in line]
    assert [line["step"] for line in lines] == [8, 16, 20]
    start = lines[0]["seconds"] - 8  # what the run took before its first step is on the real clock
    assert 0 <= start < 60 and [line["seconds"] - start for line in lines] == pytest.approx([8, 16, 20])
    assert [line["tokens_per_second"] for line in lines] == [8 * 20.0] * 3


def test_evaluation_lines(genome, tmp_path):
    run = pretrain(genome, tmp_path / "run", tiny_recipe()).run
    lines = [line for line in metrics(run) if "eval_bits_per_base" in line]
    assert [line["step"] for line in lines] == [5, 10, 15, 20]
    assert all(
        set(line) == {"step", "epoch", "seconds", "eval_bits_per_base", "eval_loss_nats_per_token"} for line in lines
    )
    # Random bases: nobody can do better than 2 bits, and an untrained model is not far from it.
    assert all(1.95 < line["eval_bits_per_base"] < 2.3 for line in lines)


class TopKRouter(nn.Module):
    """As transformers' routers: logits, weights, chosen experts."""

    def forward(self, chosen: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        return torch.zeros(len(chosen), 4), torch.ones(chosen.shape), chosen


def test_router_health():
    model = nn.ModuleList([TopKRouter(), TopKRouter()])
    health = RouterHealth(model, 4)
    assert health.read() == {}
    is_real = torch.tensor([[True, True, True], [True, True, False]])
    uneven = torch.tensor([[0, 1], [0, 1], [0, 1], [0, 1], [0, 2], [3, 3]])
    even = torch.tensor([[0, 1], [2, 3], [0, 1], [2, 3], [0, 1], [2, 3]])
    with health.counting(is_real):
        model[0](uneven)
        model[1](even)
    model[0](uneven)  # outside: a measurement
    assert health.load.tolist() == [[5, 4, 1, 0], [3, 3, 2, 2]]
    entropies = [-sum(p * math.log2(p) for p in load) for load in [(0.5, 0.4, 0.1), (0.3, 0.3, 0.2, 0.2)]]
    read = health.read()
    assert read["router_entropy"] == pytest.approx(sum(entropies) / 2)
    assert read["dead_experts"] == 1
    assert not health.load.any()


def test_padding_is_not_counted(unequal_windows, tmp_path, monkeypatch):
    loads, read = [], RouterHealth.read

    def look_and_read(health):
        loads.append(health.load.clone())
        return read(health)

    monkeypatch.setattr(RouterHealth, "read", look_and_read)
    recipe = tiny_recipe(EXPERTS, data__short_records="keep", training__steps=1, training__accumulation_steps=99)
    (line, _) = metrics(pretrain(unequal_windows, tmp_path / "run", recipe).run)
    assert line["dead_experts"] == int((loads[0] == 0).sum())
    # Each of the 32 rows has a start token more than it has targets; 2 experts a token.
    assert loads[0].sum(dim=1).tolist() == [2 * (line["tokens"] + 32)] * 2


def test_metrics_file_forgets_what_will_be_made_again(tmp_path):
    file = MetricsFile(tmp_path / "metrics.jsonl")
    for step in range(4):
        file.append({"step": step})
    with open(file.file, "a") as out:
        out.write('{"step": 4')  # cut off by a crash
    file.keep(2)
    file.append({"step": 2})
    assert file.lines == 3
    assert [line["step"] for line in metrics(tmp_path)] == [0, 1, 2]
