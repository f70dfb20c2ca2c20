"""The DNA alphabet: codes, complement, soft mask and ambiguity codes.

Pure functions on ASCII letters, the bottom of the package. An array of letters is uint8, of any shape, and is
never changed in place.
"""

from typing import TypeVar

import numpy as np

ACGT = b"ACGT"
AMBIGUITY_CODES = b"RYSWKMBDHVN"
IUPAC = ACGT + b"U" + AMBIGUITY_CODES
"""The upper-case nucleotide codes of IUPAC-IUB (1984), gaps left out."""
IUPAC_COMPLEMENT = b"TGCA" + b"A" + b"YRSWMKVHDBN"
"""Complements of `IUPAC`, letter by letter."""

UNKNOWN_CODE = 4
"""What `codes` gives for every letter that is not A, C, G, T or U."""

Letters = TypeVar("Letters", str, bytes, np.ndarray)

_CODE_OF = bytearray([UNKNOWN_CODE]) * 256
for _code, _letters in enumerate((b"Aa", b"Cc", b"Gg", b"TtUu")):
    for _letter in _letters:
        _CODE_OF[_letter] = _code
_IS_ACGT = bytes(code < UNKNOWN_CODE for code in _CODE_OF)
_IS_LOWER = bytes(ord("a") <= letter <= ord("z") for letter in range(256))
_IS_IUPAC = bytes(letter in IUPAC + IUPAC.lower() for letter in range(256))
_ACGTN_OF = bytes.maketrans(
    bytes(range(256)),
    bytes(
        ord("ACGTN"[code]) + (ord("a") - ord("A") if lower else 0)
        for code, lower in zip(_CODE_OF, _IS_LOWER, strict=True)
    ),
)
_COMPLEMENT_OF = bytes.maketrans(IUPAC + IUPAC.lower(), IUPAC_COMPLEMENT + IUPAC_COMPLEMENT.lower())
_COMPLEMENT_OF_TEXT = str.maketrans(
    (IUPAC + IUPAC.lower()).decode(), (IUPAC_COMPLEMENT + IUPAC_COMPLEMENT.lower()).decode()
)


def codes(bases: np.ndarray | bytes) -> np.ndarray:
    """A 0, C 1, G 2, T and U 3, everything else 4; the case is ignored. uint8, of the shape of `bases`."""
    return _look_up(bases, _CODE_OF)


def is_acgt(bases: np.ndarray | bytes) -> np.ndarray:
    """True where `codes` is below 4: A, C, G, T or U in either case."""
    return _look_up(bases, _IS_ACGT).view(bool)


def is_iupac(bases: np.ndarray | bytes) -> np.ndarray:
    """True where the letter is a nucleotide code of IUPAC, in either case; gaps are none."""
    return _look_up(bases, _IS_IUPAC).view(bool)


def is_soft_masked(bases: np.ndarray | bytes) -> np.ndarray:
    """True where the letter is lower case, by which genome browsers mark repeats."""
    return _look_up(bases, _IS_LOWER).view(bool)


def to_acgtn(bases: np.ndarray | bytes) -> np.ndarray:
    """The letters with U as T and all but A, C, G, T as N; the case is kept."""
    return _look_up(bases, _ACGTN_OF)


def reverse_complement(sequence: Letters) -> Letters:
    """The other strand, read 5' to 3', in the type that was given.

    The case is kept, IUPAC codes are complemented (U becomes A), other letters stay. An array has the shape
    (bases,). Raises TypeError for anything but str, bytes and uint8 arrays.
    """
    if isinstance(sequence, str):
        return sequence.translate(_COMPLEMENT_OF_TEXT)[::-1]
    if isinstance(sequence, bytes):
        return sequence.translate(_COMPLEMENT_OF)[::-1]
    return np.ascontiguousarray(_look_up(sequence, _COMPLEMENT_OF)[::-1])


def _look_up(bases: np.ndarray | bytes, table: bytes | bytearray) -> np.ndarray:
    """`table[bases]` as a new array; bytes.translate is faster than numpy, which makes 64-bit indices."""
    if isinstance(bases, bytes):
        return np.frombuffer(bytearray(bases).translate(table), np.uint8)
    if not isinstance(bases, np.ndarray) or bases.dtype != np.uint8:
        raise TypeError(f"bases must be bytes or an array of uint8, not {getattr(bases, 'dtype', type(bases))}")
    return np.frombuffer(bytearray(bases.tobytes()).translate(table), np.uint8).reshape(bases.shape)
