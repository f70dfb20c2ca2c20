"""Embedding into files: regions, strands, layers, AnnData; streamed, resumable, and complete or not there."""

import json
from pathlib import Path

import anndata
import numpy as np
import pyarrow.parquet as pq
import pytest

from primase.dna import reverse_complement
from primase.embedding import embed, embed_to_file, vectors
from primase.errors import (
    CheckpointError,
    InputError,
    MissingExtraError,
    ModelError,
    OutputExistsError,
    RunInUseError,
)
from primase.run_lock import RunLock
from tests.models import tiny_model


@pytest.fixture(scope="module")
def loaded():
    return tiny_model(k=3)


def random_bases(bases: int, seed: int = 0) -> str:
    return "".join(np.random.default_rng(seed).choice(list("ACGT"), bases))


@pytest.fixture
def genome(tmp_path: Path) -> Path:
    (tmp_path / "genome.fa").write_text(f">chr1 x\n{random_bases(500)}\n>chr2\n{random_bases(300, 1).lower()}\n")
    return tmp_path / "genome.fa"


@pytest.fixture
def small_groups(monkeypatch):
    monkeypatch.setattr(vectors, "SEQUENCES_OF_A_GROUP", 3)
    monkeypatch.setattr("primase.embedding.progress.ROWS_AT_ONCE", 4)


def test_both_strands_are_a_mean_that_knows_no_strand(loaded):
    texts = [random_bases(length, length) for length in (30, 47, 200)]
    ours = embed(loaded, texts, both_strands=True)
    single = [embed(loaded, strand) for strand in (texts, [reverse_complement(text) for text in texts])]
    np.testing.assert_allclose(ours, (single[0] + single[1]) / 2, rtol=1e-5, atol=1e-6)
    other = embed(loaded, [reverse_complement(text) for text in texts], both_strands=True)
    np.testing.assert_allclose(ours, other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("pooling", ["mean", "max", "last"])
def test_all_layers_in_one_pass_are_those_of_single_passes(loaded, pooling):
    texts = [random_bases(length, length) for length in (30, 47, 400)]
    ours = embed(loaded, texts, layer="all", pooling=pooling)
    assert ours.shape == (3, 3, 32)
    for layer in (0, 1, 2):
        np.testing.assert_allclose(ours[:, layer], embed(loaded, texts, layer=layer, pooling=pooling), atol=1e-5)
    np.testing.assert_allclose(ours[:, -1], embed(loaded, texts, pooling=pooling), atol=1e-5)
    assert embed(loaded, [], layer="all").shape == (0, 3, 32)


BED = "track name=x\nchr2\t10\t60\tfirst\t0\t-\nchr1\t0\t100\nchr1\t400\t500\t.\t0\t+\nchr2\t0\t300\tfirst\n"


def test_regions_come_in_the_order_of_the_bed_and_on_their_strand(loaded, genome, tmp_path, small_groups):
    (tmp_path / "r.bed").write_text(BED)
    place = tmp_path / "v.parquet"
    assert embed_to_file(loaded, [], place, regions=tmp_path / "r.bed", genome=genome).shape == [4, 32]
    table = pq.read_table(place)
    first, second = random_bases(500), random_bases(300, 1)
    texts = [reverse_complement(second[10:60]), first[:100], first[400:], second]
    np.testing.assert_allclose(np.array(table["embedding"].to_pylist()), embed(loaded, texts), rtol=1e-5, atol=1e-6)
    assert table["name"].to_pylist() == ["first", "chr1:0-100", "chr1:400-500", "first"]
    assert table["record"].to_pylist() == ["chr2", "chr1", "chr1", "chr2"]
    assert table["start"].to_pylist() == [10, 0, 400, 0] and table["end"].to_pylist() == [60, 100, 500, 300]
    assert table["strand"].to_pylist() == ["-", "+", "+", "+"]


@pytest.mark.parametrize(
    ("bed", "message"),
    [
        ("chr1\t0\t501\n", r"line 1: chr1:0-501 is not in .*genome\.fa, where chr1 has 500 bases; give the assembly"),
        ("# x\nchrX\t0\t5\n", r"line 2: chrX:0-5 is not in .*, where chrX is not there"),
        ("chr1\t5\t5\n", "line 1: the region is empty"),
        ("chr1\t5\t4\n", "line 1: the start 5 is behind the end 4"),
        ("chr1\t5\n", "line 1: 2 columns where BED has at least 3"),
        ("chr1\t5\t9\tx\t0\tplus\n", "line 1: the strand 'plus' is not"),
        ("", "no region in it"),
    ],
)
def test_regions_that_cannot_be_cut(bed, message, loaded, genome, tmp_path):
    (tmp_path / "r.bed").write_text(bed)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(InputError, match=message):
        embed_to_file(loaded, [], tmp_path / "v.npy", regions=tmp_path / "r.bed", genome=genome)
    assert sorted(tmp_path.iterdir()) == before


@pytest.fixture
def table(tmp_path: Path) -> Path:
    texts = [random_bases(20 + 7 * number, number) for number in range(11)]
    (tmp_path / "s.csv").write_text("sequence\n" + "".join(f"{text}\n" for text in texts))
    return tmp_path / "s.csv"


def sequences(table: Path) -> list[str]:
    return table.read_text().split()[1:]


@pytest.mark.parametrize("layer", [-1, "all"])
def test_every_form_of_file_holds_the_same_numbers(loaded, table, tmp_path, small_groups, layer):
    expected = embed(loaded, sequences(table), layer=layer)
    for suffix in (".npy", ".parquet", ".h5ad", ".zarr"):
        result = embed_to_file(loaded, [table], tmp_path / f"v{suffix}", layer=layer)
        assert result.shape == list(expected.shape)
    np.testing.assert_array_equal(np.load(tmp_path / "v.npy"), expected)
    parquet = pq.read_table(tmp_path / "v.parquet")
    np.testing.assert_array_equal(np.array(parquet["embedding"].to_pylist(), np.float32), expected)
    for data in (anndata.read_h5ad(tmp_path / "v.h5ad"), anndata.read_zarr(tmp_path / "v.zarr")):
        assert list(data.obs) == ["name", "record", "start", "end", "strand"] and data.shape == (11, 32)
        assert list(data.obs["name"]) == parquet["name"].to_pylist()
        assert list(data.obs["end"]) == [len(text) for text in sequences(table)]
        np.testing.assert_array_equal(data.X, expected if layer == -1 else expected[:, -1])
        for number in range(3 if layer == "all" else 0):
            np.testing.assert_array_equal(data.obsm[f"layer_{number}"], expected[:, number])
    assert not list(tmp_path.glob(".*"))


class PowerCutError(Exception):
    pass


@pytest.mark.parametrize("suffix", [".npy", ".parquet", ".h5ad"])
def test_resume_gives_the_same_bytes_and_an_interruption_no_file(
    suffix, loaded, table, tmp_path, small_groups, monkeypatch
):
    whole, place = tmp_path / f"whole{suffix}", tmp_path / f"v{suffix}"
    embed_to_file(loaded, [table], whole, both_strands=True)
    original, calls = vectors._pool_group, []

    def counted(*arguments):
        calls.append(1)
        if len(calls) == 6:  # within the third of four groups: two strands each
            raise PowerCutError
        return original(*arguments)

    monkeypatch.setattr(vectors, "_pool_group", counted)
    with pytest.raises(PowerCutError):
        embed_to_file(loaded, [table], place, both_strands=True)
    assert not place.exists()
    working = tmp_path / f".v{suffix}.partial"
    with open(working / "vectors.bin", "ab") as half_written:
        half_written.write(b"torn")
    with pytest.raises(CheckpointError, match=r"had another pooling \(mean, not max\); give the same, or leave out"):
        embed_to_file(loaded, [table], place, both_strands=True, pooling="max", resume=True)
    with pytest.raises(CheckpointError, match="had another model"):
        embed_to_file(tiny_model(k=3, num_hidden_layers=1), [table], place, both_strands=True, resume=True)
    embed_to_file(loaded, [table], place, both_strands=True, resume=True)
    assert len(calls) == 6 + 4, "two groups were not computed again"
    assert place.read_bytes() == whole.read_bytes()
    assert not working.exists()


@pytest.mark.parametrize(
    "noted", [{"rows": None}, {"rows": 99}, {"rows": "11"}, {"vectors_bytes": 0}, {"rows_bytes": 7}]
)
def test_a_damaged_note_of_what_is_done_is_said(noted, loaded, table, tmp_path):
    def power_cut(what, _share):
        if what == "writing":
            raise PowerCutError

    with pytest.raises(PowerCutError):
        embed_to_file(loaded, [table], tmp_path / "v.npy", progress=power_cut)
    note = tmp_path / ".v.npy.partial" / "done.json"
    note.write_text(json.dumps(json.loads(note.read_text()) | noted))
    with pytest.raises(CheckpointError, match=r"damaged: .*; leave out --resume to begin anew"):
        embed_to_file(loaded, [table], tmp_path / "v.npy", resume=True)
    embed_to_file(loaded, [table], tmp_path / "v.npy")


def test_without_resume_it_begins_anew_and_nothing_to_resume_is_no_mistake(loaded, table, tmp_path):
    working = tmp_path / ".v.npy.partial"
    working.mkdir()
    (working / "vectors.bin").write_bytes(b"old")
    embed_to_file(loaded, [table], tmp_path / "v.npy")
    embed_to_file(loaded, [table], tmp_path / "w.npy", resume=True)
    assert (tmp_path / "v.npy").read_bytes() == (tmp_path / "w.npy").read_bytes() and not working.exists()


@pytest.mark.parametrize("resume", [False, True])
def test_an_output_that_another_process_writes_is_refused_and_left_alone(loaded, table, tmp_path, resume):
    working = tmp_path / ".v.npy.partial"
    working.mkdir()
    (working / "vectors.bin").write_bytes(b"theirs")
    with RunLock() as lock:
        lock.take(working)
        with pytest.raises(RunInUseError, match=r"/v\.npy: another process is writing it; wait"):
            embed_to_file(loaded, [table], tmp_path / "v.npy", resume=resume)
    assert [file.name for file in working.iterdir()] == ["vectors.bin"]
    assert (working / "vectors.bin").read_bytes() == b"theirs" and not (tmp_path / "v.npy").exists()


def test_memory_holds_a_group_and_not_all_records(loaded, table, tmp_path, small_groups, monkeypatch):
    """When the first group is done, no more than that group was read."""
    read, seen = [], []
    from primase.embedding import rows

    original = rows.read_records

    def counted(*arguments, **options):
        for record in original(*arguments, **options):
            read.append(record.name)
            yield record

    monkeypatch.setattr(rows, "read_records", counted)
    embed_to_file(loaded, [table], tmp_path / "v.npy", progress=lambda what, share: seen.append((what, len(read))))
    assert [count for what, count in seen if what == "embedding"][:3] == [0, 3, 6]


def test_what_cannot_be_is_said_and_leaves_nothing(loaded, table, tmp_path, monkeypatch):
    before = sorted(tmp_path.iterdir())
    with pytest.raises(ModelError, match="layers 0"):
        embed_to_file(loaded, [table], tmp_path / "v.npy", layer=9)
    with pytest.raises(InputError, match="give both --regions and --genome"):
        embed_to_file(loaded, [table], tmp_path / "v.npy", genome=table)
    monkeypatch.setattr("primase.formats.vectors.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"\.h5ad files need anndata.*pip install 'primase\[anndata\]'"):
        embed_to_file(loaded, [table], tmp_path / "v.h5ad")
    assert sorted(tmp_path.iterdir()) == before


def test_a_folder_is_replaced_only_where_it_is_one_of_ours(loaded, table, tmp_path):
    (tmp_path / "thesis.zarr").mkdir()
    (tmp_path / "thesis.zarr" / "chapter").write_text("mine")
    with pytest.raises(OutputExistsError, match="is a folder"):
        embed_to_file(loaded, [table], tmp_path / "thesis.zarr", overwrite=True)
    embed_to_file(loaded, [table], tmp_path / "v.zarr")
    with pytest.raises(OutputExistsError, match="pass --overwrite"):
        embed_to_file(loaded, [table], tmp_path / "v.zarr")
    embed_to_file(loaded, [table], tmp_path / "v.zarr", layer="all", overwrite=True)
    assert anndata.read_zarr(tmp_path / "v.zarr").obsm["layer_0"].shape == (11, 32)
    assert json.loads((tmp_path / "v.zarr" / ".zattrs").read_text())["encoding-type"] == "anndata"
