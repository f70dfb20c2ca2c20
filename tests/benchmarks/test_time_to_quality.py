"""The comparison of two recipes: each prepares the windows as it ships, and both are measured on the same ones."""

import json
from argparse import Namespace
from contextlib import suppress

import numpy as np
import pytest

from benchmarks import time_to_quality
from primase.corpus.prepare import prepare
from primase.tokenizers import kmer_tokenizer

CURVES = {"tutorial": [(100.0, 2.10), (200.0, 2.01), (300.0, 2.03)], "fast": [(10.0, 2.05), (20.0, 2.01), (30.0, 1.9)]}


@pytest.fixture
def settings(tmp_path):
    kmer_tokenizer(3).save_pretrained(tmp_path / "tokenizer")
    rng = np.random.default_rng(0)
    windows = "".join(f">w{i}\n{''.join(rng.choice(list('ACGT'), 200))}\n" for i in range(50))
    (tmp_path / "windows.fa").write_text(windows)
    return Namespace(
        windows=[tmp_path / "windows.fa"],
        output=tmp_path / "quality",
        tokenizer=str(tmp_path / "tokenizer"),
        tutorial_epochs=50,
        fast_epochs=None,
        until_reached=False,
    )


def measured(monkeypatch, settings, changes_of_fast=()):
    """What `measure` says of runs that prepare their windows and have these curves, without a training."""

    def pretrain(windows, run, recipe, *, overwrite, on_step):
        prepare(windows, run / "corpus", recipe.replace(dict(changes_of_fast) if recipe.name == "fast" else {}))
        lines = [{"loss": 3.0}]
        with suppress(KeyboardInterrupt):
            for step, (seconds, bits) in enumerate(CURVES[recipe.name]):
                lines.append({"seconds": seconds, "eval_bits_per_base": bits})
                on_step(step, len(CURVES[recipe.name]), {"eval_bits_per_base": bits})
        (run / "metrics.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))

    monkeypatch.setattr(time_to_quality, "pretrain", pretrain)
    return time_to_quality.measure(settings)


def test_how_much_sooner(monkeypatch, settings):
    result = measured(monkeypatch, settings)
    assert result["tutorial_best_bits_per_base"] == 2.01
    assert result["seconds_to_it"] == {"tutorial": 200.0, "fast": 20.0} and result["ratio"] == 10.0
    walls = result["wall_seconds_to_it"]
    assert walls["tutorial"] > 0 and walls["fast"] > 0
    assert result["wall_ratio"] == walls["tutorial"] / walls["fast"]
    table = time_to_quality.table(result)
    assert "10.0 times sooner" in table and f"{result['wall_ratio']:.1f} times sooner" in table


def test_a_run_that_had_begun_before_has_no_wall_clock(monkeypatch, settings):
    measured(monkeypatch, settings)
    for run in settings.output.iterdir():
        (run / "final").mkdir()
    result = measured(monkeypatch, settings)
    assert result["ratio"] == 10.0 and result["wall_ratio"] is None


def test_stopped_where_the_ratio_is_known(monkeypatch, settings):
    settings.until_reached = True
    result = measured(monkeypatch, settings)
    assert result["seconds_and_bits_per_base"]["fast"] == CURVES["fast"][:2] and result["ratio"] == 10.0


def test_figures_of_other_windows_are_not_compared(monkeypatch, settings):
    with pytest.raises(SystemExit, match="split the windows differently"):
        measured(monkeypatch, settings, {"seed": 43})
