"""Which files are read, in which order, as what; and gzip, whole and broken."""

import builtins
import gzip
import os
import subprocess
import sys

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from primase.errors import InputError, MissingFileError
from primase.formats import Record, is_table, read_pieces, read_records, sequence_files

FASTA = b">a x\nACGT\nAC\n"


def write(path, data):
    path.write_bytes(data)
    return path


def refusal(path) -> str:
    with pytest.raises(InputError) as caught:
        list(read_records([path]))
    message = str(caught.value)
    assert message.startswith(f"{path}: ") and "\n" not in message
    return message


def test_a_folder_is_its_sequence_files_in_order_of_name(tmp_path):
    for name in ("b.fa", "a.CSV.gz", "c.parquet", "notes.txt", ".hidden.fa", "d.fna.bgz"):
        write(tmp_path / name, b"")
    (tmp_path / "folder.fa").mkdir()
    other = write(tmp_path / "notes.txt", b"")
    found = sequence_files([other, str(tmp_path)])
    assert [file.name for file in found] == ["notes.txt", "a.CSV.gz", "b.fa", "c.parquet", "d.fna.bgz"]
    assert sequence_files(str(other)) == [other]


def test_missing_sources_are_refused_before_anything_is_read(tmp_path):
    good = write(tmp_path / "x.fa", FASTA)
    with pytest.raises(MissingFileError, match=r"absent\.fa: no such file"):
        read_pieces([good, tmp_path / "absent.fa"])
    with pytest.raises(FileNotFoundError):
        sequence_files([tmp_path / "absent"])
    with pytest.raises(InputError):
        sequence_files(["a" * 5000])
    with pytest.raises(InputError, match="no sequence files given"):
        sequence_files([])


def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "x.fa")
    with pytest.raises(InputError, match="a pipe or a device"):
        sequence_files([tmp_path / "x.fa"])


def test_a_folder_without_sequence_files_is_refused(tmp_path):
    write(tmp_path / "notes.txt", FASTA)
    with pytest.raises(InputError, match="no sequence file in this folder"):
        sequence_files([tmp_path])


@pytest.mark.parametrize("name", ["x.fa", "x.FASTA", "x.fna", "x.ffn", "x.fas", "x.fa.gz", "x.Fa.BGZ", "x.fna.bgzf"])
@pytest.mark.parametrize("compressed", [True, False])
def test_gzip_is_told_by_content_and_fasta_by_suffix(tmp_path, name, compressed):
    path = write(tmp_path / name, gzip.compress(FASTA) if compressed else FASTA)
    assert list(read_records([path])) == [Record("a", "ACGTAC", str(path))]
    assert not is_table(path)


def test_an_unknown_suffix_is_told_by_content(tmp_path):
    for name, data in [
        ("x", FASTA),
        ("x.txt", b"\xef\xbb\xbf\n  " + FASTA.strip()),
        ("x.gz", gzip.compress(FASTA)),
    ]:
        path = write(tmp_path / name, data)
        if name == "x.txt":
            data = write(path, b"\n\n" + FASTA)
        assert [record.sequence for record in read_records(path)] == ["ACGTAC"]
    assert "neither has the suffix" in refusal(write(tmp_path / "y.txt", b"hello"))
    assert "neither has the suffix" in refusal(write(tmp_path / "y.fastq", b"@r\nAC\n+\nII\n"))
    assert "neither has the suffix" in refusal(write(tmp_path / "empty", b""))
    assert is_table(tmp_path / "x.tsv.gz") and is_table("x.PQ")


def test_a_byte_order_mark_is_passed_over(tmp_path):
    path = write(tmp_path / "x.fa", b"\xef\xbb\xbf" + FASTA)
    assert [record.sequence for record in read_records(path)] == ["ACGTAC"]


def test_every_member_of_a_gzip_file_is_read(tmp_path):
    data = b">a\n" + b"ACGTACGTAC\n" * 50_000 + b">b\nGG\n"
    members = b"".join(gzip.compress(data[start : start + 65_280]) for start in range(0, len(data), 65_280))
    # The empty member with which bgzip ends a file.
    path = write(tmp_path / "x.fa.gz", members + gzip.compress(b""))
    assert [(r.name, len(r.sequence)) for r in read_records(path)] == [("a", 500_000), ("b", 2)]


def test_broken_gzip_is_told_from_truncated_gzip(tmp_path):
    whole = gzip.compress(b">a\n" + os.urandom(50_000).hex().translate({ord(c): "A" for c in "0123456789ef"}).encode())
    path = tmp_path / "x.fa.gz"
    for cut in (5, 15, len(whole) // 2, len(whole) - 3):
        assert "truncated" in refusal(write(path, whole[:cut]))
    table = gzip.compress(b"text,label\n" + b"ACGT,1\n" * 1000)
    assert "truncated" in refusal(write(tmp_path / "x.csv.gz", table[:-30]))
    assert "truncated" in refusal(write(tmp_path / "x.parquet.gz", table[:-30]))
    damaged = bytearray(whole)
    damaged[-6] ^= 1
    assert "corrupt gzip" in refusal(write(path, bytes(damaged)))
    assert "corrupt gzip" in refusal(write(path, whole + b"trailing rubbish"))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 10_000), st.integers(0, 255), st.sampled_from(["x.fa.gz", "x.csv.gz", "x.parquet.gz", "x"]))
def test_gzip_with_any_byte_changed_is_read_or_refused(tmp_path, place, value, name):
    data = bytearray(gzip.compress(b">a,text\n" + b"ACGT,AC\n" * 300))
    data[place % len(data)] = value
    try:
        list(read_pieces([write(tmp_path / name, bytes(data))]))
    except InputError as error:
        assert "\n" not in str(error)


@pytest.mark.parametrize(
    ("magic", "named"),
    [
        (b"BZh9", "bzip2"),
        (b"\xfd7zXZ\x00", "xz"),
        (b"\x28\xb5\x2f\xfd", "zstd"),
        (b"PK\x03\x04", "zip"),
        (b"\xff\xfe>\x00", "UTF-16"),
    ],
)
def test_files_of_another_kind_are_named(tmp_path, magic, named):
    assert named in refusal(write(tmp_path / "x.fa", magic + b"rest"))


@pytest.mark.parametrize(
    ("error", "said"),
    [(PermissionError(13, "denied"), "no permission"), (OSError(5, "I/O error"), "I/O error")],
)
def test_errors_of_the_system_are_explained(tmp_path, monkeypatch, error, said):
    path, really_open = write(tmp_path / "x.fa", FASTA), builtins.open

    def refuse(file, *arguments, **options):
        if file == path:
            raise error
        return really_open(file, *arguments, **options)

    monkeypatch.setattr(builtins, "open", refuse)
    assert said in refusal(path)


def test_tables_and_fasta_are_read_in_the_order_given(tmp_path):
    table, fasta = write(tmp_path / "a.csv", b"text\nGG\n"), write(tmp_path / "b.fa", FASTA)
    assert [record.sequence for record in read_records([fasta, table])] == ["ACGTAC", "GG"]
    assert [record.sequence for record in read_records(tmp_path)] == ["GG", "ACGTAC"]


def test_piece_bases_must_be_positive(tmp_path):
    with pytest.raises(ValueError, match="at least 1"):
        read_pieces([write(tmp_path / "x.fa", FASTA)], piece_bases=0)


def test_memory_does_not_grow_with_the_record(tmp_path):
    path = tmp_path / "x.fa.gz"
    with gzip.open(path, "wb", 1) as stream:
        stream.write(b">a\n")
        for _ in range(60):
            stream.write((b"ACGT" * 20 + b"\n") * 12_500)
    program = (
        "import resource, sys; from primase.formats import read_pieces\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "before = peak(); bases = sum(len(piece.bases) for piece in read_pieces([sys.argv[1]]))\n"
        "print(bases, (peak() - before) // 1024)"
    )
    run = subprocess.run([sys.executable, "-c", program, path], capture_output=True, text=True, check=True)
    bases, grown_mib = map(int, run.stdout.split())
    assert bases == 60_000_000
    assert grown_mib < 50
