"""`primase report`: what it writes, and what it says where it cannot."""

import json
import os
import shutil
from pathlib import Path

import pytest

from tests import reported_runs


@pytest.fixture
def run(workplace: Path) -> Path:
    reported_runs.measured_run(workplace, "mine")
    return Path("mine")


def test_the_page_and_the_card(primase, run, contents):
    before = contents(run)
    outcome = primase("report", run)
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.splitlines() == [
        "mine/report.html: open it in a browser",
        "mine/final/README.md: the model card",
    ]
    assert contents(run).keys() - before.keys() == {"report.html", "final/README.md"}
    assert primase("report", run).code == 0


def test_json(primase, run):
    outcome = primase("report", run, "--json")
    assert json.loads(outcome.out) == {"report": "mine/report.html", "model_card": "mine/final/README.md"}


def test_a_run_that_was_really_trained(primase, finished_run, workplace):
    shutil.copytree(finished_run, "real")
    assert primase("report", "real").code == 0
    page = Path("real/report.html").read_text("utf-8")
    assert "6,000 bases in 1 record" in page and "primase evaluate real" in page and "2 steps" not in page
    assert "library_name: transformers" in Path("real/final/README.md").read_text("utf-8")


def test_a_run_without_a_final_model_gets_its_page(primase, run):
    shutil.rmtree(run / "final")
    outcome = primase("report", run, "--json")
    assert json.loads(outcome.out) == {"report": "mine/report.html", "model_card": None}
    assert "primase pretrain --resume mine" in (run / "report.html").read_text("utf-8")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("evaluation.json", b"\xff\xfe"),
        ("evaluation.json", b'{"schema_version": 2, "markov_bits_per_base": [1e999]}'),
        ("checks.json", b"{"),
        ("corpus/leakage.json", b"[1]"),
        ("corpus/corpus.json", b"{"),
        ("corpus/corpus.json", b'{"schema_version": 1}'),
        ("metrics.jsonl", b"\xff\n{"),
        ("environment.json", b"nothing"),
        ("final/config.json", b"[]"),
        ("final/model.safetensors", b"\xff" * 20),
    ],
)
def test_a_file_that_is_damaged_costs_its_part_of_the_page(name, content, primase, run):
    (run / name).write_bytes(content)
    assert primase("report", run).code == 0
    page = (run / "report.html").read_text("utf-8")
    if name == "evaluation.json":
        assert "evaluation.json cannot be read; measure again" in page and "primase evaluate mine" in page
    if name == "corpus/corpus.json":
        assert "The prepared corpus cannot be read" in page or "description of the prepared corpus cannot" in page


def test_no_run(primase, run):
    Path("empty").mkdir()
    Path("a_file").write_text("x")
    for place in ("absent", "empty", "a_file", "mine/final"):
        refusal = primase("report", place).refusal
        assert f"{place}: no run here (recipe.toml is missing); give a folder that primase pretrain wrote" in refusal
    assert sorted(os.listdir()) == ["a_file", "empty", "mine"]
    assert os.listdir("empty") == []


@pytest.mark.parametrize(
    ("recipe", "said"),
    [
        (b"name = ", "mine/recipe.toml: not a TOML file"),
        (b"\xff", "no readable recipe"),
        (b"name = 'x'", "mine/recipe.toml"),
    ],
)
def test_a_recipe_that_cannot_be_read(recipe, said, primase, run, contents):
    (run / "recipe.toml").write_bytes(recipe)
    before = contents(run)
    assert said in primase("report", run).refusal
    assert contents(run) == before


def test_a_page_that_cannot_be_written(primase, run, contents):
    (run / "report.html").mkdir()
    before = contents(run)
    refusal = primase("report", run).refusal
    assert refusal.startswith("primase: mine/report.html: ") and "is a folder; remove it" in refusal
    assert contents(run) == before


def test_usage(primase, workplace):
    outcome = primase("report")
    assert outcome.code == 2 and outcome.err.startswith("Usage: primase report")
