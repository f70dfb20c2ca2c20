"""primase finetune and primase predict as users meet them: what is printed and written, one line for each mistake."""

import csv
import json
import re
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import primase as python_twin
from tests.contract.conftest import call
from tests.contract.test_readme import code_blocks

PROBE = ["--label", "label", "--method", "probe"]
QUICK = [*PROBE, "--no-rivals"]


@pytest.fixture(scope="module")
def classifier(inputs, finished_run, tmp_path_factory) -> Path:
    """A finished fine-tuning. Not to be changed."""
    run = tmp_path_factory.mktemp("finetuned") / "run"
    outcome = call("finetune", finished_run, inputs / "labelled.csv", "-o", run, *QUICK)
    assert outcome.code == 0, outcome.err
    return run


def test_what_is_printed_and_written(primase, inputs, finished_run, workplace):
    outcome = primase("finetune", finished_run, inputs / "labelled.csv", "-o", "runs/mine", *PROBE)
    assert outcome.code == 0, outcome.err
    lines = outcome.out.splitlines()
    assert lines[0] == "task: binary, 2 labels: 0, 1 (guessed from the labels; --task changes it)"
    assert re.match(r"split off .*labelled\.csv: 8 validation rows and 16 test rows, stratified", lines[1])
    assert lines[2].startswith("runs/mine: 56 train, 8 validation, 16 test rows, 1 seed, ")
    head = r"on the test rows +MCC +95 % interval +F1 +AUROC +AUPRC +accuracy"
    assert re.fullmatch(head, lines[4])
    for line, name in zip(
        lines[5:9], ["this model (probe)", "untrained twin", "convolutional net", "k-mer"], strict=True
    ):
        assert re.match(
            rf"{re.escape(name)}.* +-?\d\.\d{{4}}   -?\d\.\d{{4}} to -?\d\.\d{{4}} ( +\d\.\d{{4}}){{4}}$", line
        )
    assert lines[10].startswith("Verdict: ") and "With 16 test rows the intervals say little." in lines[10]
    assert outcome.out.endswith("primase predict runs/mine SEQUENCES.fa -o predictions.csv\n")
    assert outcome.out.isascii() and "training: 100%" in outcome.err
    names = {file.name for file in Path("runs/mine").iterdir()}
    assert names == {"finetuning.toml", "metrics.jsonl", "final", "predictions.csv", "finetuning.json"}
    assert not list(workplace.rglob(".*"))
    assert (
        "--overwrite" in primase("finetune", finished_run, inputs / "labelled.csv", "-o", "runs/mine", *PROBE).refusal
    )
    again = primase("finetune", "runs/mine", inputs / "labelled.csv", "-o", "runs/mine", *QUICK, "--overwrite")
    assert again.code == 0, "the model is in the folder that is replaced"
    assert "nobody knows whether that is much" in again.out


def test_json_is_alone_on_stdout(primase, inputs, finished_run, classifier, workplace):
    outcome = primase("finetune", finished_run, inputs / "labelled.csv", "-o", "run", *QUICK, "--seeds", "2", "--json")
    result = json.loads(outcome.out)
    assert outcome.code == 0 and result["schema_version"] == 1 and result["seeds"] == [0, 1]
    assert result == json.loads(Path("run/finetuning.json").read_text())
    assert "task: binary" in outcome.err
    predicted = json.loads(primase("predict", classifier, inputs / "genome.fa", "-o", "p.csv", "--json").out)
    assert (predicted["sequences"], predicted["labels"], predicted["schema_version"]) == (1, ["0", "1"], 1)


@pytest.mark.parametrize("name", ["p.csv", "p.tsv", "p.parquet"])
def test_predictions_in_each_format(name, primase, inputs, classifier, workplace):
    outcome = primase("predict", classifier, inputs / "labelled.csv", "-o", f"sub/{name}")
    assert outcome.code == 0, outcome.err
    assert re.match(rf"sub/{name}: 80 sequences \(0 \d+, 1 \d+\)\n$", outcome.out)
    file = Path("sub") / name
    if name.endswith("parquet"):
        rows = pq.read_table(file).to_pylist()
    else:
        with open(file, newline="") as lines:
            rows = list(csv.DictReader(lines, delimiter="\t" if name.endswith("tsv") else ","))
    assert list(rows[0]) == ["name", "label", "probability_0", "probability_1"]
    assert [row["name"] for row in rows] == [f"s{i}" for i in range(80)]
    for row in rows:
        zero, one = float(row["probability_0"]), float(row["probability_1"])
        assert zero + one == pytest.approx(1, abs=1e-5) and row["label"] == ("1" if one > zero else "0")
    sequences = [line.split(",")[1] for line in (inputs / "labelled.csv").read_text().splitlines()[1:]]
    by_hand = python_twin.predict(classifier, sequences)
    assert [row["label"] for row in rows] == by_hand.predicted
    assert [float(row["probability_1"]) for row in rows] == pytest.approx(by_hand.probabilities[:, 1], abs=2e-6)


def test_long_sequences_and_letters_that_cannot_be_spelled_are_told(primase, inputs, classifier, workplace):
    shutil.copytree(classifier, "run")
    config = json.loads(Path("run/final/config.json").read_text())
    Path("run/final/config.json").write_text(json.dumps(config | {"max_position_embeddings": 64}))
    tokenizer = json.loads(Path("run/final/tokenizer.json").read_text())
    vocabulary = tokenizer["model"]["vocab"]
    vocabulary["?"] = vocabulary.pop("N")
    Path("run/final/tokenizer.json").write_text(json.dumps(tokenizer))
    Path("x.fa").write_text(f">a\nACGTNN\n>b\n{'ACGT' * 40}\n")
    outcome = primase("predict", "run", "x.fa", "-o", "p.csv")
    assert outcome.code == 0, outcome.err
    assert "\n1 sequence is longer than the context: cut into windows side by side" in outcome.out
    assert outcome.err.endswith("warning: 2 tokens are unknown to the tokenizer: it cannot spell every base\n")
    Path("x.fa").write_text(">a\nACGTN\n")
    outcome = primase("predict", "run", "x.fa", "-o", "q.csv")
    assert outcome.err.endswith("warning: 1 token is unknown to the tokenizer: it cannot spell every base\n")


MISTAKES = {
    "no such column": (
        "sequence,class\nACGT,1\n",
        [],
        "t.csv: no column 'label'; choose the column of the labels from 'sequence', 'class'",
    ),
    "a label is missing": ("sequence,label\nACGT,1\nACGA,\n", [], "t.csv: row 2: column 'label' holds no label"),
    "one class": ("sequence,label\nACGT,1\nACGA,1\n", [], "t.csv: column 'label' holds one label only, '1'"),
    "no number": (
        "sequence,label\nACGT,1\nACGA,high\n",
        ["--task", "regression"],
        "t.csv: row 2: column 'label' holds 'high', no number",
    ),
    "no sequence": ("sequence,label\nACGT,1\n,0\n", [], "t.csv: row 2: column 'sequence' is empty"),
    "protein": ("sequence,label\nMALW,1\n", [], "t.csv: row 1: column 'sequence': letter 'L' is no IUPAC"),
    "too few rows": (
        "sequence,label\nACGT,1\nACGA,0\n",
        [],
        "t.csv: all rows of the train part have label '0'; give others",
    ),
    "an unknown task": ("sequence,label\nACGT,1\n", ["--task", "fun"], "--task: input should be 'binary'"),
    "an unknown method": ("sequence,label\nACGT,1\n", ["--method", "magic"], "--method: input should be 'full'"),
    "no epochs": ("sequence,label\nACGT,1\n", ["--epochs", "0"], "--epochs: input should be greater than or equal"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_of_finetune(mistake, primase, finished_run, workplace):
    text, extra, message = MISTAKES[mistake]
    Path("t.csv").write_text(text)
    assert message in primase("finetune", finished_run, "t.csv", "--label", "label", "-o", "run", *extra).refusal
    assert [entry.name for entry in workplace.iterdir()] == ["t.csv"]


def test_a_label_that_training_does_not_have(primase, inputs, finished_run, workplace):
    Path("data").mkdir()
    shutil.copy(inputs / "labelled.csv", "data/train.csv")
    shutil.copy(inputs / "labelled.csv", "data/dev.csv")
    Path("data/test.csv").write_text("sequence,label\nACGT,0\nACGA,2\n")
    refusal = primase("finetune", finished_run, "data", "-o", "run", *QUICK).refusal
    assert "data/test.csv: row 2: label '2' is not among the training rows (0, 1)" in refusal
    shutil.copy(inputs / "labelled.csv", "data/test.csv")
    outcome = primase("finetune", finished_run, "data", "-o", "run", *QUICK)
    assert outcome.code == 0 and "80 train rows are in the test part too" in outcome.out
    refusal = primase("finetune", finished_run, "data", "-o", "other", *QUICK, "--remove-duplicates").refusal
    assert "no row is left for the train part" in refusal
    assert not Path("other").exists()


def test_models_that_cannot_be_used(primase, inputs, finished_run, classifier, workplace):
    labelled = inputs / "labelled.csv"
    assert "absent: no such folder" in primase("predict", "./absent", labelled, "-o", "p.csv").refusal
    refusal = primase("predict", finished_run, labelled, "-o", "p.csv").refusal
    assert "no classifier (without score.weight); make one of it with primase finetune" in refusal
    shutil.copytree(classifier, "run")
    Path("run/final/tokenizer.json").unlink()
    assert "no tokenizer.json in this folder" in primase("predict", "run", labelled, "-o", "p.csv").refusal
    Path("run/finetuning.json").unlink()
    assert "run: this fine-tuning was never finished" in primase("predict", "run", labelled, "-o", "p.csv").refusal
    assert [entry.name for entry in workplace.iterdir()] == ["run"]


def test_outputs_that_cannot_be_written(primase, inputs, classifier, workplace):
    labelled = inputs / "labelled.csv"
    arguments = ["predict", classifier, labelled, "-o"]
    assert "p.xlsx: predictions are written as .csv, .tsv, .parquet" in primase(*arguments, "p.xlsx").refusal
    Path("p.csv").write_text("mine")
    assert "p.csv: already exists" in primase(*arguments, "p.csv").refusal
    assert "folder on the way to it is a file" in primase(*arguments, "p.csv/q.csv").refusal
    Path("bad.csv").write_text("sequence\nACGT\n\nXLX\n")
    refusal = primase("predict", classifier, "bad.csv", "-o", "p.csv", "--overwrite").refusal
    assert "bad.csv: row" in refusal and Path("p.csv").read_text() == "mine"
    assert primase(*arguments, "p.csv", "--overwrite").code == 0
    assert sorted(entry.name for entry in workplace.iterdir()) == ["bad.csv", "p.csv"]


def test_a_fine_tuning_that_fails_leaves_the_old_one(primase, inputs, finished_run, classifier, workplace, monkeypatch):
    shutil.copytree(classifier, "run")
    before = Path("run/finetuning.json").read_bytes()

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("primase.finetuning.model_training.train", interrupted)
    arguments = ["finetune", finished_run, inputs / "labelled.csv", *QUICK]
    assert primase(*arguments, "-o", "run", "--overwrite").code == 130
    assert primase(*arguments, "-o", "new").code == 130
    assert Path("run/finetuning.json").read_bytes() == before
    assert [entry.name for entry in workplace.iterdir()] == ["run"]


def test_the_page_does_what_it_says(primase, inputs, finished_run, workplace):
    """The worked example of docs/finetune.md, on a tiny model and few rows."""
    page = (Path(__file__).parents[2] / "docs" / "finetune.md").read_text("utf-8")
    commands = re.findall(r"^primase (.*?)(?:  #.*)?$", page.split("## A worked example")[1], re.MULTILINE)
    assert len(commands) >= 2
    Path("runs").mkdir()
    shutil.copytree(finished_run, "runs/mine")
    shutil.copy(inputs / "labelled.csv", "promoters.csv")
    shutil.copy(inputs / "genome.fa", "candidates.fa")
    for command in commands:
        outcome = primase(*command.split())
        assert outcome.code == 0, (command, outcome.err)
    assert Path("predictions.csv").is_file()
    (block,) = code_blocks(page, "python")
    told: dict = {}
    exec(block, told)
    assert told["logits"].shape == (1, 2)
