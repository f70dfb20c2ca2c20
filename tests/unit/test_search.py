"""Search: windows, vectors and hits against brute force, on either strand; a small version of the recall benchmark."""

import json
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from benchmarks.search_recall import mutate, recalls, shared_kmers
from primase.dna import reverse_complement
from primase.embedding import embed
from primase.errors import InputError, MissingExtraError, MissingFileError, ModelError, OutputExistsError
from primase.formats import Record
from primase.search import index, query
from primase.search.windows import cut
from tests.models import tiny_model


def random_bases(bases: int, seed: int = 0) -> str:
    return "".join(np.random.default_rng(seed).choice(list("ACGT"), bases))


@pytest.fixture(scope="module")
def loaded():
    return tiny_model(k=3)


@pytest.fixture(scope="module")
def genome(tmp_path_factory):
    file = tmp_path_factory.mktemp("search") / "genome.fa"
    file.write_text(f">a\n{random_bases(1230)}\n>gap\n{'N' * 300}\n>b\n{random_bases(450, 1).lower()}\n>c\nACGTTG\n")
    return file


@pytest.fixture(scope="module")
def made(loaded, genome):
    index(loaded, genome, genome.parent / "index", window_bases=60, step_bases=25)
    return genome.parent / "index"


def test_windows_cover_every_base():
    for bases in (1, 59, 60, 61, 85, 86, 200):
        windows = list(cut([Record("r", random_bases(bases), "")], 60, 25))
        assert {place for one in windows for place in range(one.start, one.end)} == set(range(bases))
        assert all(one.end - one.start == min(60, bases) for one in windows)
        assert len({one.start for one in windows}) == len(windows)


def test_the_folder_says_what_is_in_it(made, genome):
    description = json.loads((made / "index.json").read_text())
    table = pq.read_table(made / "windows.parquet")
    assert sorted(file.name for file in made.iterdir()) == [
        "centre.npy",
        "index.json",
        "vectors.faiss",
        "windows.parquet",
    ]
    assert description["windows"] == len(table) and description["records"] == 4
    assert description["bases"] == 1230 + 300 + 450 + 6 and description["skipped_windows"] == 11
    assert set(table["record"].to_pylist()) == {"a", "b", "c"}


def test_hits_are_those_of_brute_force(loaded, made, genome):
    records = [Record("a", random_bases(1230), ""), Record("b", random_bases(450, 1), ""), Record("c", "ACGTTG", "")]
    windows = list(cut(records, 60, 25))
    vectors = embed(loaded, [one.sequence for one in windows], both_strands=True).astype(np.float64)
    centre = vectors.mean(axis=0)
    sequence = mutate(np.frombuffer(windows[7].sequence, np.uint8), 0.1, np.random.default_rng(0))
    frames = [sequence, sequence[1:58], sequence[2:59]]
    asked = embed(loaded, frames, both_strands=True) - centre
    moved = vectors - centre
    cosines = (moved @ asked.T / np.linalg.norm(moved, axis=1)[:, None] / np.linalg.norm(asked, axis=1)).max(axis=1)
    hits = query(made, [Record("q", sequence.decode(), "")], model=loaded, top=5).hits
    order = np.argsort(-cosines)[:5]
    assert [(hit.record, hit.start, hit.end) for hit in hits] == [
        (windows[place].record, windows[place].start, windows[place].end) for place in order
    ]
    assert all((hit.query_start, hit.query_end) == (0, 60) for hit in hits)
    np.testing.assert_allclose([hit.similarity for hit in hits], cosines[order], atol=1e-4)
    assert [hit.rank for hit in hits] == [1, 2, 3, 4, 5]


def test_a_copy_in_another_reading_frame_is_found(loaded, made):
    """One base further, its tokens are none of the window's; in its own frame it differs from it at the ends alone."""
    for text in (random_bases(1230)[301:361], reverse_complement(random_bases(1230)[299:359])):
        hit = query(made, [Record("q", text, "")], model=loaded, top=1).hits[0]
        assert (hit.record, hit.start) == ("a", 300)
        assert (hit.query_start, hit.query_end) == (0, 60), "the window is named, whatever the frame that found it"


def test_a_window_finds_itself_on_either_strand(loaded, made):
    text = random_bases(450, 1)[50:110]
    for sequence in (text, reverse_complement(text), text.lower()):
        hit = query(made, [Record("q", sequence, "")], model=loaded, top=1).hits[0]
        assert (hit.record, hit.start, hit.end, hit.strand) == ("b", 50, 110, ".")
        assert hit.similarity == pytest.approx(1, abs=1e-4)


def test_a_long_query_is_cut_and_each_window_comes_once(loaded, made, tmp_path):
    fasta = tmp_path / "q.fa"
    fasta.write_text(f">long\n{random_bases(1230)[100:310]}\n>short\n{random_bases(1230)[400:460]}\n")
    result = query(made, fasta, tmp_path / "hits.bed", model=loaded, top=7)
    ours = [hit for hit in result.hits if hit.query == "long"]
    assert len({(hit.record, hit.start) for hit in ours}) == 7 and result.queries == 2
    exact = [hit for hit in ours if hit.similarity > 0.9999]
    assert {(hit.start, hit.query_start) for hit in exact} >= {(100, 0), (125, 25), (150, 50), (175, 75)}
    lines = (tmp_path / "hits.bed").read_text().splitlines()
    assert len(lines) == 14 and lines[-7].split("\t") == ["a", "400", "460", "short:0-60/1", "1000", "."]


def test_windows_of_n_are_asked_for_as_little_as_they_are_indexed(loaded, made):
    text = random_bases(1230)
    (gap,) = {hit.query_end for hit in query(made, [Record("q", text[:60] + "N" * 200, "")], model=loaded, top=3).hits}
    assert gap <= 110
    with pytest.raises(InputError, match="query gap: A, C, G and T stand in less than half of it; remove it"):
        query(made, [Record("q", text[:60], ""), Record("gap", "N" * 90, "")], model=loaded)


def test_a_place_that_cannot_be_written_to_is_told_before_the_work(made, genome, tmp_path, monkeypatch):
    def refused(output):
        raise PermissionError(13, "no entry", str(output))

    for module in ("index", "query"):  # the package has functions of these names
        monkeypatch.setattr(sys.modules[f"primase.search.{module}"], "refuse_unwritable", refused)
    for work in (lambda: index(tmp_path / "no-model", genome, tmp_path / "i"),
                 lambda: query(made, genome, tmp_path / "hits.bed", model=tmp_path / "no-model")):  # fmt: skip
        with pytest.raises(PermissionError):
            work()


def test_another_model_is_refused(loaded, made):
    with pytest.raises(ModelError, match=r"made with another model \(model \w{12}, not \w{12}\)"):
        query(made, [Record("q", "ACGT", "")], model=tiny_model(k=3, num_hidden_layers=1))


def test_what_cannot_be_is_said(loaded, genome, made, tmp_path, monkeypatch):
    with pytest.raises(InputError, match="give a step of 1 to the window's bases"):
        index(loaded, genome, tmp_path / "i", window_bases=50, step_bases=60)
    with pytest.raises(OutputExistsError, match="already holds an index; pass --overwrite"):
        index(loaded, genome, made)
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(OutputExistsError, match="is no index of Primase"):
        index(loaded, genome, tmp_path, overwrite=True)
    (tmp_path / "n.fa").write_text(">n\nNNNNNNNN\n")
    with pytest.raises(InputError, match=r"n\.fa: no window with A, C, G and T"):
        index(loaded, tmp_path / "n.fa", tmp_path / "i")
    with pytest.raises(MissingFileError, match="no index here"):
        query(tmp_path, [Record("q", "ACGT", "")])
    assert sorted(file.name for file in tmp_path.iterdir()) == ["n.fa", "thesis.txt"]
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'primase\[search\]'"):
        index(loaded, genome, tmp_path / "i")


def test_an_index_that_cannot_be_replaced_stays(loaded, genome, tmp_path, monkeypatch):
    index(loaded, genome, tmp_path / "i", window_bases=60, step_bases=60)
    rename = Path.rename

    def refused(self, target):
        if (self / "index.json").exists() and ".replaced" not in f"{self.name}{target.name}":  # the new folder
            raise OSError(5, "Input/output error", str(self))
        return rename(self, target)

    with monkeypatch.context() as patched, pytest.raises(OSError, match="Input/output error"):
        patched.setattr(Path, "rename", refused)
        index(loaded, genome, tmp_path / "i", window_bases=60, step_bases=50, overwrite=True)
    assert [file.name for file in tmp_path.iterdir()] == ["i"]
    assert json.loads((tmp_path / "i/index.json").read_text())["step_bases"] == 60


def test_a_damaged_index_is_said(loaded, genome, tmp_path):
    index(loaded, genome, tmp_path / "i", window_bases=60, step_bases=60)
    index(loaded, genome, tmp_path / "i", window_bases=60, step_bases=50, overwrite=True)
    assert json.loads((tmp_path / "i/index.json").read_text())["step_bases"] == 50
    (tmp_path / "i/vectors.faiss").write_bytes(b"half")
    with pytest.raises(InputError, match="the index is damaged"):
        query(tmp_path / "i", [Record("q", "ACGT", "")], model=loaded)
    (tmp_path / "i/index.json").write_text("{")
    with pytest.raises(InputError, match=r"index.json: not readable .*; make the index again"):
        query(tmp_path / "i", [Record("q", "ACGT", "")], model=loaded)


def test_the_rival_counts_shared_kmers_on_both_strands():
    record = Record("r", random_bases(2000), "")
    windows = list(cut([record], 100, 50))
    text = record.sequence[500:600].encode()
    assert shared_kmers(windows, [text])[0][0] == 500
    assert shared_kmers(windows, [reverse_complement(text)])[0][0] == 500


def test_no_query_of_the_benchmark_is_drawn_from_a_gap(loaded):
    record = Record("r", random_bases(400, 3) + "N" * 4000, "g.fa")
    found = recalls(loaded, record, 10, window_bases=60, step_bases=10, rates=(0.0,))
    assert found["0"]["shared_11mers"] == 1
    with pytest.raises(InputError, match=r"g\.fa: no 60 bases that are half A, C, G and T"):
        recalls(loaded, Record("r", "N" * 400, "g.fa"), 10, window_bases=60)


def test_recall_falls_with_mutations_and_both_find_exact_copies(loaded):
    record = Record("r", random_bases(6000, 3), "")
    found = recalls(loaded, record, 30, window_bases=60, step_bases=10, rates=(0.0, 0.3))
    assert found["0"]["index"] > 0.8 and found["0"]["shared_11mers"] == 1
    assert found["0.3"]["index"] < found["0"]["index"] and found["0.3"]["shared_11mers"] < 1
