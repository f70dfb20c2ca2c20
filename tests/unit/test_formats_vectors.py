"""Vectors and columns of the user's files: each format gives the same, each mistake one line."""

import gzip

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from primase.errors import InputError, MissingFileError
from primase.formats.columns import read_columns
from primase.formats.vectors import read_vectors

VECTORS = np.arange(12, dtype=np.float32).reshape(4, 3)
KINDS = ["a", "b", None, "a"]


@pytest.mark.parametrize("suffix", [".npy", ".parquet", ".h5ad", ".zarr"])
def test_every_format_gives_the_same(suffix, tmp_path):
    file = tmp_path / f"v{suffix}"
    if suffix == ".npy":
        np.save(file, VECTORS.astype(np.float64))
    elif suffix == ".parquet":
        pq.write_table(pa.table({"embedding": VECTORS.tolist(), "kind": KINDS, "n": [1, 2, 3, 4]}), file)
    else:
        anndata, pd = pytest.importorskip("anndata"), pytest.importorskip("pandas")
        obs = pd.DataFrame({"kind": pd.Categorical(KINDS), "n": [1, 2, 3, 4]}, index=list("wxyz"))
        data = anndata.AnnData(VECTORS, obs=obs)
        data.write_h5ad(file) if suffix == ".h5ad" else data.write_zarr(file)
    table = read_vectors(file)
    assert table.vectors.dtype == np.float32
    np.testing.assert_array_equal(table.vectors, VECTORS)
    assert table.columns == ({} if suffix == ".npy" else {"kind": KINDS, "n": ["1", "2", "3", "4"]})


def test_a_sparse_matrix_is_read(tmp_path):
    anndata, sparse = pytest.importorskip("anndata"), pytest.importorskip("scipy.sparse")
    anndata.AnnData(sparse.csr_matrix(VECTORS)).write_h5ad(tmp_path / "v.h5ad")
    np.testing.assert_array_equal(read_vectors(tmp_path / "v.h5ad").vectors, VECTORS)


def test_vectors_that_cannot_be_used(tmp_path):
    np.save(tmp_path / "layers.npy", np.zeros((4, 2, 3)))
    np.save(tmp_path / "flat.npy", np.zeros(4))
    np.save(tmp_path / "text.npy", np.array([["a", "b"]]))
    np.save(tmp_path / "nan.npy", np.array([[1, 2], [np.nan, 1]]))
    np.save(tmp_path / "objects.npy", np.array([[{}]]), allow_pickle=True)
    for suffix in ("npy", "parquet", "h5ad"):
        (tmp_path / f"broken.{suffix}").write_bytes(b"nothing of the kind")
        (tmp_path / f"empty.{suffix}").write_bytes(b"")
    (tmp_path / "broken.zarr").mkdir()
    pq.write_table(pa.table({"vector": [[1.0]]}), tmp_path / "other.parquet")
    pq.write_table(pa.table({"embedding": [[1.0, 2.0], [1.0]]}), tmp_path / "ragged.parquet")
    pq.write_table(pa.table({"embedding": [[1.0, 2.0], None]}), tmp_path / "null.parquet")
    pq.write_table(pa.table({"embedding": [1.0, 2.0]}), tmp_path / "numbers.parquet")
    pq.write_table(pa.table({"embedding": [[[1.0, 2.0]], [[1.0, 2.0]]]}), tmp_path / "layers.parquet")
    for name, message in {
        "layers.npy": "vectors of 2 layers; embed with one --layer",
        "layers.parquet": "vectors of 1 layers; embed with one --layer",
        "flat.npy": r"holds float64 of shape \[4\]",
        "text.npy": "holds <U1 of shape",
        "nan.npy": "row 2: a value that is not finite",
        "objects.npy": "cannot be read as .npy",
        "broken.npy": "cannot be read as .npy",
        "broken.parquet": "cannot be read as .parquet",
        "broken.h5ad": "cannot be read as .h5ad",
        "broken.zarr": "cannot be read as .zarr",
        "empty.npy": "cannot be read as .npy",
        "empty.parquet": "cannot be read as .parquet",
        "empty.h5ad": "cannot be read as .h5ad",
        "other.parquet": "no column 'embedding'",
        "ragged.parquet": "does not hold as many numbers in each row",
        "null.parquet": "does not hold as many numbers in each row",
        "numbers.parquet": r"of shape \[2\], not a vector of numbers for each row",
        "v.csv": "vectors are read from .npy, .parquet, .h5ad, .zarr",
    }.items():
        with pytest.raises(InputError, match=message) as caught:
            read_vectors(tmp_path / name)
        assert name in str(caught.value) and "\n" not in str(caught.value)
    for name in ("absent.npy", "absent.zarr"):
        with pytest.raises(MissingFileError):
            read_vectors(tmp_path / name)


def test_columns_of_a_table(tmp_path):
    text = 'name,sequence,kind\nx,ACGT,a\n"y,z",ACGT, \n\nw,A,"b"\n'
    expected = {"kind": ["a", None, "b"], "name": ["x", "y,z", "w"]}
    (tmp_path / "t.csv").write_bytes(b"\xef\xbb\xbf" + text.encode())
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(text.encode()))
    (tmp_path / "t.tsv").write_text("name\tkind\nx\ta\ny,z\t\nw\tb\n")
    pq.write_table(pa.table(expected | {"v": [[1], [2], [3]]}), tmp_path / "t.parquet")
    for name in ("t.csv", "t.csv.gz", "t.tsv", "t.parquet"):
        assert read_columns(tmp_path / name, ["kind"], ["name", "absent"]) == expected, name
    numbers = pa.table({"kind": [1, None]})
    pq.write_table(numbers, tmp_path / "n.parquet")
    assert read_columns(tmp_path / "n.parquet", ["kind"]) == {"kind": ["1", None]}


def test_a_cell_may_hold_a_whole_sequence(tmp_path):
    (tmp_path / "t.csv").write_text(f"sequence,kind\n{'ACGT' * 50_000},x\n")
    assert read_columns(tmp_path / "t.csv", ["kind"]) == {"kind": ["x"]}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.csv", b"", "the file is empty"),
        ("t.csv", b"a,b\n1,2\n", "no column 'kind'; choose from 'a', 'b'"),
        ("t.csv", b"kind,kind\n1,2\n", "column 'kind' is there more than once"),
        ("t.csv", b"kind,b\n1,2\n1\n", "row 2: 1 values where the header has 2"),
        ("t.csv", b"kind\n\xff\xfe\xff\n", "not a table of UTF-8 text"),
        ("t.csv", b'kind\n"a\n', "line 2: unexpected end of data"),
        ("t.parquet", b"kind", "not a whole Parquet file"),
        ("t.xlsx", b"kind", "not a table by its name"),
    ],
)
def test_columns_that_cannot_be_read(name, content, message, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_columns(tmp_path / name, ["kind"])
