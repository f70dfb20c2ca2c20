"""primase check: what it prints, what it writes, and how it ends."""

import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from primase.checks import check
from primase.results import Checks

DENSE = ["future", "padding", "mates", "case", "reload", "tokenizer", "strands"]
TUTORIAL = {
    "preset": "mixtral-1m",
    "settings": "{ hidden_size = 16, intermediate_size = 16, num_hidden_layers = 1, num_attention_heads = 2, "
    "num_key_value_heads = 2, num_local_experts = 4 }",
}


@pytest.fixture
def run(finished_run, workplace) -> Path:
    return Path(shutil.copytree(finished_run, workplace / "run")).relative_to(workplace)


def test_a_run_was_checked_as_it_ended(run):
    checks = Checks.model_validate_json((run / "checks.json").read_text())
    assert [c.name for c in checks.checks] == DENSE
    assert checks.passed, checks


def test_a_run_that_passes(run, primase):
    written = json.loads((run / "checks.json").read_text())
    (run / "checks.json").unlink()
    outcome = primase("check", run)
    assert outcome.code == 0, outcome.err
    assert re.findall(r"^(\w+) +pass ", outcome.out, re.MULTILINE) == DENSE
    assert outcome.out.endswith("\nrun: self-tests: 7 of 7 passed\n")
    assert outcome.out.isascii() and max(map(len, outcome.out.splitlines())) <= 100
    # The same draw and the same arithmetic as at the end of the training.
    assert json.loads((run / "checks.json").read_text()) == written | {"model": "run"}
    assert not list(run.glob(".*"))


def test_json_is_alone_on_stdout(run, primase):
    outcome = primase("check", run, "--json")
    assert (outcome.code, json.loads(outcome.out)["model"]) == (0, "run")
    assert outcome.err.startswith("self-tests: 0%")


def test_a_failure_is_exit_code_1(run, primase):
    """Weights that are not numbers: written, loaded, and good for nothing."""
    file = run / "final" / "model.safetensors"
    save_file({name: torch.full_like(weight, float("nan")) for name, weight in load_file(file).items()}, file)
    for options in ([], ["--json"]):
        outcome = primase("check", run, *options)
        assert outcome.code == 1 and "Traceback" not in outcome.err
    assert not Checks.model_validate_json((run / "checks.json").read_text()).passed
    text = primase("check", run).out
    assert "FAIL   not finite nats a token (at most 0.0001)" in text
    assert text.endswith("1 of 7 passed; FAILED: future, padding, mates, case, reload, strands\n")


def test_a_model_folder_and_sequences(run, inputs, primase, contents):
    before = contents(run)
    assert primase("check", run / "final").code == 0
    assert primase("check", run / "final", "--sequences", inputs / "genome.fa").code == 0
    assert contents(run) == before
    assert check(run / "final").model == str(run / "final")


def test_sequences_in_a_column(run, primase):
    Path("genes.csv").write_text("name,dna\na,ACGTTGCATTGACCA\n")
    assert primase("check", run, "--sequences", "genes.csv", "--column", "dna").code in (0, 1)
    assert "genes.csv" in primase("check", run, "--sequences", "genes.csv").refusal


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["./absent"], "./absent: no such folder"),
        (["run", "--sequences", "absent.fa"], "absent.fa: no such file"),
        (["run", "--sequences", "short.fa"], "the self-tests need a sequence of two tokens or more"),
        (["unfinished"], "unfinished: the run has no final model yet; go on with primase pretrain --resume unfinished"),
    ],
)
def test_mistakes_are_exit_code_2(arguments, said, run, primase):
    Path("short.fa").write_text(">a\nA\n")
    shutil.copytree(run, "unfinished", ignore=shutil.ignore_patterns("final", "checks.json"))
    before = (run / "checks.json").read_bytes()
    assert said in primase("check", *arguments).refusal
    assert (run / "checks.json").read_bytes() == before


def test_the_tutorials_router_is_found_out_as_the_training_ends(inputs, primase, workplace):
    recipe = (inputs / "tiny.toml").read_text().split("[model]")[0]
    model = f'[model]\npreset = "{TUTORIAL["preset"]}"\nsettings = {TUTORIAL["settings"]}\n'
    Path("experts.toml").write_text(recipe + model)
    arguments = ["pretrain", inputs / "genome.fa", "-o", "run", "-r", "experts.toml"]
    outcome = primase(*arguments)
    assert outcome.code == 0, outcome.err
    assert "\nself-tests: 7 of 8 passed; FAILED: router\nWhy that matters:  primase check run\n" in outcome.out
    again = primase(*arguments, "--overwrite", "--json")
    assert json.loads(again.out)["failed_checks"] == ["router"]
    assert json.loads(again.out)["passed_checks"] == DENSE
    explained = primase("check", "run")
    assert explained.code == 1
    assert re.search(r"^router +FAIL   \S+ of the experts' gradient \(at least 0\.0001\)$", explained.out, re.MULTILINE)
    assert "1 of 1 layers" in " ".join(explained.out.split())
