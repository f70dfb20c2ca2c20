"""What comes from others does no harm, and what is secret goes nowhere: weights, code, paths, names, tokens."""

import json
import os
import pickle
import re
import shutil
import stat
import sys
import tomllib
from pathlib import Path

import pytest
import torch
import yaml

from primase.report.card import write_card
from primase.report.page import write_report
from primase.safe_text import HIDDEN, command_without_secrets, printable, without_secrets
from primase.training.checkpoints import MARKER, checkpoint_folder
from tests import reported_runs
from tests.conftest import REPOSITORY

TOKEN = "hf_AbCdEfGhIjKlMnOpQrStUvWx"
CODE = "import pathlib; pathlib.Path({place!r}).write_text('owned')\n"


class _Bomb:
    """Unpickled, it makes a file."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self):
        return os.system, (f"touch {self.place}",)


@pytest.fixture
def run(finished_run: Path, workplace: Path) -> Path:
    """A copy of the finished run, in the empty working directory."""
    return Path(shutil.copytree(finished_run, "run"))


@pytest.fixture
def model(run: Path) -> Path:
    return Path(shutil.copytree(run / "final", "model"))


# ---- weights and code ----


def test_pickled_weights_are_never_read(primase, model, inputs, tmp_path):
    (model / "model.safetensors").unlink()
    for name in ("pytorch_model.bin", "model.pt", "model.safetensors.bin"):
        (model / name).write_bytes(pickle.dumps(_Bomb(tmp_path / "owned")))
    refusal = primase("embed", model, inputs / "genome.fa", "-o", "v.npy").refusal
    assert "model: the model cannot be loaded" in refusal and "model.safetensors" in refusal
    assert not (tmp_path / "owned").exists() and not Path("v.npy").exists()


@pytest.mark.parametrize("name", ["optimizer.pt", "scheduler.pt", "rng_state.pth"])
def test_a_checkpoint_of_somebody_else_runs_nothing(name, primase, inputs, workplace, tmp_path):
    """Even where its marker agrees with what was put into it."""
    settings = ["--set", "training.steps=4", "--set", "training.save_every=2"]
    assert primase("pretrain", inputs / "genome.fa", "-o", "run", "-r", inputs / "tiny.toml", *settings).code == 0
    run = Path("run")
    shutil.rmtree(checkpoint_folder(run, 4))  # or nothing would be left to do
    folder = checkpoint_folder(run, 2)
    torch.save(_Bomb(tmp_path / "owned"), folder / name)
    marker = json.loads((folder / MARKER).read_text())
    marker["bytes_of_file"][name] = (folder / name).stat().st_size
    del marker["sha256_of_file"]
    (folder / MARKER).write_text(json.dumps(marker))
    refusal = primase("pretrain", "--resume", run).refusal
    what = "random states" if name == "rng_state.pth" else "optimizer's state"
    assert f"run/checkpoints/step-000002: damaged: the {what} cannot be loaded" in refusal
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize("command", ["embed", "check", "evaluate", "predict", "config"])
def test_code_of_a_model_is_never_run_and_never_asked_for(command, primase, model, inputs, tmp_path, monkeypatch):
    """transformers would ask at the terminal, and run it after a yes."""
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("asked"))
    config = json.loads((model / "config.json").read_text())
    names = {"AutoConfig": "evil.C", "AutoModelForCausalLM": "evil.M", "AutoModel": "evil.M"}
    config |= {"model_type": "evil", "auto_map": names | {"AutoModelForSequenceClassification": "evil.M"}}
    (model / "config.json").write_text(json.dumps(config))
    (model / "evil.py").write_text(CODE.format(place=str(tmp_path / "owned")))
    genome, out = inputs / "genome.fa", ["-o", "out.npy"]
    arguments = {
        "embed": ["embed", model, genome, *out],
        "check": ["check", model],
        "evaluate": ["evaluate", model, "--sequences", genome],
        "predict": ["predict", model, genome, "-o", "out.csv"],
        "config": ["plan", genome, "-r", inputs / "tiny.toml", "--set", f"model.config={model.resolve()}"],
    }[command]
    assert "model" in primase(*arguments).refusal
    assert not (tmp_path / "owned").exists()


def test_a_tokenizer_that_needs_code_is_refused(primase, model, inputs, tmp_path):
    file = model / "tokenizer_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"auto_map": {"AutoTokenizer": ["evil.T", None]}}))
    (model / "evil.py").write_text(CODE.format(place=str(tmp_path / "owned")))
    refusal = primase("embed", model, inputs / "genome.fa", "-o", "v.npy").refusal
    assert "the tokenizer needs code of its own (auto_map), which Primase does not run" in refusal
    assert not (tmp_path / "owned").exists()


def test_an_adapter_does_not_fetch_its_base(primase, model, inputs):
    (model / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "nobody/nothing"}))
    refusal = primase("embed", model, inputs / "genome.fa", "-o", "v.npy").refusal
    assert "model: an adapter and not a whole model; merge it into its base and save that" in refusal


def test_arrays_hold_no_pickle(primase, run, tmp_path):
    import numpy as np

    np.save(run / "corpus" / "windows.npy", np.array([_Bomb(tmp_path / "owned")], object), allow_pickle=True)
    noted = json.loads((run / "corpus" / "corpus.json").read_text())
    del (
        noted["bytes_of_file"],
        noted["sha256_of_file"],
    )  # as an older Primase wrote it: nothing stops it before it is read
    (run / "corpus" / "corpus.json").write_text(json.dumps(noted))
    assert "windows.npy: not readable" in primase("evaluate", run).refusal
    assert not (tmp_path / "owned").exists()


# ---- paths ----


@pytest.mark.parametrize("name", ["../final/model.safetensors", "/etc/hostname", ".."])
def test_a_checkpoint_names_no_file_outside(name, primase, run):
    marker_file = checkpoint_folder(run, 2) / MARKER
    marker = json.loads(marker_file.read_text())
    marker["bytes_of_file"][name] = 1
    marker_file.write_text(json.dumps(marker))
    refusal = primase("pretrain", "--resume", run).refusal
    assert f"complete.json: names a file outside of the checkpoint ({name})" in refusal


def test_an_index_of_weights_names_no_file_outside(primase, model, inputs):
    (model / "model.safetensors").rename("elsewhere.safetensors")
    index = {"metadata": {}, "weight_map": {"model.embed_tokens.weight": "../elsewhere.safetensors"}}
    (model / "model.safetensors.index.json").write_text(json.dumps(index))
    refusal = primase("embed", model, inputs / "genome.fa", "-o", "v.npy").refusal
    assert "names a file outside of its folder (../elsewhere.safetensors); do not trust this model" in refusal


def test_a_reference_leads_to_the_corpus_of_the_run_or_to_nothing(primase, inputs, workplace):
    recipe = ["-r", inputs / "tiny.toml"]
    assert primase("prepare", inputs / "genome.fa", "-o", "corpus", *recipe).code == 0
    assert primase("pretrain", "corpus", "-o", "runs/mine", *recipe).code == 0
    assert primase("report", "runs/mine").code == 0 and primase("evaluate", "runs/mine").code == 0
    file = Path("runs/mine/corpus.reference.json")
    reference = json.loads(file.read_text())
    Path("private").mkdir()
    Path("private/corpus.json").write_text('{"password": "1234"}')
    for folder, said in (("../../private", "private/corpus.json: damaged"), ("/etc", "no corpus here"), (7, "damaged")):
        file.write_text(json.dumps(reference | {"folder": folder}))
        refusal = primase("evaluate", "runs/mine").refusal
        assert said in refusal and "1234" not in refusal
    assert primase("prepare", inputs / "genome.fa", "-o", "other", *recipe, "--set", "seed=5").code == 0
    file.write_text(json.dumps(reference | {"folder": "../../other"}))
    assert "the corpus has changed since this run" in primase("evaluate", "runs/mine").refusal


# ---- names ----


def test_the_report_and_the_card_show_names_as_text(tmp_path):
    evil = '<script>alert("1")</script><img src=x onerror=alert(1)>'
    run = reported_runs.measured_run(tmp_path, "run <b>bold</b>")
    for file in (run / "environment.json", run / "corpus" / "corpus.json", run / "evaluation.json"):
        values = json.loads(file.read_text())
        for source in values.get("sources", []):
            source["name"] = evil
        for locus in values.get("loci", []):
            locus["record"] = evil
        values |= {"command": ["primase", evil]} if "command" in values else {}
        values |= {"part": evil, "model": evil} if "loci" in values else {}
        file.write_text(json.dumps(values))
    page = write_report(run).read_text()
    assert "&lt;script&gt;" in page
    for raw in ("<script>alert", "<img src=x", "<b>bold"):
        assert raw not in page
    head, card = write_card(run).read_text().split("\n---\n", 1)
    assert yaml.safe_load(head.removeprefix("---\n"))["library_name"] == "transformers"
    assert "\\<script\\>" in card
    assert not re.search(r"(?<!\\)<(script|/script|img|b)\b", card)


NAMES = [
    "../../etc/passwd",
    "a\x1b[31mred",
    "a\u202eb",
    "<script>alert(1)</script>",
    "a\x00b",
    "C:\\x",
    "a;rm -rf ~",
    "=1+1",
]


@pytest.mark.parametrize("name", NAMES)
def test_a_record_is_named_in_outputs_and_names_no_file(name, primase, inputs, finished_run, workplace, contents):
    bases = (inputs / "genome.fa").read_text().splitlines()[1]
    Path("x.fa").write_text(f">{name}\n{bases[:500]}\n", "utf-8")
    before = contents(finished_run)
    outputs = {
        "t.bedgraph": ["tracks", finished_run, "x.fa"],
        "v.parquet": ["embed", finished_run, "x.fa"],
        "s.prm": ["compress", finished_run, "x.fa"],
    }
    for output, arguments in outputs.items():
        assert primase(*arguments, "-o", output).code == 0
    assert {entry.name for entry in workplace.iterdir()} == {"x.fa", *outputs}
    assert contents(finished_run) == before
    text = Path("t.bedgraph").read_text("utf-8")
    assert all(line.replace("\t", "").isprintable() and line.count("\t") == 3 for line in text.splitlines())
    assert text.startswith(printable(name.split()[0]) + "\t")


def test_a_name_in_a_table_makes_no_line_of_its_own(primase, inputs, finished_run, workplace):
    bases = (inputs / "genome.fa").read_text().splitlines()[1]
    Path("x.csv").write_text(f'name,sequence\n"a\tb\nc",{bases[:200]}\n')
    assert primase("tracks", finished_run, "x.csv", "-o", "t.bedgraph").code == 0
    lines = Path("t.bedgraph").read_text().splitlines()
    assert lines[0].startswith("a\\tb\\nc\t0\t") and all(line.count("\t") == 3 for line in lines)


def test_messages_do_not_act_on_the_terminal(primase, inputs, workplace):
    refusal = primase("prepare", "no\x1b[2Jsuch\u202efile.fa", "-o", "out", "-r", inputs / "tiny.toml").refusal
    assert "no\\x1b[2Jsuch\\u202efile.fa: no such file" in refusal


# ---- secrets ----


def test_a_run_folder_holds_no_token(primase, inputs, workplace, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "not-of-the-usual-form-91")
    monkeypatch.setattr(sys, "argv", ["primase"])
    arguments = ["pretrain", inputs / "genome.fa", "-o", f"run-{TOKEN}", "-r", inputs / "tiny.toml"]
    outcome = primase(*arguments, "--set", "name=not-of-the-usual-form-91x")
    assert outcome.code == 0
    run = Path(f"run-{TOKEN}")
    command = json.loads((run / "environment.json").read_text())["command"]
    assert f"run-{HIDDEN}" in command and f"name={HIDDEN}x" in command
    assert TOKEN not in (run / "environment.json").read_text()
    assert TOKEN not in (run / "report.html").read_text().replace(str(run), "")


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        (f"x {TOKEN} y", f"x {HIDDEN} y"),
        ("https://me:pass@host/a.fa", f"https://{HIDDEN}@host/a.fa"),
        ("ghp_abcdefghijklmnopqrstuvwxyz0123456789", HIDDEN),
        ("--token=abc", f"--token={HIDDEN}"),
        ("value-of-variable in words", f"{HIDDEN} in words"),
        ("chr1:1-100 and genome.fa.gz", "chr1:1-100 and genome.fa.gz"),
        ("hf_x is short", "hf_x is short"),
    ],
)
def test_secrets_are_hidden_and_nothing_else(text, safe):
    environment = {"MY_API_KEY": "value-of-variable", "USE_TOKEN": "true", "HOME": "genome"}
    assert without_secrets(text, environment) == safe


def test_what_follows_an_option_for_a_token_is_one():
    assert command_without_secrets(["primase", "--hf-token", "abc", "x"]) == ["primase", "--hf-token", HIDDEN, "x"]


def test_an_error_does_not_print_a_token(primase, inputs, workplace):
    refusal = primase("embed", f"./{TOKEN}", inputs / "genome.fa", "-o", "v.npy").refusal
    assert TOKEN not in refusal and HIDDEN in refusal


# ---- temporary files, versions ----


def test_temporary_folders_are_private_and_gone(primase, inputs, workplace, tmp_path, monkeypatch):
    seen = []
    place = tmp_path / "temporary"
    place.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(place))

    def look(*_: object, **__: object) -> None:
        seen.extend(stat.S_IMODE(entry.stat().st_mode) for entry in place.iterdir())
        raise KeyboardInterrupt

    monkeypatch.setattr("primase.corpus.prepare.cut_windows", look)
    primase("plan", inputs / "genome.fa", "-r", inputs / "tiny.toml")
    assert seen == [0o700] and list(place.iterdir()) == []


def test_temporary_names_are_never_guessed():
    sources = [file.read_text("utf-8") for file in (REPOSITORY / "src").rglob("*.py")]
    assert not [text for text in sources if re.search(r"mktemp\(|gettempdir\(|[\"']/tmp", text)]


def test_every_dependency_is_pinned():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))["project"]
    extras = project["optional-dependencies"]
    wanted = [
        *project["dependencies"],
        *extras["test"],
        *(name for extra in ("anndata", "lora", "search") for name in extras[extra]),
    ]
    names = {_name(line) for line in wanted} - {"primase"}
    lines = [line for line in (REPOSITORY / "constraints.txt").read_text("utf-8").splitlines() if line[:1] not in "#"]
    pinned = {_name(line) for line in lines}
    assert names <= pinned, names - pinned
    assert all(re.fullmatch(r"[A-Za-z0-9_.\-]+==[0-9][A-Za-z0-9.]*", line) for line in lines)
    assert "pip-audit" in (REPOSITORY / "CONTRIBUTING.md").read_text("utf-8")


def _name(line: str) -> str:
    return re.split(r"[\[<>=!~;\s]", line)[0].lower().replace("_", "-")
