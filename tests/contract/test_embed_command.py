"""primase embed as users meet it: regions, layers, AnnData, --resume after a signal, and the documented example."""

import json
import shlex
import signal
from pathlib import Path

import anndata
import numpy as np

from tests.conftest import REPOSITORY
from tests.contract.test_readme import code_blocks


def test_regions_and_layers(primase, finished_run, inputs, workplace):
    Path("r.bed").write_text("chr1\t5\t90\tgene\t0\t-\nchr1\t300\t420\n")
    genome = inputs / "genome.fa"
    outcome = primase("embed", finished_run, "--regions", "r.bed", "--genome", genome, "--both-strands", "-o", "r.h5ad")
    assert outcome.code == 0, outcome.err
    assert outcome.out == "r.h5ad: 2 sequences, 16 dimensions (mean of layer -1, both strands)\n"
    assert "embedding: 100%" in outcome.err
    data = anndata.read_h5ad("r.h5ad")
    assert list(data.obs["name"]) == ["gene", "chr1:300-420"] and list(data.obs["strand"]) == ["-", "+"]
    outcome = primase("embed", finished_run, genome, "--layer", "all", "-o", "all.npy")
    assert outcome.out == "all.npy: 1 sequence, 2 layers of 16 dimensions (mean of layer all)\n"
    assert np.load("all.npy").shape == (1, 2, 16)
    assert not list(workplace.glob(".*"))


def test_json_and_records_by_another_name(primase, finished_run, inputs, workplace):
    Path("r.bed").write_text("1\t5\t90\nchr1\t5\t90\n")
    arguments = ["embed", finished_run, "--regions", "r.bed", "--genome", inputs / "genome.fa", "--layer", "all"]
    outcome = primase(*arguments, "-o", "r.npy", "--json")
    result = json.loads(outcome.out)
    assert result.pop("seconds") > 0
    assert result == {
        "schema_version": 1,
        "model": str(finished_run),
        "output": "r.npy",
        "shape": [2, 2, 16],
        "layer": "all",
        "pooling": "mean",
        "both_strands": False,
        "precision": "fp32",
        "unknown_tokens": 0,
        "renamed_records": {"1": "chr1"},
    }
    said = primase(*arguments, "-o", "s.npy").out.splitlines()
    assert said[1:] == ["records by another name in the genome: 1 = chr1"]
    vectors = np.load("r.npy")
    np.testing.assert_array_equal(vectors[0], vectors[1])


def test_bf16_is_said(primase, finished_run, inputs, workplace):
    arguments = ["embed", finished_run, inputs / "genome.fa"]
    outcome = primase(*arguments, "-o", "r.npy", "--precision", "bf16")
    assert outcome.out == "r.npy: 1 sequence, 16 dimensions (mean of layer -1, in bf16)\n"
    assert primase(*arguments, "-o", "s.npy").code == 0
    rounded, exact = np.load("r.npy"), np.load("s.npy")
    assert (rounded != exact).any()
    np.testing.assert_allclose(rounded, exact, atol=0.05 * np.abs(exact).max())
    assert "precision 'half': choose fp32 or bf16" in primase(*arguments, "-o", "t.npy", "--precision", "half").refusal


def test_a_signal_leaves_no_file_and_resume_goes_on(primase, finished_run, inputs, workplace, monkeypatch):
    bases = (inputs / "genome.fa").read_text().splitlines()[1]
    Path("s.csv").write_text("sequence\n" + "".join(f"{bases[start : start + 20]}\n" for start in range(10)))
    monkeypatch.setattr("primase.embedding.vectors.SEQUENCES_OF_A_GROUP", 4)
    assert primase("embed", finished_run, "s.csv", "-o", "whole.npy").code == 0
    from primase.embedding import vectors

    original, calls = vectors._pool_group, []

    def interrupted(*arguments):
        calls.append(1)
        if len(calls) == 2:
            signal.raise_signal(signal.SIGTERM)
        return original(*arguments)

    monkeypatch.setattr(vectors, "_pool_group", interrupted)
    assert primase("embed", finished_run, "s.csv", "-o", "v.npy").code == 143
    assert not Path("v.npy").exists() and Path(".v.npy.partial").is_dir()
    other = primase("embed", finished_run, "s.csv", "-o", "v.npy", "--layer", "0", "--resume").refusal
    assert "the interrupted embedding had another layer (-1, not 0); give the same, or leave out --resume" in other
    assert primase("embed", finished_run, "s.csv", "-o", "v.npy", "--resume").code == 0
    assert len(calls) == 2 + 2, "one group of three was not computed again"
    assert Path("v.npy").read_bytes() == Path("whole.npy").read_bytes() and not Path(".v.npy.partial").exists()


def test_the_documented_example(primase, inputs, finished_run, workplace):
    Path("runs").mkdir()
    Path("runs/mine").symlink_to(finished_run)
    for name in ("genome.fa", "sequences.fa"):
        Path(name).write_bytes((inputs / "genome.fa").read_bytes())
    Path("peaks.bed").write_text("chr1\t100\t200\n")
    page = (REPOSITORY / "docs" / "embed.md").read_text("utf-8")
    commands = [shlex.split(line)[1:] for line in "".join(code_blocks(page, "")).splitlines()]
    assert len(commands) >= 3
    for command in commands:
        outcome = primase(*command)
        assert outcome.code == 0, outcome.err
