"""primase check --files: every file of a run against the checksums that were noted when it was written."""

import json
import shutil
from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer


@pytest.fixture
def run(finished_run, workplace) -> Path:
    return Path(shutil.copytree(finished_run, workplace / "run")).relative_to(workplace)


def test_all_is_well(run, primase):
    outcome = primase("check", run, "--files")
    assert outcome.code == 0, outcome.err
    first, last = outcome.out.splitlines()
    result = json.loads(primase("check", run, "--files", "--json").out)
    assert first == f"run: {result['checked_files']} files checked, {result['bytes']:,} bytes"
    assert last == "all as they were written"
    # Every file of the three folders but the markers themselves and the model card, which is written afterwards.
    folders = [run / "corpus", *run.glob("checkpoints/*"), run / "final"]
    files = [file for folder in folders for file in folder.rglob("*") if file.is_file()]
    markers = {"corpus.json", "complete.json", "checksums.json", "README.md"}
    assert result["checked_files"] == len([file for file in files if file.name not in markers])


def test_a_flipped_bit_anywhere_is_named(run, primase):
    files = ["corpus/bases.bin", "corpus/tokenizer/tokenizer.json", "final/model.safetensors", "final/config.json"]
    (checkpoint,) = run.glob("checkpoints/*")
    for file in [*(run / name for name in files), checkpoint / "optimizer.pt", checkpoint / "rng_state.pth"]:
        before = file.read_bytes()
        file.write_bytes(before[:-2] + bytes([before[-2] ^ 4]) + before[-1:])
        outcome = primase("check", run, "--files")
        assert outcome.code == 1
        assert f"DAMAGED: {file} has changed since it was written" in outcome.out
        file.write_bytes(before)
    assert primase("check", run, "--files").code == 0


@pytest.mark.parametrize("name", ["corpus/corpus.json", "checkpoints/*/complete.json", "final/checksums.json"])
def test_a_list_of_files_that_leads_outside_or_is_newer_is_named(name, run, primase):
    (file,) = run.glob(name)
    noted = json.loads(file.read_text())
    file.write_text(json.dumps(noted | {"sha256_of_file": {"../recipe.toml": "0" * 64}}))
    outcome = primase("check", run, "--files")
    assert outcome.code == 1 and f"DAMAGED: {file} names a file outside (../recipe.toml)" in outcome.out
    file.write_text(json.dumps(noted | {"schema_version": 99}))
    assert f"{file}: written by a newer Primase (schema version 99" in primase("check", run, "--files").refusal


def test_of_a_run_of_before_checksums_that_is_said(run, primase):
    (run / "final" / "checksums.json").unlink()
    outcome = primase("check", run, "--files")
    assert outcome.code == 0 and f"not checked, written before checksums were noted: {run}/final" in outcome.out


def test_what_is_no_run(primase, workplace):
    assert "no run here" in primase("check", "nowhere", "--files").refusal


def test_the_final_model_loads_with_its_checksums_beside_it(run):
    assert (run / "final" / "checksums.json").is_file()
    model = AutoModelForCausalLM.from_pretrained(run / "final")
    assert model.config.vocab_size >= len(AutoTokenizer.from_pretrained(run / "final"))
