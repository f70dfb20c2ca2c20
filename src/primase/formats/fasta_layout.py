"""A FASTA text taken apart without loss: its A, C, G and T, and everything else.

What a language model can predict goes into one array of upper-case letters. Names, case, line ends, runs of N, blank
lines and whatever else there is go into a side stream, from which `join_fasta` gives back every byte as it was.
"""

import lzma
import struct

import numpy as np

from primase import dna
from primase.errors import InputError

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_NAME_LINES = b">;"
"""Lines that begin with these are names and comments: none of their letters is a base."""
_LENGTHS = struct.Struct("<3Q")
_LZMA_DICTIONARY_BYTES = (2**12, 2**23)
"""Least and most; memory is taken for all of it, however short the text."""
_VARINT_BITS = 7

_IS_LETTER = np.zeros(256, bool)
_IS_LETTER[np.frombuffer(dna.ACGT + dna.ACGT.lower(), np.uint8)] = True
_CASE_BIT = np.uint8(ord("a") - ord("A"))


def is_fasta(text: bytes) -> bool:
    """Whether the first letter that is not blank is `>` or, as in old files, `;`."""
    return text.removeprefix(_BYTE_ORDER_MARK).lstrip()[:1] in (b">", b";")


def split_fasta(text: bytes) -> tuple[np.ndarray, bytes]:
    """Letters uint8 ASCII [bases], A, C, G and T in upper case, of all records joined; and the packed side stream.

    Lossless for any bytes: what is no letter of a sequence line is kept literally.
    """
    content = np.frombuffer(text, np.uint8)
    is_letter = _IS_LETTER[content] & ~_in_name_line(content)
    letters = content[is_letter]
    literals = content[~is_letter].tobytes()
    runs = _varints(_run_lengths(is_letter))
    cases = _varints(_run_lengths(dna.is_soft_masked(letters)))
    packed = _LENGTHS.pack(len(runs), len(cases), len(literals)) + runs + cases + literals
    least, most = _LZMA_DICTIONARY_BYTES
    lzma1 = {"id": lzma.FILTER_LZMA1, "dict_size": min(max(len(packed), least), most)}
    return letters & ~_CASE_BIT, lzma.compress(packed, format=lzma.FORMAT_ALONE, filters=[lzma1])


def join_fasta(letters: np.ndarray, side: bytes) -> bytes:
    """The text of which `split_fasta` made these letters (uint8 [bases]) and this side stream.

    Raises InputError where the two do not belong together.
    """
    try:
        packed = lzma.decompress(side, format=lzma.FORMAT_ALONE)
        lengths = _LENGTHS.unpack_from(packed)
    except (lzma.LZMAError, struct.error) as error:
        raise InputError(f"the side stream of the sequence is damaged ({error}); copy the file again") from None
    ends = _LENGTHS.size + np.cumsum(lengths)
    runs = _from_varints(packed[_LENGTHS.size : ends[0]])
    cases = _from_varints(packed[ends[0] : ends[1]])
    literals = np.frombuffer(packed[ends[1] : ends[2]], np.uint8)
    if runs[1::2].sum() != len(letters) or cases.sum() != len(letters) or runs[::2].sum() != len(literals):
        raise InputError(f"the side stream belongs to a sequence of {runs[1::2].sum():,} bases, not {len(letters):,}")
    is_letter, is_lower = (np.repeat(np.arange(len(lengths)) % 2 == 1, lengths) for lengths in (runs, cases))
    content = np.empty(len(is_letter), np.uint8)
    content[~is_letter] = literals
    content[is_letter] = letters | (is_lower * _CASE_BIT)
    return content.tobytes()


def _in_name_line(content: np.ndarray) -> np.ndarray:
    """bool [bytes]: True in lines of names and comments, their ends (line feeds, old carriage returns) left out."""
    feeds = np.flatnonzero((content == ord("\n")) | (content == ord("\r")))
    mark = len(_BYTE_ORDER_MARK) if content[:3].tobytes() == _BYTE_ORDER_MARK else 0
    starts, ends = np.r_[mark, feeds + 1], np.r_[feeds, len(content)]
    starts, ends = starts[starts < ends], ends[starts < ends]
    is_name = np.isin(content[starts], np.frombuffer(_NAME_LINES, np.uint8))
    steps = np.zeros(len(content) + 1, np.int8)
    steps[starts[is_name]] += 1
    steps[ends[is_name]] -= 1
    return np.cumsum(steps[:-1], dtype=np.int8).view(bool)


def _run_lengths(flags: np.ndarray) -> np.ndarray:
    """int64: lengths of the runs of False, True, False, … in turn; the first is 0 where `flags` begins with True."""
    if not len(flags):
        return np.zeros(0, np.int64)
    edges = np.flatnonzero(flags[1:] != flags[:-1]) + 1
    lengths = np.diff(np.r_[0, edges, len(flags)])
    return np.r_[0, lengths] if flags[0] else lengths


def _varints(values: np.ndarray) -> bytes:
    """Each value (int64, 0 or more) in groups of seven bits, the lowest first; the high bit says that more follow."""
    sizes = np.ones(len(values), np.int64)
    for size in range(1, 9):
        sizes += values >> (_VARINT_BITS * size) > 0
    out = np.empty(sizes.sum(), np.uint8)
    starts = np.cumsum(sizes) - sizes
    for place in range(sizes.max(initial=0)):
        has = sizes > place
        group = (values[has] >> (_VARINT_BITS * place)) & 0x7F
        out[starts[has] + place] = group | np.where(sizes[has] > place + 1, 0x80, 0)
    return out.tobytes()


def _from_varints(data: bytes) -> np.ndarray:
    groups = np.frombuffer(data, np.uint8).astype(np.int64)
    ends = np.flatnonzero(groups < 0x80) + 1
    if not len(ends):
        return np.zeros(0, np.int64)
    starts = np.r_[0, ends[:-1]]
    places = np.arange(ends[-1]) - np.repeat(starts, ends - starts)
    return np.add.reduceat((groups[: ends[-1]] & 0x7F) << (_VARINT_BITS * places), starts)
