"""primase picture as users meet it: what is printed and written, one line for each mistake, the documented example."""

import json
import re
import shlex
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

import primase as package
from tests.conftest import REPOSITORY
from tests.contract.test_readme import code_blocks

GFF = "##gff-version 3\n1\tx\tgene\t1010\t1090\t.\t+\t.\tID=g\n"


@pytest.fixture
def files(workplace: Path, inputs: Path) -> Path:
    """genome.fa, genes.gff3, vectors.npy (20 of 6 dimensions), labels.csv (kind, gc), and a file of somebody's."""
    Path("genome.fa").write_bytes((inputs / "genome.fa").read_bytes())
    Path("genes.gff3").write_text(GFF)
    np.save("vectors.npy", np.random.default_rng(0).normal(size=(20, 6)))
    rows = "".join(f"{'ab'[row % 2]},{row / 20}\n" for row in range(20))
    Path("labels.csv").write_text(f"kind,gc\n{rows}")
    Path("mine.png").write_text("mine")
    return workplace


@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_a_locus(suffix, primase, finished_run, files):
    arguments = ["genome.fa", "--region", "1:1,001-1,100", "--annotations", "genes.gff3", "-o", f"new/p.{suffix}"]
    outcome = primase("picture", "locus", finished_run, *arguments)
    assert outcome.code == 0, outcome.err
    form = rf"new/p\.{suffix}: chr1:1,001-1,100, 100 bases, mean surprisal \d\.\d{{4}} bits, entropy \d\.\d{{4}}; "
    assert re.fullmatch(form + "smoothed over 5\n", outcome.out)
    content = Path(f"new/p.{suffix}").read_bytes()
    assert (
        content.startswith(b"\x89PNG\r\n") if suffix == "png" else ElementTree.fromstring(content).tag.endswith("svg")
    )
    again = primase("picture", "locus", finished_run, *arguments, "--overwrite", "--json", "--smooth-bases", "5")
    # matplotlib's names of shapes are made of coordinates with all their digits, and the last may differ.
    drawn = [
        re.sub(rb"[a-zA-Z][0-9a-f]{10}\b", b"", picture) for picture in (Path(f"new/p.{suffix}").read_bytes(), content)
    ]
    assert drawn[0] == drawn[1], "the same values, the same picture"
    result = json.loads(again.out)
    assert (result["record"], result["start"], result["end"], result["smooth_bases"]) == ("chr1", 1000, 1100, 5)
    assert 1.5 < result["mean_surprisal_bits"] < 2.5 and 1.5 < result["mean_entropy_bits"] <= 2
    assert not list(files.rglob(".*"))


@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_a_map(suffix, primase, files):
    arguments = ["vectors.npy", "-o", f"new/m.{suffix}", "--labels", "labels.csv", "--colour-by", "kind"]
    outcome = primase("picture", "map", *arguments)
    assert outcome.code == 0, outcome.err
    form = rf"new/m\.{suffix}: 20 vectors of 6 dimensions by pca, \d\d\.\d% of the variance on two axes, "
    assert re.fullmatch(form + "coloured by kind\n", outcome.out)
    content = Path(f"new/m.{suffix}").read_bytes()
    result = json.loads(primase("picture", "map", *arguments, "--overwrite", "--json").out)
    assert Path(f"new/m.{suffix}").read_bytes() == content
    assert result["groups"] == {"a": 10, "b": 10} and len(result["variance_shares"]) == 2
    assert primase("picture", "map", "vectors.npy", "-o", f"plain.{suffix}").code == 0
    assert package.picture_map("vectors.npy", f"gc.{suffix}", labels="labels.csv", colour_by="gc").groups == {}
    assert not list(files.rglob(".*"))


def test_labels_find_their_vectors_by_name(primase, finished_run, inputs, files):
    rows = Path(inputs / "labelled.csv").read_text().splitlines()
    assert primase("embed", finished_run, inputs / "labelled.csv", "-o", "v.parquet").code == 0
    Path("turned.csv").write_text("\n".join([rows[0], *rows[:0:-1]]) + "\n")
    pictures = []
    for number, table in enumerate((inputs / "labelled.csv", "turned.csv")):
        arguments = ["v.parquet", "--labels", table, "--colour-by", "label", "-o", f"{number}.svg"]
        assert primase("picture", "map", *arguments).code == 0
        pictures.append(Path(f"{number}.svg").read_bytes())
    assert pictures[0] == pictures[1]
    assert primase("picture", "map", "v.parquet", "--colour-by", "end", "-o", "beside.svg").code == 0


def test_mistakes_about_a_locus(primase, finished_run, files, contents):
    Path("n.fa").write_text(">n\n" + "N" * 50 + "\n")
    Path("other.gff3").write_text(GFF.replace("\n1\t", "\n7\t"))
    good = {"genome": "genome.fa", "--region": "chr1:1-50", "-o": "p.png"}
    before = contents(files)
    for change, message in (
        ({"--region": "chr1"}, "'chr1' is no region: write NAME:FIRST-LAST"),
        ({"--region": "chr9:1-5"}, "region chr9:1-5: no record chr9 in the genome (chr1)"),
        ({"--region": "chr1:1-7000"}, "region chr1:1-7000: record chr1 has 6,000 bases"),
        ({"--region": "chr1:1-100001"}, "shows at most 100,000 bases, and the region has 100,001; cut it"),
        ({"genome": "n.fa", "--region": "n:1-50"}, "region n:1-50: no A, C, G or T in it"),
        ({"genome": "absent.fa"}, "absent.fa: no such file or folder"),
        ({"-o": "p.gif"}, "p.gif: a picture is written as .png or .svg"),
        ({"-o": "mine.png"}, "mine.png: already exists; pass --overwrite"),
        ({"-o": "mine.png/p.png"}, "a folder on the way to it is a file"),
        ({"--annotations": "absent.gff3"}, "absent.gff3: no such file"),
        ({"--annotations": "other.gff3"}, "other.gff3: nothing on record chr1; it names 7"),
        ({"--annotations": "genome.fa"}, "genome.fa: line 1: sequences (FASTA) and no annotations"),
    ):
        options = good | change
        genome = options.pop("genome")
        arguments = [part for pair in options.items() for part in pair]
        assert message in primase("picture", "locus", finished_run, genome, *arguments).refusal
    assert "absent" in primase("picture", "locus", "absent", "genome.fa", "--region", "chr1:1-9", "-o", "p.png").refusal
    assert contents(files) == before


def test_mistakes_about_a_map(primase, files, contents):
    Path("few.csv").write_text("kind\na\n")
    before = contents(files)
    colours = ["--labels", "labels.csv", "--colour-by"]
    for arguments, message in (
        (["absent.npy"], "absent.npy: no such file"),
        (["genome.fa"], "genome.fa: vectors are read from .npy"),
        (["vectors.npy", "-o", "m.pdf"], "m.pdf: a picture is written as .png or .svg"),
        (["vectors.npy", "-o", "mine.png"], "mine.png: already exists; pass --overwrite"),
        (["vectors.npy", "--method", "tsne"], "method 'tsne': choose pca or umap"),
        (["vectors.npy", "--colour-by", "kind"], "vectors.npy: no column 'kind'"),
        (["vectors.npy", "--labels", "labels.csv"], "labels.csv: name the column to colour by with --colour-by"),
        (["vectors.npy", *colours, "size"], "labels.csv: no column 'size'; choose from 'kind', 'gc'"),
        (["vectors.npy", "--labels", "few.csv", "--colour-by", "kind"], "few.csv: 1 rows for 20 vectors"),
    ):
        output = [] if "-o" in arguments else ["-o", "m.png"]
        assert message in primase("picture", "map", *arguments, *output).refusal
    assert contents(files) == before


def test_names_that_do_not_fit(primase, finished_run, inputs, files):
    assert primase("embed", finished_run, inputs / "labelled.csv", "-o", "v.parquet").code == 0
    rows = Path(inputs / "labelled.csv").read_text().splitlines()
    for changed, message in (
        ([*rows[:-1], rows[1]], "the name 's0' is there more than once"),
        ([*rows[:-1], "other,ACGT,1"], "no row is named 's79'"),
    ):
        Path("l.csv").write_text("\n".join(changed) + "\n")
        arguments = ["v.parquet", "--labels", "l.csv", "--colour-by", "label", "-o", "m.png"]
        assert message in primase("picture", "map", *arguments).refusal


def test_the_documented_example(primase, finished_run, inputs, files):
    Path("runs").mkdir()
    Path("runs/mine").symlink_to(finished_run)
    Path("promoters.csv").write_bytes((inputs / "labelled.csv").read_bytes())
    page = (REPOSITORY / "docs" / "pictures.md").read_text("utf-8")
    lines = "".join(code_blocks(page, "")).splitlines()
    commands = [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("primase ")]
    assert len(commands) >= 4
    for command in commands:
        outcome = primase(*command)
        assert outcome.code == 0, outcome.err
        assert Path(command[command.index("-o") + 1]).is_file()
