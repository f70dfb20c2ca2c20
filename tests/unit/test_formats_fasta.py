"""FASTA is read back exactly, however it was written; what is no FASTA is refused with its line."""

import gzip
import io

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from primase.errors import InputError
from primase.formats import fasta, read_pieces, read_records
from primase.formats.fasta import RecordNames, read_fasta

NAMES = st.text(alphabet="abcXYZ019._|:-é", min_size=1, max_size=8)
SEQUENCES = st.text(alphabet="ACGTUNRYSWKMBDHVacgtn", min_size=1, max_size=60)


def write(path, content):
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def read(path, **options):
    return [(record.name, record.sequence) for record in read_records([path], **options)]


def refusal(path) -> str:
    with pytest.raises(InputError) as caught:
        read(path)
    message = str(caught.value)
    assert "\n" not in message and str(path) in message
    return message


@st.composite
def fasta_texts(draw):
    """Records, and a FASTA text of them with random line widths, line ends, blank lines and descriptions."""
    records = draw(st.lists(st.tuples(NAMES, SEQUENCES), min_size=1, max_size=6, unique_by=lambda r: r[0]))
    line_end = draw(st.sampled_from(["\n", "\r\n"]))
    lines = []
    for name, sequence in records:
        lines.append(">" + name + draw(st.sampled_from(["", " description", "\ttab > sign", " "])))
        width = draw(st.integers(1, 70))
        lines += [sequence[start : start + width] for start in range(0, len(sequence), width)]
        lines += [""] * draw(st.integers(0, 2))
    return records, line_end.join(lines) + draw(st.sampled_from(["", line_end]))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(fasta_texts(), st.booleans(), st.integers(1, 70), st.integers(1, 40))
def test_what_was_written_is_read_back_in_pieces_of_the_asked_size(
    tmp_path, monkeypatch, written, compressed, piece_bases, block_bytes
):
    records, text = written
    data = text.encode()
    path = write(tmp_path / "x.fa", gzip.compress(data, 1) if compressed else data)
    monkeypatch.setattr(fasta, "BLOCK_BYTES", block_bytes)
    read_back = {}
    for piece in read_pieces([path], piece_bases=piece_bases):
        so_far = read_back.get(piece.record, "")
        assert piece.source == str(path) and piece.start == len(so_far)
        assert piece.bases.dtype == np.uint8 and 1 <= len(piece.bases) <= piece_bases
        read_back[piece.record] = so_far + piece.bases.tobytes().decode()
        total = len(dict(records)[piece.record])
        assert piece.last == (len(read_back[piece.record]) == total)
        assert piece.last or len(piece.bases) == piece_bases
    assert list(read_back.items()) == records


@settings(max_examples=200, deadline=None)
@given(st.one_of(st.binary(max_size=80), st.text("> \r\nACGTNEx-", max_size=80).map(str.encode)))
def test_bytes_are_read_or_refused_with_one_line(data):
    try:
        for piece in read_fasta(io.BytesIO(data), "x.fa", RecordNames(), 7):
            assert len(piece.bases) and set(piece.bases.tobytes().upper()) <= set(b"ACGTURYSWKMBDHVN")
    except InputError as error:
        assert str(error).startswith("x.fa: ") and "\n" not in str(error)


def test_case_ambiguity_codes_and_blanks(tmp_path):
    path = write(tmp_path / "x.fa", "\n\n>a first record\nACgt NN\n\n  rYk\t\n>b\nU")
    assert read(path) == [("a", "ACgtNNrYk"), ("b", "U")]


def test_a_sequence_of_unknown_bases_is_legal(tmp_path):
    assert read(write(tmp_path / "x.fa", ">a\nNNNN\n")) == [("a", "NNNN")]


def test_names_that_are_not_utf8_stay_apart(tmp_path):
    names = [name for name, _ in read(write(tmp_path / "x.fa", b">a\xff\nA\n>a\xfe\nC\n"))]
    assert names == ["a\\xff", "a\\xfe"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "the file is empty"),
        ("\n \n", "the file is empty"),
        ("ACGT\n", "line 1: text before the first header"),
        ("\n\nACGT\n>a\nAC\n", "line 3: text before"),
        (">a\nAC\n> \nAC\n", "line 3: header without a name"),
        (">a\nAC\n>b\n\n>c\nAC\n", "line 3: record b has no bases"),
        (">a\nAC\n>b", "line 3: record b has no bases"),
        (">a\nAC\n\nGJ\n", "line 4: letter 'J' is no IUPAC nucleotide code"),
        (">a\nACGT\nAC-T\n", "line 3: letter '-' is no IUPAC nucleotide code: Primase reads unaligned"),
        (">a\nACGT*\n", "line 2: letter '*' is no IUPAC"),
        (">a\nMKVSTDLE\n", "line 2: letter 'L' is no IUPAC nucleotide code: this looks like protein"),
        (">a\nAC>b\nAC\n", "line 2: letter '>'"),
        (">a\nAC\n>b\nAC\x00GT\n", "line 4: byte 0x00 is no letter"),
        (b"\x00\xff>\n", "line 1: text before the first header"),
        (">a\rACGT\r>b\rAC", "line 1: lines end in a lone carriage return"),
    ],
)
def test_refusals_name_file_line_and_remedy(tmp_path, content, said):
    assert said in refusal(write(tmp_path / "x.fa", content))


def test_the_line_of_a_wrong_letter_is_right_across_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr(fasta, "BLOCK_BYTES", 11)
    path = write(tmp_path / "x.fa", ">a\n" + "ACGTACG\r\n" * 40 + "AC!T\n" + "ACGT\n" * 9)
    assert f"{path}: line 42: letter '!'" in refusal(path)


@pytest.mark.parametrize("block_bytes", range(1, 8))
def test_a_header_sign_within_a_line_is_refused_wherever_blocks_end(tmp_path, monkeypatch, block_bytes):
    monkeypatch.setattr(fasta, "BLOCK_BYTES", block_bytes)
    assert "line 2: letter '>'" in refusal(write(tmp_path / "x.fa", ">a\nAC>b\nAC\n"))


def test_an_endless_header_is_refused(tmp_path):
    assert "line 1: header of more than" in refusal(write(tmp_path / "x.fa", b">" + b"\x01" * (3 << 20)))


def test_a_name_used_twice_is_refused_with_both_places(tmp_path):
    message = refusal(write(tmp_path / "x.fa", ">a x\nAC\n>b\nAC\n>a y\nAC\n"))
    assert "line 5: a second record is named a; the first is at line 1 of" in message


def test_a_name_used_in_two_files_is_refused_with_both_places(tmp_path):
    one, two = write(tmp_path / "1.fa", ">a\nAC\n>b\nAC\n"), write(tmp_path / "2.fa", "\n>c\nG\n>b\nC\n")
    with pytest.raises(InputError) as caught:
        list(read_pieces([one, two]))
    assert str(caught.value).startswith(f"{two}: line 4: a second record is named b; the first is at line 3 of {one}")


@pytest.mark.parametrize(
    "name",
    ["arabidopsis/A.thaliana.fa.gz", "human/hg38_chr2_1-2333275.fa.gz", "small/NiV_6_Malaysia.fasta.gz"],
)
def test_real_genomes_equal_a_plain_parser(shared_data, name):
    path = shared_data / "genomes" / name
    expected = []
    for part in gzip.decompress(path.read_bytes()).decode().split(">")[1:]:
        header, *lines = part.splitlines()
        expected.append((header.split()[0], "".join(lines)))
    assert read(path) == expected
