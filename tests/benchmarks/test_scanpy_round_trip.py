"""What scanpy reads in an .h5ad of `primase embed`; skipped, and counted as skipped, where scanpy is not installed."""

import json
import sys
from pathlib import Path

import pytest

from primase.embedding import embed_to_file
from tests.models import tiny_model

pytest.importorskip("scanpy")


def test_scanpy_reads_the_vectors_and_draws_them(tmp_path: Path, monkeypatch, capsys):
    from benchmarks import scanpy_round_trip

    pieces = [f">piece{number}\n{'ACGGTCAT' * (3 + number % 5)}{'ACGT'[number % 4] * 9}\n" for number in range(40)]
    (tmp_path / "pieces.fa").write_text("".join(pieces))
    for name in ("v.h5ad", "v.npy"):
        embed_to_file(tiny_model(k=3, context_tokens=64), [tmp_path / "pieces.fa"], tmp_path / name)
    files = [str(tmp_path / name) for name in ("v.h5ad", "v.npy")]
    monkeypatch.setattr(sys, "argv", ["scanpy_round_trip", *files, "--colour", "strand", "-o", str(tmp_path / "m.png")])
    scanpy_round_trip.main()
    found = json.loads(capsys.readouterr().out)
    assert found["shape"][0] == 40 and found["largest_difference"] == 0 and found["largest_value"] > 0
    assert (tmp_path / "m.png").is_file()
