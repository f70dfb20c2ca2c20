"""primase score as users meet it: what is printed and written, and one line for each mistake."""

import csv
import errno
import gzip
import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pysam
import pytest

import primase
from primase.formats.output_tables import TableWriter
from tests.conftest import REPOSITORY
from tests.contract.test_readme import code_blocks

HEADER = """##fileformat=VCFv4.2
##FILTER=<ID=q10,Description="Quality below 10">
##INFO=<ID=AF,Number=A,Type=Float,Description="Allele frequency">
##INFO=<ID=DB,Number=0,Type=Flag,Description="In a database">
##INFO=<ID=END,Number=1,Type=Integer,Description="End">
##FORMAT=<ID=GT,Number=1,Type=String,Description="Genotype">
##contig=<ID=1,length=6000>
##contig=<ID=7,length=6000>
#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT\tann\tbob
"""


@pytest.fixture
def genome(inputs: Path) -> str:
    """The letters of genome.fa, record chr1."""
    return (inputs / "genome.fa").read_text().splitlines()[1]


def line(genome: str, position: int, ref: str | None, alt: str, info: str = "AF=0.5", contig: str = "1") -> str:
    """A record at a position counted from 1; REF is the genome's where it is not given."""
    ref = ref or genome[position - 1]
    return f"{contig}\t{position}\trs{position}\t{ref}\t{alt}\t9.50\tq10\t{info}\tGT\t0/1\t./."


def rows_of(file: str) -> list[dict[str, str]]:
    """The rows of a .tsv or .csv file."""
    with open(file) as text:
        return list(csv.DictReader(text, delimiter="\t" if file.endswith(".tsv") else ","))


def other(base: str) -> str:
    return "ACGT"[("ACGT".index(base) + 1) % 4]


@pytest.fixture
def variants(genome: str, workplace: Path) -> Path:
    """Every kind of record that a VCF may hold, sorted."""
    deletion, snv = genome[199:203], genome[99]
    both = ",".join(base for base in "ACGT" if base != snv)
    records = [
        line(genome, 100, None, both, "AF=0.1,0.2,0.3;DB"),
        line(genome, 200, deletion, deletion[0]),
        line(genome, 300, None, f"{genome[299]}ACGT,<DEL>,*", "."),
        line(genome, 400, genome[399:402], genome[399:402].translate(str.maketrans("ACGT", "CGTA"))),
        line(genome, 500, other(genome[499]), genome[499]),
        line(genome, 600, None, f"{genome[599]}[1:700["),
        line(genome, 700, None, "."),
        line(genome, 800, None, genome[799] + "A" * 90),
        line(genome, 900, genome[899].lower(), other(genome[899]).lower()),
        line(genome, 7000, "A", "C"),
        line(genome, 5, "A", "C", contig="7"),
    ]
    Path("in.vcf").write_text(HEADER + "\n".join(records) + "\n")
    return Path("in.vcf")


def score(primase: Callable, run: Path, inputs: Path, *arguments: str | Path):
    return primase("score", run, "--genome", inputs / "genome.fa", *arguments)


def test_a_vcf_becomes_an_annotated_vcf(primase, finished_run, inputs, variants):
    outcome = score(primase, finished_run, inputs, "--vcf", variants, "-o", "sub/out.vcf.gz", "--table", "out.tsv")
    assert outcome.code == 0, outcome.err
    said = outcome.out.splitlines()
    assert re.match(r"sub/out\.vcf\.gz: 7 of 14 alternatives scored, ", said[0])
    for expected in (
        "not scored: 3 not of A, C, G, T (symbolic, *, breakend, N)",
        "not scored: 1 with a REF that the genome does not have (PRIMASE_REF_MISMATCH)",
        "not scored: 1 past the end of their contig",
        "not scored: 1 record without an alternative (ALT is a dot)",
        "not scored: 1 on contigs that the genome does not have (7)",
        "contigs by another name in the genome: 1 = chr1",
        "sub/out.vcf.gz.tbi: written",
        "out.tsv: written",
    ):
        assert expected in said, outcome.out
    assert any(re.match(r"not scored: 1 longer than \d+ bases \(--after-bases\)", one) for one in said)
    before = [row.split("\t") for row in variants.read_text().splitlines() if not row.startswith("#")]
    with gzip.open("sub/out.vcf.gz", "rt") as text:
        after = [row.rstrip("\n").split("\t") for row in text if not row.startswith("#")]
    for old, new in zip(before, after, strict=True):
        assert new[:7] == old[:7] and new[8:] == old[8:], "everything but INFO is as it was"
        assert [e for e in new[7].split(";") if not e.startswith("PRIMASE") and e != "."] == [
            e for e in old[7].split(";") if e != "."
        ]


def test_pysam_reads_it(primase, finished_run, inputs, variants):
    assert score(primase, finished_run, inputs, "--vcf", variants, "-o", "out.vcf.gz").code == 0
    with pysam.VariantFile("out.vcf.gz") as file:
        field = file.header.info["PRIMASE_LLR"]
        assert (field.number, field.type) == ("A", "Float") and str(finished_run) in field.description
        records = {record.pos: record for record in file}
        (fetched,) = file.fetch("1", 198, 201)
    assert fetched.pos == 200, "the index finds it"
    values = records[100].info["PRIMASE_LLR"]
    assert len(values) == 3 and all(np.isfinite(values))
    halves = zip(records[100].info["PRIMASE_LLR_FWD"], records[100].info["PRIMASE_LLR_REV"], strict=True)
    np.testing.assert_allclose(values, [(a + b) / 2 for a, b in halves], atol=1e-4)
    assert records[300].info["PRIMASE_LLR"][1:] == (None, None)
    assert np.isfinite(records[300].info["PRIMASE_INDEL_Z"][0]) and np.isfinite(records[200].info["PRIMASE_INDEL_Z"][0])
    assert "PRIMASE_INDEL_Z" not in records[400].info and "PRIMASE_INDEL_Z" not in records[100].info
    assert records[500].info["PRIMASE_REF_MISMATCH"] and records[500].info["PRIMASE_LLR"] == (None,)
    assert list(records[500].filter) == ["q10"]
    assert "PRIMASE_LLR" not in records[700].info, "no alternative, no value"
    assert records[900].info["PRIMASE_LLR"][0] is not None, "the case does not matter"


def test_the_table_says_the_same(primase, finished_run, inputs, variants):
    for name in ("t.tsv", "t.csv", "t.parquet"):
        assert score(primase, finished_run, inputs, "--vcf", variants, "-o", name).code == 0
    rows = rows_of("t.tsv")
    assert rows == rows_of("t.csv")
    table = pq.read_table("t.parquet").to_pylist()
    assert [row["position"] for row in table] == [int(row["position"]) for row in rows]
    assert [(row["position"], row["alt"]) for row in table[3:7]] == [
        (200, table[3]["alt"]),
        (300, table[4]["alt"]),
        (300, "<DEL>"),
        (300, "*"),
    ]
    assert [row["status"] for row in table][-4:] == ["too_long", "scored", "past_end", "no_contig"]
    for row, written in zip(table, rows, strict=True):
        assert (row["llr_nats"] is None) == (row["status"] != "scored") == (written["llr_nats"] == "")


def test_scored_again_the_old_fields_give_way(primase, finished_run, inputs, variants):
    assert score(primase, finished_run, inputs, "--vcf", variants, "-o", "a.vcf").code == 0
    assert score(primase, finished_run, inputs, "--vcf", "a.vcf", "-o", "b.vcf").code == 0
    assert Path("a.vcf").read_bytes() == Path("b.vcf").read_bytes()
    assert "PRIMASE_INDEL_Z=" in Path("a.vcf").read_text()
    assert score(primase, finished_run, inputs, "--vcf", "a.vcf", "-o", "c.vcf", "--indel-nulls", "0").code == 0
    assert "PRIMASE_INDEL_Z" not in Path("c.vcf").read_text() and "PRIMASE_LLR=" in Path("c.vcf").read_text()


def test_the_columns_of_the_samples_are_copied(primase, finished_run, inputs, variants):
    header, first = (text for text in Path("in.vcf").read_text().split("#CHROM"))
    lines = ("#CHROM" + first).rstrip("\n").split("\n")
    wide = [lines[0] + "\tFORMAT\ta\tb", *(f"{one}\tGT:DP\t0|1:9\t./.:." for one in lines[1:])]
    Path("wide.vcf").write_text(header + "\n".join(wide) + "\n")
    assert score(primase, finished_run, inputs, "--vcf", "wide.vcf", "-o", "out.vcf").code == 0
    written = [one for one in Path("out.vcf").read_text().splitlines() if not one.startswith("##")]
    assert [one.split("\t")[8:] for one in written] == [one.split("\t")[8:] for one in wide]
    Path("wide.vcf").write_text(header + "\n".join([*wide[:3], wide[3] + "\t0|0"]) + "\n")
    refusal = score(primase, finished_run, inputs, "--vcf", "wide.vcf", "-o", "no.vcf").refusal
    assert "wide.vcf: record 3: 15 columns where the header has 14" in refusal


def test_bcf_and_gzip_are_read(primase, finished_run, inputs, variants):
    text = variants.read_text()
    Path("in.vcf.gz").write_bytes(gzip.compress(text.encode()))
    with pysam.VariantFile(str(variants)) as source, pysam.VariantFile("in.bcf", "wb", header=source.header) as out:
        for record in source:
            out.write(record)
    for name in ("in.vcf", "in.vcf.gz", "in.bcf"):
        outcome = score(primase, finished_run, inputs, "--vcf", name, "-o", f"{name}.tsv")
        assert outcome.code == 0, outcome.err
    texts = {Path(f"{name}.tsv").read_text() for name in ("in.vcf", "in.vcf.gz", "in.bcf")}
    assert len(texts) == 1


def test_unsorted_variants_have_no_index(primase, finished_run, inputs, variants, genome):
    rows = [line(genome, position, None, other(genome[position - 1])) for position in (900, 100)]
    Path("sorted.vcf").write_text(HEADER + "\n".join(rows[::-1]) + "\n")
    Path("unsorted.vcf").write_text(HEADER + "\n".join(rows) + "\n")
    assert score(primase, finished_run, inputs, "--vcf", "sorted.vcf", "-o", "out.vcf.gz").code == 0
    assert Path("out.vcf.gz.tbi").is_file()
    outcome = score(primase, finished_run, inputs, "--vcf", "unsorted.vcf", "-o", "out.vcf.gz", "--overwrite")
    assert outcome.code == 0 and "no index: the records are not sorted by contig and position" in outcome.out
    assert not Path("out.vcf.gz.tbi").exists(), "an index of other records would lie"
    with gzip.open("out.vcf.gz", "rt") as text:
        assert [row.split("\t")[1] for row in text if not row.startswith("#")] == ["900", "100"]
    assert not [file for file in Path().iterdir() if file.name.startswith(".")]


@pytest.mark.parametrize(
    ("position", "info", "index"),
    [
        (1, "END=600000000", ".csi"),
        (600_000_000, ".", ".csi"),
        (1, "END=17592186044416", None),
        (17_592_186_044_416, ".", None),
    ],
)
def test_records_that_end_far_away(position, info, index, primase, finished_run, inputs, genome, workplace):
    """A .tbi index ends at 2^29 bases, and a .csi index somewhere too; the scores do not wait for either."""
    far = line(genome, position, "A", "<DEL>", info)
    Path("in.vcf").write_text(HEADER + "\n".join(sorted([line(genome, 1, None, other(genome[0])), far])) + "\n")
    outcome = score(primase, finished_run, inputs, "--vcf", "in.vcf", "-o", "out.vcf.gz")
    assert outcome.code == 0, outcome.err
    assert sorted(file.name for file in workplace.iterdir()) == ["in.vcf", "out.vcf.gz"] + (
        [f"out.vcf.gz{index}"] if index else []
    )
    assert ("no index: htslib could make none; a record may end farther" in outcome.out) == (index is None)


def test_json_is_alone_on_stdout(primase, finished_run, inputs, variants):
    outcome = score(primase, finished_run, inputs, "--vcf", variants, "-o", "out.vcf", "--json", "--indel-nulls", "0")
    result = json.loads(outcome.out)
    expected = {
        "records": 11,
        "alternatives": 14,
        "scored": 7,
        "without_alternative": 1,
        "symbolic": 3,
        "ref_mismatch": 1,
        "past_end": 1,
        "no_contig": 1,
        "too_long": 1,
        "renamed_contigs": {"1": "chr1"},
        "absent_contigs": ["7"],
        "indels_with_z": 0,
        "schema_version": 1,
    }
    assert {key: result[key] for key in expected} == expected
    assert "PRIMASE_INDEL_Z" not in Path("out.vcf").read_text()


def test_ambiguity_codes_in_the_genome_are_not_checked(primase, finished_run, genome, workplace):
    Path("n.fa").write_text(f">chr1\n{genome[:999]}N{genome[1000:]}\n")
    Path("in.vcf").write_text(HEADER + line(genome, 1000, "A", "C,G", contig="chr1") + "\n")
    assert primase("score", finished_run, "--genome", "n.fa", "--vcf", "in.vcf", "-o", "n.tsv").code == 0
    values = [float(row["llr_nats"]) for row in rows_of("n.tsv")]
    Path("a.fa").write_text(f">chr1\n{genome[:999]}A{genome[1000:]}\n")
    assert primase("score", finished_run, "--genome", "a.fa", "--vcf", "in.vcf", "-o", "a.tsv").code == 0
    expected = [float(row["llr_nats"]) for row in rows_of("a.tsv")]
    np.testing.assert_allclose(values, expected, atol=1e-4)


def test_token_scores_are_other_numbers_for_the_same_variants(primase, finished_run, inputs, variants):
    for name, options in (("a.tsv", []), ("b.tsv", ["--token-scores"])):
        assert score(primase, finished_run, inputs, "--vcf", variants, "-o", name, *options).code == 0
    a, b = rows_of("a.tsv"), rows_of("b.tsv")
    assert [row["status"] for row in a] == [row["status"] for row in b]
    assert [row["llr_nats"] for row in a] != [row["llr_nats"] for row in b]


def test_one_region_from_python_is_a_list_of_one(finished_run, inputs, workplace):
    result = primase.score(finished_run, genome=inputs / "genome.fa", regions="chr1:101-103", output="out.tsv")
    assert (result.records, result.alternatives) == (3, 9)


def test_every_base_of_a_region(primase, finished_run, inputs, genome, workplace):
    Path("r.bed").write_text("chr1\t100\t110\n1\t5990\t6000\n")
    outcome = score(primase, finished_run, inputs, "--regions", "r.bed", "--regions", "1:1-5", "-o", "t.tsv")
    assert outcome.code == 0, outcome.err
    assert outcome.out.startswith("t.tsv: 75 of 75 alternatives scored")
    rows = rows_of("t.tsv")
    places = [*range(101, 111), *range(5991, 6001), *range(1, 6)]
    assert [int(row["position"]) for row in rows] == [place for place in places for _ in range(3)]
    assert all(row["ref"] == genome[int(row["position"]) - 1] != row["alt"] for row in rows)
    records = [line(genome, int(row["position"]), row["ref"], row["alt"]) for row in rows]
    Path("same.vcf").write_text(HEADER + "\n".join(records) + "\n")
    assert score(primase, finished_run, inputs, "--vcf", "same.vcf", "-o", "same.tsv").code == 0
    same = rows_of("same.tsv")
    ours, theirs = ([float(row["llr_nats"]) for row in part] for part in (rows, same))
    np.testing.assert_allclose(ours, theirs, atol=1e-4)


@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_the_picture(suffix, primase, finished_run, inputs, workplace):
    arguments = ["--regions", "chr1:101-140", "-o", "t.tsv", "--picture", f"p.{suffix}"]
    assert score(primase, finished_run, inputs, *arguments).code == 0
    content = Path(f"p.{suffix}").read_bytes()
    assert content.startswith(b"\x89PNG" if suffix == "png" else b"<?xml")
    assert score(primase, finished_run, inputs, *arguments, "--overwrite").code == 0
    assert Path(f"p.{suffix}").read_bytes() == content, "the same scores, the same picture"


def test_a_table_that_cannot_be_ended_leaves_no_picture(finished_run, inputs, workplace, monkeypatch):
    def full(_writer):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(TableWriter, "close", full)
    with pytest.raises(OSError, match="No space left"):
        primase.score(
            finished_run, genome=inputs / "genome.fa", regions="chr1:1-9", output="t.parquet", picture="p.svg"
        )
    assert not list(workplace.iterdir())


GOOD = ["--vcf", "in.vcf", "-o", "out.vcf"]
MISTAKES = {
    "no VCF": (["--vcf", "absent.vcf", "-o", "out.vcf"], "absent.vcf: no such file"),
    "no header": (["--vcf", "bare.vcf", "-o", "out.vcf"], "bare.vcf: not a VCF: no line #CHROM"),
    "short": (["--vcf", "short.vcf", "-o", "out.vcf"], "short.vcf: record 2: 5 columns where the header has 11"),
    "position": (["--vcf", "place.vcf", "-o", "out.vcf"], "place.vcf: record 1: position 'x' is no number"),
    "half": (["--vcf", "half.vcf.gz", "-o", "out.vcf"], "half.vcf.gz: truncated"),
    "empty": (["--vcf", "empty.vcf", "-o", "out.vcf"], "empty.vcf: no records, only a header; nothing to score"),
    "contigs": (["--vcf", "contigs.vcf", "-o", "out.vcf"], "none of its contigs (7) is in the genome (chr1)"),
    "genome": (["--vcf", "other.vcf", "-o", "out.vcf"], "of 3 records on contigs of the genome, 2 have another REF"),
    "end": (["--vcf", "end.vcf", "-o", "out.vcf"], "1 lie past the end of their contig: this is another genome"),
    "strict": ([*GOOD, "--strict-ref"], "in.vcf: record 5: 1 position 500: REF is "),
    "nothing": (["-o", "out.vcf"], "give either the variants (--vcf) or the regions"),
    "both": ([*GOOD, "--regions", "chr1:1-5"], "give either the variants (--vcf) or the regions"),
    "suffix": (["--vcf", "in.vcf", "-o", "out.bcf"], "out.bcf: scores are written as .vcf, .vcf.gz"),
    "table": ([*GOOD, "--table", "t.xlsx"], "t.xlsx: a table is written as .tsv, .csv, .parquet"),
    "table twice": (["--vcf", "in.vcf", "-o", "t.tsv", "--table", "sub/../t.tsv"], "t.tsv: named twice"),
    "context": ([*GOOD, "--context-bases", "999999"], "give a --context-bases of at most"),
    "after": ([*GOOD, "--after-bases", "999999"], "or fewer --after-bases"),
    "region": (["--regions", "chr1:0-5", "-o", "t.tsv"], "'chr1:0-5' is no region"),
    "record": (["--regions", "chr9:1-5", "-o", "t.tsv"], "region chr9:1-5: no record chr9 in the genome (chr1)"),
    "too far": (["--regions", "chr1:5999-6001", "-o", "t.tsv"], "record chr1 has 6,000 bases"),
    "no BED": (["--regions", "x.bed", "-o", "t.tsv"], "x.bed: neither a region nor a BED file"),
    "region VCF": (["--regions", "chr1:1-5", "-o", "t.vcf"], "t.vcf: regions become a table"),
    "picture": ([*GOOD, "--picture", "p.png"], "p.png: the picture is of a region"),
    "picture name": (["--regions", "chr1:1-5", "-o", "t.tsv", "--picture", "p.gif"], "written as .png or .svg"),
    "long picture": (["--regions", "chr1:1-2000", "-o", "t.tsv", "--picture", "p.png"], "shows at most 1,000 bases"),
}


@pytest.fixture
def mistakes(variants: Path, genome: str) -> Path:
    good = line(genome, 100, None, other(genome[99]))
    files = {
        "bare.vcf": good + "\n",
        "short.vcf": HEADER + good + "\n" + "\t".join(good.split("\t")[:5]) + "\n",
        "place.vcf": HEADER + good.replace("\t100\t", "\tx\t") + "\n",
        "empty.vcf": HEADER,
        "contigs.vcf": HEADER + good.replace("1\t", "7\t", 1) + "\n",
        "other.vcf": HEADER
        + "\n".join([good, *(line(genome, place, other(genome[place - 1]), "A,C,G,T") for place in (200, 300))])
        + "\n",
        "end.vcf": HEADER + line(genome, 9000, "A", "C") + "\n",
    }
    for name, text in files.items():
        Path(name).write_text(text)
    Path("half.vcf.gz").write_bytes(gzip.compress(variants.read_bytes())[:200])
    return variants


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes(mistake, primase, finished_run, inputs, mistakes, workplace, contents):
    arguments, message = MISTAKES[mistake]
    before = contents(workplace)
    assert message in score(primase, finished_run, inputs, *arguments).refusal
    assert contents(workplace) == before


def test_what_is_there_is_not_overwritten(primase, finished_run, inputs, variants, workplace, contents):
    for name in ("out.vcf", "t.tsv"):
        Path(name).write_text("mine")
    before = contents(workplace)
    for arguments in ((*GOOD,), ("--vcf", "in.vcf", "-o", "new.vcf", "--table", "t.tsv")):
        assert "already exists; pass --overwrite" in score(primase, finished_run, inputs, *arguments).refusal
    assert contents(workplace) == before


def test_the_page_of_the_documentation(primase, workplace, inputs):
    """Its commands, one after the other, on a genome and variants made as it says."""
    page = (REPOSITORY / "docs" / "score.md").read_text()
    commands = [text for block in code_blocks(page, "") for text in block.replace("\\\n", " ").splitlines()]
    example = [shlex.split(text.split("  #")[0]) for text in commands if text.startswith("primase ")]
    assert len(example) >= 3
    Path("genome.fa").write_bytes((inputs / "genome.fa").read_bytes())
    letters = Path("genome.fa").read_text().splitlines()[1]
    Path("variants.vcf").write_text(HEADER + line(letters, 100, None, other(letters[99])) + "\n")
    assert primase("pretrain", "genome.fa", "-o", "runs/mine", "-r", inputs / "tiny.toml").code == 0
    for arguments in example:
        outcome = primase(*arguments[1:])
        assert outcome.code == 0, (arguments, outcome.err)


@pytest.mark.data
def test_real_variants_fit_their_genome(shared_data, finished_run, primase, workplace):
    """1000 Genomes on the piece of chromosome 20 that they were called on."""
    with gzip.open(shared_data / "variants/chr20_1mb/z.vcf.gz", "rt") as text:
        rows = [row for _, row in zip(range(330), text, strict=False)]
    Path("z.vcf").write_text("".join(rows))
    genome = shared_data / "genomes/human/chr20_1mb_1kgp_z.fa.gz"
    outcome = primase(
        "score", finished_run, "--genome", genome, "--vcf", "z.vcf", "-o", "z.tsv", "--json", "--indel-nulls", "5"
    )
    assert outcome.code == 0, outcome.err
    result = json.loads(outcome.out)
    assert result["ref_mismatch"] == result["past_end"] == result["no_contig"] == 0
    assert result["scored"] > 0.9 * result["alternatives"] > 50
