"""A FASTA text taken apart and put together: every byte comes back, and the letters are those of the records."""

import gzip

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from primase.errors import InputError, MissingFileError
from primase.formats import join_fasta, read_fasta_text, read_pieces, split_fasta

LINES = st.lists(
    st.one_of(
        st.binary(max_size=12),
        st.text("ACGT", max_size=20).map(str.encode),
        st.text("ACGTacgtNnUuRY-* .", max_size=20).map(str.encode),
        st.text("ACGTacgt |;>", max_size=12).map(lambda name: b">" + name.encode()),
        st.just(b"; a comment with ACGT"),
    ),
    max_size=12,
)
LINE_ENDS = st.sampled_from([b"\n", b"\r\n", b"\n\n", b"\r"])


@given(lines=LINES, line_end=LINE_ENDS, end=st.sampled_from([b"", b"\n", b"\r\n", b"\n\n "]), mark=st.booleans())
@settings(deadline=None, max_examples=150)
def test_every_byte_comes_back(lines, line_end, end, mark):
    text = (b"\xef\xbb\xbf" if mark else b"") + line_end.join(lines) + end
    letters, side = split_fasta(text)
    assert join_fasta(letters, side) == text
    assert set(letters.tobytes()) <= set(b"ACGT")


@pytest.mark.parametrize(
    ("text", "letters"),
    [
        (b"", b""),
        (b">chr1 ACGT\nACgt\nNNac\n", b"ACGTAC"),
        (b">chr1\r\nAC\r\nGT\r\n", b"ACGT"),
        (b">chr1 AC\rAC\rGT\r>chr2\rTT", b"ACGTTT"),
        (b"\n\n>a\nA\n>empty\n>b\nC-*UT", b"ACT"),
        (b"; ACGT\n>a\nA;C\nG>T\n", b"ACGT"),
        (b"\xef\xbb\xbf>CAT\nG\n", b"G"),
        (b">name without an end ACGT", b""),
    ],
)
def test_the_letters_are_those_of_sequence_lines(text, letters):
    found, side = split_fasta(text)
    assert found.tobytes() == letters and join_fasta(found, side) == text


def test_what_is_regular_takes_no_space():
    bases = np.random.default_rng(0).choice(np.frombuffer(b"ACGT", np.uint8), 60_000).tobytes()
    lines = [bases[start : start + 60] for start in range(0, len(bases), 60)]
    text = b">chr1 a name\n" + b"\n".join([*lines, *[b"N" * 60] * 1000]) + b"\n"
    _, side = split_fasta(text)
    assert len(side) < 250


def test_letters_that_do_not_belong_to_the_side_stream_are_refused():
    letters, side = split_fasta(b">a\nACGT\n")
    with pytest.raises(InputError, match="belongs to a sequence of 4 bases, not 3"):
        join_fasta(letters[:3], side)
    with pytest.raises(InputError, match="side stream of the sequence is damaged"):
        join_fasta(letters, b"nothing")


def test_gzip_is_opened_and_other_files_are_refused(tmp_path):
    text = b"\xef\xbb\xbf>a\nAC\n"
    (tmp_path / "plain.fa").write_bytes(text)
    (tmp_path / "packed").write_bytes(gzip.compress(text))
    assert read_fasta_text(tmp_path / "plain.fa") == (text, False)
    assert read_fasta_text(tmp_path / "packed") == (text, True)
    (tmp_path / "table.fa").write_bytes(b"sequence\nACGT\n")
    (tmp_path / "empty.fa").write_bytes(b"")
    (tmp_path / "archive.fa").write_bytes(b"PK\x03\x04")
    (tmp_path / "cut.fa.gz").write_bytes(gzip.compress(text)[:-9])
    for name, message in {
        "table.fa": "does not begin with >",
        "empty.fa": "does not begin with >",
        "archive.fa": "a zip archive",
        "cut.fa.gz": "truncated",
        ".": "a folder; name the file in it",
    }.items():
        with pytest.raises(InputError, match=message):
            read_fasta_text(tmp_path / name)
    with pytest.raises(MissingFileError, match=r"absent\.fa: no such file"):
        read_fasta_text(tmp_path / "absent.fa")


@pytest.mark.data
@pytest.mark.parametrize("name", ["arabidopsis/A.thaliana.fa.gz", "human/hg38_chr2_1-2333275.fa.gz"])
def test_real_genomes(shared_data, name):
    file = shared_data / "genomes" / name
    text, is_gzip = read_fasta_text(file)
    letters, side = split_fasta(text)
    pieces = b"".join(piece.bases.tobytes() for piece in read_pieces(file))
    assert letters.tobytes() == pieces.upper().translate(None, b"NKYSRWMBDHV")
    assert is_gzip and join_fasta(letters, side) == text
    assert len(side) < len(text) / 300
