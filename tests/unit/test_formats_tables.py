"""Rows of CSV, TSV and Parquet files become records; a table that cannot be used is refused with its row."""

import csv
import gzip
import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from primase.errors import InputError
from primase.formats import read_pieces, read_records, tables


def write(path, content):
    data = content.encode() if isinstance(content, str) else content
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def write_parquet(path, columns, **options):
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink, **options)
    return write(path, sink.getvalue())


def read(path, **options):
    return [(record.name, record.sequence) for record in read_records([path], **options)]


def refusal(path, **options) -> str:
    with pytest.raises(InputError) as caught:
        read(path, **options)
    message = str(caught.value)
    assert message.startswith(f"{path}: ") and "\n" not in message
    return message


@pytest.mark.parametrize("suffix", [".csv", ".CSV", ".csv.gz", ".tsv", ".tsv.gz"])
def test_rows_are_records_named_by_their_number(tmp_path, suffix):
    comma = "\t" if "tsv" in suffix else ","
    text = "\r\n".join(["label,sequence", "1,ACgtN", '0,"TT"', "", "1,  GG ", "0,CC"]).replace(",", comma)
    assert read(write(tmp_path / f"x{suffix}", text)) == [
        ("1", "ACgtN"),
        ("2", "TT"),
        ("3", "GG"),
        ("4", "CC"),
    ]


def test_the_column_is_the_one_asked_for_then_text_then_sequence(tmp_path):
    path = write(tmp_path / "x.csv", "seqs,sequence,text\nA,C,G\n")
    assert read(path) == [("1", "G")]
    assert read(path, column="seqs") == [("1", "A")]
    assert read(write(tmp_path / "y.csv", "seqs,sequence\nA,C\n")) == [("1", "C")]


def test_names_come_from_name_or_id_and_stay_text(tmp_path):
    assert read(write(tmp_path / "x.csv", "id,text\n007,A\n,C\nb,G\n")) == [
        ("007", "A"),
        ("2", "C"),
        ("b", "G"),
    ]
    assert read(write(tmp_path / "y.csv", "id,name,text\n7,n,A\n")) == [("n", "A")]


def test_a_byte_order_mark_and_quoted_line_ends_do_no_harm(tmp_path):
    path = write(tmp_path / "x.csv", '\ufefftext,note\nAC,"one\ntwo"\nGT,"a ""b"" c"\n')
    assert read(path) == [("1", "AC"), ("2", "GT")]


CELLS = st.text(alphabet='ab, "\n;é', max_size=6)
SEQUENCES = st.text(alphabet="ACGTRYKacgtu", min_size=1, max_size=50)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(CELLS, SEQUENCES, CELLS), min_size=1, max_size=12), st.integers(1, 60))
def test_what_pythons_csv_writes_is_read_back(tmp_path, monkeypatch, rows, piece_bases):
    monkeypatch.setattr(tables, "CSV_BLOCK_BYTES", 200)
    sink = io.StringIO()
    csv.writer(sink).writerows([("note", "sequence", "other"), *rows])
    path = write(tmp_path / "x.csv", sink.getvalue())
    sequences = {}
    for piece in read_pieces([path], piece_bases=piece_bases):
        so_far = sequences.get(piece.record, "")
        assert piece.start == len(so_far) and len(piece.bases) <= piece_bases
        sequences[piece.record] = so_far + piece.bases.tobytes().decode()
        assert piece.last == (sequences[piece.record] == rows[int(piece.record) - 1][1])
    assert list(sequences.values()) == [sequence for _, sequence, _ in rows]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "the file is empty"),
        ("sequence,label\n", "the table has no rows"),
        ("sequence,label", "the table has no rows"),
        (
            "seqs,label\nA,1\n",
            "no column 'text' or 'sequence'; choose the column of the sequences from 'seqs', 'label'",
        ),
        ("text,text\nA,C\n", "column 'text' is there 2 times"),
        ("id,text,id\n1,C,2\n", "column 'id' is there 2 times"),
        ("text,label\nA,1\nC\nG,1\n", "row 2: 1 values where the header has 2"),
        ("text,label\nA,1\nC,1,1\n", "row 2: 3 values where the header has 2"),
        ("text,label\nA,1\n,0\n", "row 2: column 'text' is empty"),
        ("text,label\nA,1\n  ,0\n", "row 2: column 'text' is empty"),
        ("text,label\nA,1\nNA,0\n", "row 2: column 'text' is empty"),
        ("text,label\nnan,1\n", "row 1: column 'text' is empty"),
        ("text,label\n012,1\n", "row 1: column 'text': letter '0' is no IUPAC"),
        (
            "text,label\nAC,1\nACGT,1\nGE,1\n",
            "row 3: column 'text': letter 'E' is no IUPAC nucleotide code: this looks",
        ),
        (b"text,label\nA,1\n\xff\xfe\nG,1\n", "row 2: 1 values where the header has 2"),
        (b"text,label\nAC,1\nA\xffC,1\n", "row 2: column 'text': byte 0xff is no letter"),
        (b"id,text\nAC\xff,A\n", "cannot be read as a table of UTF-8 text"),
        (b"te\xffxt\nAC\n", "line 1: the header is not a line of UTF-8 text"),
        ('text,label\nA,"1\nC,2\nG,3\n', "a double quote is never closed"),
    ],
)
def test_refusals_name_file_row_and_remedy(tmp_path, content, said):
    assert said in refusal(write(tmp_path / "x.csv", content))


def test_a_missing_asked_column_is_refused(tmp_path):
    path = write(tmp_path / "x.csv", "text,label\nA,1\n")
    assert "no column 'seq'; choose the column of the sequences from 'text', 'label'" in refusal(path, column="seq")


def test_row_numbers_count_on_from_block_to_block(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "CSV_BLOCK_BYTES", 64)
    good = "text,label\n" + "ACGTACGT,1\n" * 100
    assert [name for name, _ in read(write(tmp_path / "x.csv", good))] == [str(n) for n in range(1, 101)]
    assert "row 101: column 'text' is empty" in refusal(write(tmp_path / "y.csv", good + ",1\n"))
    assert "row 101: 3 values" in refusal(write(tmp_path / "z.csv", good + "AC,1,1\n"))


def test_a_row_longer_than_a_block_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "CSV_BLOCK_BYTES", 64)
    text = "text,label\n" + "A,1\n" * 30 + "C" * 500 + ",1\n"
    assert "write long sequences as FASTA" in refusal(write(tmp_path / "x.csv", text))


@pytest.mark.parametrize("suffix", [".parquet", ".pq", ".parquet.gz"])
def test_parquet_rows_of_every_kind_of_text(tmp_path, suffix):
    sequences, expected = ["ACgt", " NN", "RY"], [("x", "ACgt"), ("2", "NN"), ("y", "RY")]
    for type_ in (pa.string(), pa.large_string(), pa.binary(), pa.dictionary(pa.int32(), pa.string())):
        values = [s.encode() for s in sequences] if type_ == pa.binary() else sequences
        columns = {"label": [1, 2, 3], "name": ["x", None, "y"], "sequence": pa.array(values, type_)}
        assert read(write_parquet(tmp_path / f"x{suffix}", columns)) == expected


def test_parquet_names_may_be_numbers_and_row_groups_many(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "MAX_BATCH_ROWS", 7)
    sequences = ["ACGT"[: 1 + n % 4] for n in range(50)]
    path = write_parquet(tmp_path / "x.parquet", {"id": range(50, 100), "text": sequences}, row_group_size=9)
    assert read(path) == [(str(50 + n), sequence) for n, sequence in enumerate(sequences)]


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"text": pa.array(["A", None])}, "row 2: column 'text' is empty"),
        ({"text": pa.array(["A", ""])}, "row 2: column 'text' is empty"),
        ({"text": pa.array(["A", "AL"])}, "row 2: column 'text': letter 'L'"),
        ({"text": pa.array([1, 2])}, "column 'text' holds int64, not text"),
        ({"text": pa.array([["A"], ["C"]])}, "not text"),
        ({"text": pa.array([], pa.string())}, "the table has no rows"),
        ({"seqs": pa.array(["A"])}, "no column 'text' or 'sequence'"),
        ({"text": pa.array(["A"]), "id": pa.array([{"a": 1}])}, "x.parquet: "),
    ],
)
def test_parquet_refusals(tmp_path, columns, said):
    assert said in refusal(write_parquet(tmp_path / "x.parquet", columns))


def test_what_is_not_a_whole_parquet_file_is_refused(tmp_path):
    path = write_parquet(tmp_path / "x.parquet", {"text": ["ACGT"] * 1000})
    whole = path.read_bytes()
    for data in (b"", b"PAR1", b"text\nACGT\n", whole[:-20], whole[: len(whole) // 2]):
        assert "not a whole Parquet file" in refusal(write(path, data))


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from([".csv", ".tsv.gz", ".parquet"]), st.binary(max_size=100), st.booleans())
def test_random_bytes_are_read_or_refused(tmp_path, suffix, data, with_header):
    path = write(tmp_path / f"x{suffix}", (b"text,text2\ttext\nAC,G\tC\n" if with_header else b"") + data)
    try:
        list(read_pieces([path]))
    except InputError as error:
        assert "\n" not in str(error)


@pytest.mark.parametrize(
    ("name", "column", "rows", "bases"),
    [("gue/tf/0/train.csv.gz", None, 32378, 101), ("ecoli_promoters/v9d3.csv.gz", "seqs", 5720, 81),
     ("genomic_benchmarks/promoters_nontata/test.tsv.gz", "seq", 9034, 251), ("uci/splice.csv.gz", None, 3190, 60)],
)  # fmt: skip
def test_real_tables_equal_pythons_csv(shared_data, name, column, rows, bases):
    path = shared_data / "tasks" / name
    with gzip.open(path, "rt", newline="") as stream:
        delimiter = "\t" if ".tsv" in name else ","
        expected = [row[column or "sequence"].strip() for row in csv.DictReader(stream, delimiter=delimiter)]
    found = [sequence for _, sequence in read(path, column=column)]
    assert found == expected and len(found) == rows and {len(sequence) for sequence in found} == {bases}
