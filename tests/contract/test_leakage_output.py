"""What `prepare` and `plan` say of leakage."""

import json
import re

import numpy as np
import pytest

from primase.dna import reverse_complement
from primase.results import Leakage


@pytest.fixture
def copied(workplace):
    """A genome of 12,000 bases, and the same on the other strand."""
    bases = "".join(np.random.default_rng(1).choice(list("ACGT"), 12_000))
    (workplace / "copied.fa").write_text(f">one\n{bases}\n>two\n{reverse_complement(bases)}\n", "utf-8")
    return workplace / "copied.fa"


BLOCKS = ["--set", "split.strategy=blocks", "--set", "split.gap_bases=0"]
HOMOLOGY = ["--set", "split.strategy=homology", "--set", "split.gap_bases=0"]


def test_prepare_prints_the_certificate_in_three_lines(primase, inputs, copied):
    outcome = primase("prepare", copied, "-o", "corpus", "-r", inputs / "tiny.toml", *BLOCKS)
    assert outcome.code == 0, outcome.err
    *_, title, whole, mean = outcome.out.splitlines()
    assert title == "What of the held-out windows stands in the training part too, on either strand:"
    assert (found := re.fullmatch(r"  as a whole (\d+\.\d)%, at least half of the 31-mers (\d+\.\d)%", whole))
    assert float(found[2]) >= float(found[1]) > 50
    assert re.fullmatch(
        r"  on average \d+\.\d% of a window's 31-mers, and \d+\.\d% of all minimizers of 19 bases", mean
    )
    assert outcome.out.isascii() and "resemble" not in outcome.out


def test_a_split_by_homology_says_what_it_found_and_is_clean(primase, inputs, copied):
    outcome = primase("prepare", copied, "-o", "corpus", "-r", inputs / "tiny.toml", *HOMOLOGY)
    assert outcome.code == 0, outcome.err
    assert "corpus: 2 records, homology split" in outcome.out
    assert "one side: 100.0% of the bases resemble others, the largest group has " in outcome.out
    assert "  as a whole 0.0%, at least half of the 31-mers 0.0%\n" in outcome.out


def test_json_carries_the_certificate(primase, inputs, copied, workplace):
    outcome = primase("prepare", copied, "-o", "corpus", "-r", inputs / "tiny.toml", *HOMOLOGY, "--json")
    facts = json.loads(outcome.out)
    assert facts["split"]["homology"]["linked_share"] == 1.0
    assert facts["leakage"] == json.loads((workplace / "corpus" / "leakage.json").read_text("utf-8"))
    assert Leakage.model_validate(facts["leakage"]).windows == facts["windows"]["heldout"]
    rows = np.load(workplace / "corpus" / "leakage.npy")
    assert rows.dtype.names == ("window", "kmer_share", "is_exact") and len(rows) == facts["leakage"]["windows"]


def test_nothing_is_said_where_nothing_was_held_out(primase, inputs, workplace):
    nothing = ["--set", "split.heldout_fraction=0", "--set", "split.validation_fraction=0"]
    outcome = primase("prepare", inputs / "genome.fa", "-o", "corpus", "-r", inputs / "tiny.toml", *nothing)
    assert outcome.code == 0 and "stands in the training part" not in outcome.out
    again = [inputs / "genome.fa", "-o", "corpus", "-r", inputs / "tiny.toml", *nothing, "--overwrite", "--json"]
    assert json.loads(primase("prepare", *again).out)["leakage"] is None


def test_plan_warns_of_leakage_and_names_the_remedy(primase, inputs, copied):
    recipe = ["-r", inputs / "tiny.toml"]
    warned = primase("plan", copied, *recipe, *BLOCKS, "--json")
    (warning,) = [line for line in json.loads(warned.out)["warnings"] if "31-mers" in line]
    assert re.match(
        r"\d+\.\d% of the held-out windows have half of their 31-mers or more in the training part", warning
    )
    assert "split.strategy=homology keeps more of such copies on one side" in warning
    clean = primase("plan", copied, *recipe, *HOMOLOGY, "--json")
    assert not any("31-mers" in line for line in json.loads(clean.out)["warnings"])


def test_a_refusal_is_one_line(primase, inputs, copied):
    settings = ["--set", "split.strategy=homology", "--set", "data.window_bases=12000"]
    refusal = primase("prepare", copied, "-o", "out", "-r", inputs / "tiny.toml", *settings).refusal
    assert "copied.fa: split.strategy=homology finds no 10% of the bases for a part" in refusal
    assert "raise split.homology_share, or set data.window_bases lower" in refusal
