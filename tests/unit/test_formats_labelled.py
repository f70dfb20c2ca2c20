"""Labelled tables: what is read from each format, and one line for each mistake."""

import gzip

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from primase.errors import InputError, MissingFileError
from primase.formats import part_files, read_labelled

ROWS = [("a", " ACGTacgtN ", "1", "x"), ("b", "TTGA", "0", "y z")]


def write(file, delimiter=","):
    lines = [delimiter.join(("name", "sequence", "label", "kind")), *(delimiter.join(row) for row in ROWS)]
    opener = gzip.open if file.suffix == ".gz" else open
    with opener(file, "wt") as out:
        out.write("\n".join(lines) + "\n")


@pytest.mark.parametrize("name", ["t.csv", "t.tsv", "t.csv.gz", "t.parquet"])
def test_every_format_gives_the_same_rows(tmp_path, name):
    file = tmp_path / name
    if name.endswith("parquet"):
        names, sequences, labels, kinds = zip(*ROWS, strict=True)
        table = {"name": names, "sequence": sequences, "label": [int(label) for label in labels], "kind": kinds}
        pq.write_table(pa.table(table), file)
    else:
        write(file, "\t" if ".tsv" in name else ",")
    found = list(read_labelled(file, ["kind", "label"]))
    assert [(r.name, r.sequence, r.labels, r.row) for r in found] == [
        ("a", "ACGTacgtN", ("x", "1"), 1),
        ("b", "TTGA", ("y z", "0"), 2),
    ]
    assert found[0].source == str(file)


def test_rows_are_counted_across_batches(tmp_path, monkeypatch):
    monkeypatch.setattr("primase.formats.tables.CSV_BLOCK_BYTES", 256)
    file = tmp_path / "t.csv"
    file.write_text("sequence,label\n" + "".join(f"ACGT,{i}\n" for i in range(500)))
    assert [(r.row, r.name, r.labels) for r in read_labelled(file, ["label"])] == [
        (i + 1, str(i + 1), (str(i),)) for i in range(500)
    ]
    file.write_text("sequence,label\n" + "ACGT,1\n" * 400 + "ACGT,\n")
    with pytest.raises(InputError, match=r"t\.csv: row 401: column 'label' holds no label; fill it in"):
        list(read_labelled(file, ["label"]))
    assert list(read_labelled(file, ["label"], may_be_empty=True))[-1].labels == ("",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sequence,class\nA,1\n", "no column 'label'; choose the column of the labels from 'sequence', 'class'"),
        ("sequence,label\nA,NA\n", "row 1: column 'label' holds no label"),
        ("sequence,label\nA,1\n,1\n", "row 2: column 'sequence' is empty"),
        ("sequence,label\nA,1,2\n", "row 1: 3 values where the header has 2"),
        ("sequence,label,label\nA,1,2\n", "column 'label' is there 2 times"),
        ("sequence,label\nAL,1\n", "row 1: column 'sequence': letter 'L' is no IUPAC nucleotide code"),
        ("sequence,label\n", "the table has no rows"),
    ],
)
def test_mistakes(tmp_path, text, message):
    file = tmp_path / "t.csv"
    file.write_text(text)
    with pytest.raises(InputError) as error:
        list(read_labelled(file, ["label"]))
    assert message in str(error.value) and str(file) in str(error.value)


def test_more_mistakes(tmp_path):
    with pytest.raises(MissingFileError):
        list(read_labelled(tmp_path / "absent.csv", ["label"]))
    (tmp_path / "t.fa").write_text(">a\nACGT\n")
    with pytest.raises(InputError, match="FASTA holds no labels"):
        list(read_labelled(tmp_path / "t.fa", ["label"]))
    write(tmp_path / "t.csv")
    with pytest.raises(InputError, match="column 'sequence' holds the sequences"):
        list(read_labelled(tmp_path / "t.csv", ["sequence"]))
    pq.write_table(pa.table({"sequence": ["A"], "label": [[1, 2]]}), tmp_path / "nested.parquet")
    with pytest.raises(InputError, match="column 'label' holds list"):
        list(read_labelled(tmp_path / "nested.parquet", ["label"]))


def test_parts_of_a_folder(tmp_path):
    for name in ("Train.csv.gz", "dev.tsv", "test.parquet", "notes.csv", "README.md"):
        (tmp_path / name).write_bytes(b"")
    found = {part: file.name for part, file in part_files(tmp_path).items()}
    assert found == {"train": "Train.csv.gz", "validation": "dev.tsv", "test": "test.parquet"}
    assert part_files(tmp_path / "dev.tsv") == {"train": tmp_path / "dev.tsv"}
    (tmp_path / "valid.csv").write_bytes(b"")
    with pytest.raises(InputError, match=r"both dev\.tsv and valid\.csv are the validation part"):
        part_files(tmp_path)
    (tmp_path / "Train.csv.gz").unlink()
    (tmp_path / "valid.csv").unlink()
    with pytest.raises(InputError, match=r"no train\.csv"):
        part_files(tmp_path)
    with pytest.raises(MissingFileError):
        part_files(tmp_path / "absent")
