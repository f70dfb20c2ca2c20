"""The whole benchmark on a simulated genome, in seconds; its table, and what it foresees."""

import json
import sys

import numpy as np
import pytest

from benchmarks import rehearsal
from benchmarks.beats_counting import RESULT, details, figures, main, predictors
from primase.corpus.prepare import prepare
from primase.recipe import Recipe
from primase.simulate import simulate_to_file

TINY = [
    "name=tiny",
    "training.steps=5",
    "data.window_bases=300",
    "split.block_bases=1500",
    "split.gap_bases=0",
    "training.row_tokens=60",
    "training.validation_bases=900",
    'model.settings={"hidden_size"=16,"intermediate_size"=32,"num_hidden_layers"=1,"num_attention_heads"=2,'
    '"num_key_value_heads"=2,"head_dim"=8}',
]


def rival(kind, name, bits_per_base, advantage):
    figures = {"model_advantage_millibits": advantage, "low": advantage - 9, "high": advantage + 9}
    return {"kind": kind, "name": name, "bits_per_base": bits_per_base} | figures


def figure(bits_per_base):
    return {"bits_per_base": bits_per_base, "low": bits_per_base - 0.01, "high": bits_per_base + 0.01}


RESULTS = {
    "genome": "yeast",
    "at_most": 1.9,
    "aim": 1.8,
    "seed": 3,
    "steps": 7,
    "evaluation": {
        "model": "run",
        "forward": figure(1.85),
        "rivals": [rival("markov", "Markov", 1.86, 10.0), rival("other", "a new rival", 1.7, -150.0)],
        "company": [
            {
                "name": "the model in company",
                "figure": figure(1.75),
                "rivals": [rival("markov", "Markov", 1.86, 110.0)],
            }
        ],
        "markov_bits_per_base": [1.99, 1.98],
        "verdict": "v",
    },
}
"""A result in which the evaluation has lists that nobody has told the benchmark about."""


def test_everything_ends_in_time_and_is_written(tmp_path, monkeypatch, capsys):
    genome, recipe, out = tmp_path / "genome.fa", tmp_path / "tiny.toml", tmp_path / "out"
    simulate_to_file(genome, bases=30_000, records=2)
    recipe.write_text(Recipe.load("default", TINY).to_toml())
    command = ["beats_counting", "--genomes", genome, "--recipe", recipe, "--minutes", 10, "-o", out]
    command += ["--set", "evaluation.max_bases=1500"]
    monkeypatch.setattr(sys, "argv", [*map(str, command)])
    main()
    (result,) = json.loads((out / RESULT).read_text())
    assert result["steps"] == 5 and result["seconds"]["all"] <= 600
    assert result["changes"] == ["evaluation.max_bases=1500"]
    assert 1500 <= result["evaluation"]["forward"]["bases"] < 3000
    spent = {name: seconds for name, seconds in result["seconds"].items() if name != "all"}
    assert list(spent) == ["prepare", "rehearse", "train", "evaluate"]
    assert sum(spent.values()) == pytest.approx(result["seconds"]["all"], abs=1)
    assert result["evaluation"] == json.loads((out / "genome" / "run" / "evaluation.json").read_text())
    assert f"| genome | the model | {result['evaluation']['forward']['bits_per_base']:.4f} |" in capsys.readouterr().out
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2 and "genome: is there already" in capsys.readouterr().err


def test_minutes_that_leave_no_training_are_refused(tmp_path, monkeypatch, capsys):
    genome, recipe, out = tmp_path / "genome.fa", tmp_path / "tiny.toml", tmp_path / "out"
    simulate_to_file(genome, bases=30_000, records=2)
    recipe.write_text(Recipe.load("default", TINY).to_toml())
    monkeypatch.setattr(rehearsal, "rehearse", lambda corpus, recipe: rehearsal.Expected(20.0, 30.0))
    command = ["beats_counting", "--genomes", genome, "--recipe", recipe, "--minutes", 0.5, "-o", out]
    monkeypatch.setattr(sys, "argv", [*map(str, command)])
    with pytest.raises(SystemExit) as ended:
        main()
    told = capsys.readouterr().err
    assert ended.value.code == 2 and told.count("\n") == 1 and "genome: everything but the training takes" in told
    assert not list(out.iterdir()), "nothing is left behind"


def test_rows_that_an_evaluation_adds_are_shown():
    table, lines = figures([RESULTS]), details(RESULTS)
    assert [one["name"] for one in predictors(RESULTS["evaluation"])] == ["the model", "the model in company"]
    alone, company = table.splitlines()[2:]
    assert "| 1.8500 | 1.8400 to 1.8600 | 1.900: reached | 1.800: missed by 50.0 |" in alone
    assert "| 1.8600 | +10.0 (+1.0 to +19.0) |" in alone
    assert "| 1.7500 | 1.7400 to 1.7600 | 1.900: reached | 1.800: reached |" in company
    assert "| 1.8600 | +110.0 (+101.0 to +119.0) |" in company
    assert "a new rival" in lines and "-150.0 (-159.0 to -141.0)" in lines and "the model in company" in lines


@pytest.mark.parametrize("max_bases", [None, 1_500])
def test_a_rehearsal_reads_training_bases_and_reckons_with_all_that_is_measured(max_bases, tmp_path, monkeypatch):
    """Of an evaluation that takes 2 seconds and a millisecond a base, 3 microseconds more for each base counted on."""
    simulate_to_file(tmp_path / "genome.fa", bases=60_000, records=2)
    recipe = Recipe.load("default", TINY).replace({"evaluation.max_bases": max_bases})
    corpus = prepare([tmp_path / "genome.fa"], tmp_path / "corpus", recipe)
    clock, read = [0.0], []

    def evaluate(run, *, sequences, count_on):
        measured, counted = (file.read_text().splitlines()[1] for file in (sequences, count_on))
        read.extend([measured, counted])
        clock[0] += 2 + 1e-3 * len(measured) + 3e-6 * len(counted)

    def pretrain(corpus, output, recipe):
        clock[0] += 5
        return type("Result", (), {"run": output})

    monkeypatch.setattr(rehearsal, "evaluate", evaluate)
    monkeypatch.setattr(rehearsal, "pretrain", pretrain)
    monkeypatch.setattr(rehearsal.time, "perf_counter", lambda: clock[0])
    expected = rehearsal.rehearse(corpus, recipe)
    assert expected.around_training == 5
    measured = (max_bases or corpus.part_bases("heldout")) + corpus.part_bases("validation")
    counted = corpus.part_bases("train")
    seconds = rehearsal.SAFETY * (2 + 1e-3 * measured + 3e-6 * counted)
    assert expected.evaluation == pytest.approx(seconds, rel=1e-3)
    training = b"".join(np.concatenate(list(corpus.iterate(corpus.part("train")))).tobytes().split()).decode()
    assert all(text in training for text in read)
