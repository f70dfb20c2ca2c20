"""dna.py against answers written by hand, letter by letter."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from primase import dna

ALL_BYTES = np.arange(256, dtype=np.uint8)
# Each code and the set of bases that it stands for: the definition from which complements follow.
MEANING = {
    "A": "A", "C": "C", "G": "G", "T": "T", "R": "AG", "Y": "CT", "S": "CG", "W": "AT", "K": "GT", "M": "AC",
    "B": "CGT", "D": "AGT", "H": "ACT", "V": "ACG", "N": "ACGT",
}  # fmt: skip


def letters(text: str) -> np.ndarray:
    return np.frombuffer(text.encode("ascii"), np.uint8)


def test_alphabets_hold_each_code_once():
    assert sorted(dna.IUPAC.decode()) == sorted([*MEANING, "U"])
    assert set(dna.AMBIGUITY_CODES.decode()) == {code for code, bases in MEANING.items() if len(bases) > 1}


def test_codes_of_every_byte():
    expected = [{"a": 0, "c": 1, "g": 2, "t": 3, "u": 3}.get(chr(byte).lower(), 4) for byte in range(128)]
    assert dna.codes(ALL_BYTES).tolist() == expected + [4] * 128


def test_codes_take_bytes_and_keep_the_shape():
    assert dna.codes(b"ACGTUNacgtun-").tolist() == [0, 1, 2, 3, 3, 4, 0, 1, 2, 3, 3, 4, 4]
    assert dna.codes(letters("ACGT").reshape(2, 2)).tolist() == [[0, 1], [2, 3]]
    assert dna.codes(b"").shape == (0,)
    assert dna.codes(letters("AxCxGxTx")[::2]).tolist() == [0, 1, 2, 3]


def test_the_result_is_a_new_writable_array():
    bases = letters("ACGT").copy()
    result = dna.to_acgtn(bases)
    result[:] = 0
    assert bases.tobytes() == b"ACGT"


@pytest.mark.parametrize("wrong", ["ACGT", np.array([65, 67]), [65, 67]])
def test_codes_refuse_what_is_no_array_of_bytes(wrong):
    with pytest.raises(TypeError, match="uint8"):
        dna.codes(wrong)


def test_masks_of_every_byte():
    text = [chr(byte) for byte in range(128)]
    assert dna.is_acgt(ALL_BYTES).tolist() == [c in "ACGTUacgtu" for c in text] + [False] * 128
    assert dna.is_soft_masked(ALL_BYTES).tolist() == ["a" <= c <= "z" for c in text] + [False] * 128
    assert dna.is_iupac(ALL_BYTES).tolist() == [c.upper() in {*MEANING, "U"} for c in text] + [False] * 128
    assert dna.is_acgt(ALL_BYTES).dtype == bool


def test_to_acgtn_keeps_case_and_turns_ambiguity_into_n():
    assert dna.to_acgtn(b"ACGTUacgtuRYSWKMBDHVNryswkmbdhvn").tobytes() == b"ACGTTacgttNNNNNNNNNNNnnnnnnnnnnn"
    assert set(dna.to_acgtn(ALL_BYTES).tobytes()) == set(b"ACGTNacgtn")


@pytest.mark.parametrize("code", MEANING)
def test_the_complement_of_a_code_stands_for_the_complements_of_its_bases(code):
    complement_of_base = dict(zip("ACGT", "TGCA", strict=True))
    expected = {complement_of_base[base] for base in MEANING[code]}
    assert set(MEANING[dna.reverse_complement(code)]) == expected
    assert dna.reverse_complement(code.lower()) == dna.reverse_complement(code).lower()


def test_reverse_complement_of_each_type():
    assert dna.reverse_complement("AACgtNRu") == "aYNacGTT"
    assert dna.reverse_complement(b"AACgtNRu") == b"aYNacGTT"
    array = dna.reverse_complement(letters("AACgtNRu"))
    assert array.dtype == np.uint8 and array.flags.c_contiguous and array.tobytes() == b"aYNacGTT"
    assert dna.reverse_complement("") == ""


@given(st.text(alphabet="ACGTRYSWKMBDHVNacgtryswkmbdhvn-"))
def test_reverse_complement_twice_is_the_sequence(text):
    assert dna.reverse_complement(dna.reverse_complement(text)) == text
    assert dna.reverse_complement(letters(text)).tobytes().decode() == dna.reverse_complement(text)
