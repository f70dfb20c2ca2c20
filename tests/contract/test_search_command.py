"""primase search as users meet it: an index, a table, a BED file, one line for each mistake, the documented example."""

import gzip
import json
import re
import shlex
from pathlib import Path

from tests.conftest import REPOSITORY
from tests.contract.test_readme import code_blocks


def test_index_and_query(primase, finished_run, inputs, workplace):
    made = primase("search", "index", finished_run, inputs / "genome.fa", "-o", "a/index")
    assert made.code == 0, made.err
    assert made.out == "a/index: 59 windows of 200 bases every 100, 16 dimensions, 6,000 bases in 1 record\n"
    bases = (inputs / "genome.fa").read_text().splitlines()[1]
    Path("q.fa").write_text(f">gene\n{bases[300:500]}\n")
    found = primase("search", "query", "a/index", "q.fa", "--top", "2", "-o", "b/hits.bed")
    assert found.code == 0, found.err
    assert re.match(r"query +rank +nearest windows \(0-based, half-open\) +similarity\n", found.out)
    assert re.search(r"^gene:0-200 +1  chr1:300-500 +1\.0000$", found.out, re.MULTILINE)
    assert found.out.endswith("b/hits.bed: written\n") and "warning" not in found.err
    assert Path("b/hits.bed").read_text().splitlines()[0] == "chr1\t300\t500\tgene:0-200/1\t1000\t."
    assert primase("search", "query", "a/index", "q.fa", "--top", "2", "-o", "hits.bed.gz").code == 0
    assert gzip.decompress(Path("hits.bed.gz").read_bytes()) == Path("b/hits.bed").read_bytes()
    result = json.loads(primase("search", "query", "a/index", "q.fa", "--json").out)
    assert result["queries"] == 1 and len(result["hits"]) == 10 and result["hits"][0]["start"] == 300
    Path("short.fa").write_text(f">a\n{bases[300:500]}\n>b\n{bases[300:399]}\n>c\n{bases[300:400]}\n")
    short = primase("search", "query", "a/index", "short.fa", "--json")
    assert "warning: 1 sequence is shorter than half a window of 200 bases" in short.err
    assert json.loads(short.out)["short_queries"] == 1
    assert not list(workplace.rglob(".*"))


def test_mistakes(primase, finished_run, inputs, workplace, contents):
    genome = inputs / "genome.fa"
    assert primase("search", "index", finished_run, genome, "-o", "index", "--window-bases", "500").code == 0
    Path("mine.bed").write_text("mine")
    before = contents(workplace)
    for arguments, message in (
        (["index", finished_run, genome, "-o", "index"], "index: already holds an index; pass --overwrite"),
        (["index", finished_run, "absent.fa", "-o", "new"], "absent.fa: no such file or folder"),
        (["index", finished_run, genome, "-o", "mine.bed"], "mine.bed: exists and is no index of Primase"),
        (["index", finished_run, genome, "-o", "mine.bed/x"], "mine.bed: Not a directory; a folder on the way"),
        (["index", finished_run, genome, "-o", "new", "--layer", "9"], "layer 9: the model has layers 0"),
        (["query", "absent", genome], "absent: no index here (index.json is missing)"),
        (["query", "index", "absent.fa"], "absent.fa: no such file or folder"),
        (["query", "index", genome, "-o", "mine.bed"], "mine.bed: already exists; pass --overwrite"),
    ):
        assert message in primase("search", *arguments).refusal
    assert contents(workplace) == before


def test_the_documented_example(primase, inputs, finished_run, workplace):
    Path("runs").mkdir()
    Path("runs/mine").symlink_to(finished_run)
    for name in ("genome.fa", "genes.fa"):
        Path(name).write_bytes((inputs / "genome.fa").read_bytes())
    page = (REPOSITORY / "docs" / "search.md").read_text("utf-8")
    lines = "".join(code_blocks(page, "")).splitlines()
    commands = [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("primase ")]
    assert len(commands) >= 2
    for command in commands:
        outcome = primase(*command)
        assert outcome.code == 0, outcome.err
