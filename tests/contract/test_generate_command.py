"""primase generate as users meet it: what is printed and written, one line for each mistake, the documented example."""

import gzip
import json
import re
import shlex
from pathlib import Path

import pytest

from primase.formats import read_records
from tests.conftest import REPOSITORY
from tests.contract.test_readme import code_blocks


def test_a_file_and_a_table(primase, finished_run, workplace):
    outcome = primase("generate", finished_run, "--bases", "90", "--count", "4", "-o", "sub/new.fa")
    assert outcome.code == 0, outcome.err
    assert re.match(r"sub/new.fa: 4 sequences, 360 bases drawn in \d+ s \([\d,]+ bases/s\)\n", outcome.out)
    assert re.search(r"GC +bits/base +6-mer distance +longest copy +median copy$", outcome.out, re.MULTILINE)
    for row in ("generated", "held-out DNA", "Markov, order 3"):
        assert re.search(rf"^{row} +0\.\d\d\d +\d\.\d{{4}} +0\.\d{{4}} +\d+ +\d+$", outcome.out, re.MULTILINE)
    assert f"to {finished_run}, training part; the lower rows have the same lengths." in outcome.out
    records = list(read_records(["sub/new.fa"]))
    assert [record.name for record in records] == [f"generated_{n}" for n in (1, 2, 3, 4)]
    assert all(len(record.sequence) == 90 for record in records)
    header = Path("sub/new.fa").read_text().splitlines()[0]
    assert re.search(
        r"seed=0 temperature=1 drawn=0-90 attempts=1 gc=0\.\d+ bits_per_base=\d\.\d+ longest_copy=\d+", header
    )
    assert not list(workplace.rglob("*.partial"))


def test_a_name_in_gz_is_compressed(primase, finished_run, workplace):
    for output in ("new.fa", "new.fa.gz"):
        assert primase("generate", finished_run, "--bases", "90", "-o", output).code == 0
    assert gzip.decompress(Path("new.fa.gz").read_bytes()) == Path("new.fa").read_bytes()


def test_json_is_alone_on_stdout(primase, finished_run, inputs, workplace):
    options = ["--forbid", "EcoRI", "--forbid", "GGWCC", "--gc", "0.4-0.6", "--motif", "TATAWAW", "--seed", "3"]
    arguments = ["generate", finished_run / "final", "--bases", "60", "-o", "new.fa", *options]
    outcome = primase(*arguments, "--compare-with", inputs / "genome.fa", "--json")
    assert outcome.code == 0, outcome.err
    result = json.loads(outcome.out)
    expected = {"seed": 3, "gc": [0.4, 0.6], "forbid": ["EcoRI", "GGWCC"], "drawn_bases": 60, "schema_version": 1}
    assert {key: result[key] for key in expected} == expected
    assert result["compared_with"] == str(inputs / "genome.fa") and len(result["quality"]) == 2
    assert "sequence" not in result["sequences"][0] and result["sequences"][0]["motif_start"] is not None
    written = Path("new.fa").read_bytes()
    assert primase(*arguments, "--compare-with", inputs / "genome.fa", "--overwrite").code == 0
    assert Path("new.fa").read_bytes() == written, "the same seed"


def test_without_a_training_genome(primase, finished_run, workplace):
    outcome = primase("generate", finished_run / "final", "--bases", "30", "-o", "new.fa")
    assert "No training genome is known; --compare-with FILE adds distances and copies." in outcome.out
    assert "6-mer" not in outcome.out and "longest_copy" not in Path("new.fa").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--gc", "half"], "--gc half: give two shares, as in 0.4-0.6"),
        (["--gc", "0.9-0.1"], "GC range 0.9 to 0.1: give two shares between 0 and 1"),
        (["--forbid", "NoSuchI"], "site 'NoSuchI': neither an enzyme that Primase knows"),
        (["--prompts", "absent.fa"], "absent.fa: no such file or folder"),
        (["--prompts", "n.fa"], "n.fa: record gap: letter 'N' is not A, C, G or T"),
        (["--prompts", "site.fa", "--forbid", "EcoRI"], "prompt b: forbidden site EcoRI: the left flank and prompt"),
        (["--compare-with", "absent.fa"], "absent.fa: no such file or folder"),
        (["--temperature", "1e-310"], "temperature 1e-310: must be 1e-06 or more, and finite; top-k 1 gives the"),
        (["--top-p", "2"], "top-p 2: must be above 0 and at most 1"),
        (["--forbid", "W", "--gc", "0-0.5"], "sequence 1: no draw met all constraints in 20 attempts"),
    ],
)
def test_mistakes(arguments, message, primase, finished_run, workplace, contents):
    Path("n.fa").write_text(">gap\nACGNN\n")
    Path("site.fa").write_text(">a\nACG\n>b\nGAATTC\n")
    before = contents(workplace)
    assert message in primase("generate", finished_run, "--bases", "30", "-o", "new.fa", *arguments).refusal
    assert contents(workplace) == before


def test_an_output_that_is_there_stays(primase, finished_run, workplace):
    Path("new.fa").write_text("precious")
    arguments = ["generate", finished_run, "--bases", "30", "-o", "new.fa"]
    assert "new.fa: already exists; pass --overwrite" in primase(*arguments).refusal
    assert Path("new.fa").read_text() == "precious"
    assert primase(*arguments, "--overwrite").code == 0


def test_the_documented_example(primase, inputs, finished_run, workplace):
    """Every command of docs/generate.md, with the tiny model in place of the one it names."""
    Path("runs").mkdir()
    Path("runs/mine").symlink_to(finished_run)
    Path("starts.fa").write_text(">a\nACGTAC\n>b\nTT\n")
    page = (REPOSITORY / "docs" / "generate.md").read_text("utf-8")
    lines = "".join(code_blocks(page, "")).replace("\\\n", " ").splitlines()
    commands = [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("primase ")]
    assert len(commands) >= 3
    for command in commands:
        command = [
            "4" if before == "--count" else part for before, part in zip([None, *command], command, strict=False)
        ]
        outcome = primase(*command)
        assert outcome.code == 0, outcome.err
