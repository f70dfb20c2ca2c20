"""`primase evaluate` on a user's own sequences and annotations: what it prints, and one line for every mistake."""

import json
import re
import shutil
from pathlib import Path

import pytest


@pytest.fixture
def files(inputs, workplace) -> Path:
    """A working directory with things that are no use."""
    bases = (inputs / "genome.fa").read_text().splitlines()[1]
    Path("mine.fa").write_text(f">chr1\n{bases[:900]}NNN{bases[900:2000].lower()}\n")
    Path("genes.bed").write_text("chr1\t0\t500\tgene\n")
    Path("other.bed").write_text("chr7\t0\t500\tgene\n")
    Path("broken.bed").write_text("chr1\t500\t0\tgene\n")
    Path("variants.vcf").write_text("##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\nchr1\t5\t.\tA\tC\n")
    Path("empty.fa").write_text(">chr1\nNNNN\n")
    return workplace


def test_own_sequences_are_measured_and_nothing_is_written(primase, finished_run, files, contents):
    before = contents(finished_run)
    arguments = ["evaluate", finished_run, "--sequences", "mine.fa", "--annotations", "genes.bed"]
    shown = primase(*arguments).out
    assert "2,000 mine.fa bases in 2 stretches (given split)" in shown
    for name in (
        "repeat \\(soft-masked\\) bases",
        "gene",
        "elsewhere",
        "Markov, order \\d, both strands",
        "copy mixture",
    ):
        assert re.search(rf"^ *{name}", shown, re.MULTILINE), name
    assert "Verdict: " in shown
    assert re.search(r"^ *gene +\d\.\d{4}   too few stretches$", shown, re.MULTILINE), "an interval of one stretch"
    result = json.loads(primase(*arguments, "--json").out)
    assert result["classes"]["gene"]["bases"] == 500 and result["stretches"] == 2
    assert contents(finished_run) == before


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--sequences", "absent.fa"], "absent.fa: no such file"),
        (["--sequences", "empty.fa"], "empty.fa: no A, C, G or T in it"),
        (["--sequences", "mine.fa", "--count-on", "absent.fa"], "absent.fa: no such file"),
        (["--sequences", "mine.fa", "--max-bases", "10"], "--max-bases draws from a held-out part"),
        (["--context-tokens", "2"], "a context of 2 tokens does not suit this model, which takes "),
        (["--context-tokens", "1000000"], "a context of 1,000,000 tokens does not suit this model"),
        (["--annotations", "absent.gff"], "absent.gff: no such file"),
        (["--annotations", "variants.vcf"], "variants.vcf: line 3: variants (VCF) and no annotations"),
        (["--annotations", "broken.bed"], "broken.bed: line 1: "),
        (["--annotations", "other.bed"], "the annotations name none of the measured records (chr1, …); they name chr7"),
    ],
)
def test_what_cannot_be_measured_is_one_line(primase, finished_run, files, options, said):
    assert said in primase("evaluate", finished_run, *options).refusal
    assert not (finished_run / "evaluation.json").exists()


def test_a_run_without_its_corpus(primase, finished_run, files):
    """Own sequences need it only to count on."""
    shutil.copytree(finished_run, "run")
    shutil.rmtree("run/corpus")
    assert "run/corpus: no corpus here" in primase("evaluate", "run").refusal
    outcome = primase("evaluate", "run", "--sequences", "mine.fa", "--count-on", "mine.fa")
    assert outcome.code == 0, outcome.err
