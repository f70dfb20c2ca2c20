"""FASTA, streamed: a binary stream in, pieces of records out, in memory that does not grow with the records.

Opening files is the business of `opening`; here is only the grammar, and what is said when it is broken.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np

from primase import dna
from primase.errors import InputError
from primase.formats.names import name_of

BLOCK_BYTES = 1 << 22
MAX_HEADER_BYTES = 1 << 20

_BLANKS = b" \t\r\n"
_LETTERS = dna.IUPAC + dna.IUPAC.lower()
_ONLY_IN_PROTEINS = frozenset(b"EFILPQefilpq")


@dataclass(frozen=True, slots=True)
class Piece:
    """A contiguous stretch of a record, at least one base long.

    `source` is the file, `record` the record's name, `start` the 0-based place of the first base in the
    record, `bases` uint8 ASCII of shape (bases,), read-only, with case and IUPAC codes as in the file. `last`
    marks the record's last piece. The pieces of a record come in order, those of two records are not mixed.
    """

    source: str
    record: str
    start: int
    bases: np.ndarray
    last: bool


class RecordNames:
    """The names seen so far in all FASTA sources, to refuse a second use; takes about 200 bytes a record."""

    def __init__(self) -> None:
        self._sources: list[str] = []
        self._place_of: dict[str, tuple[int, int]] = {}

    def enter(self, source: str) -> None:
        """From now on names come from `source`."""
        self._sources.append(source)

    def add(self, name: str, line: int) -> None:
        """Raises InputError, with both places, where the name was used before."""
        place = (len(self._sources) - 1, line)
        first_source, first_line = self._place_of.setdefault(name, place)
        if (first_source, first_line) != place:
            raise InputError(
                f"{self._sources[-1]}: line {line}: a second record is named {name}; the first is at line "
                f"{first_line} of {self._sources[first_source]}: rename one, or leave one out"
            )


def read_fasta(stream: BinaryIO, source: str, names: RecordNames, piece_bases: int) -> Iterator[Piece]:
    """The records of a FASTA stream in pieces of `piece_bases`; a record's last piece may be shorter.

    A record's name is the first word of its header. Blanks, blank lines and CR LF line ends are passed over.
    Raises InputError, with the line, for all that is not FASTA of nucleotides, and for names that `names`
    has already.
    """
    names.enter(source)
    name, name_line, start = None, 0, 0
    pending = np.empty(0, np.uint8)

    def last_piece() -> Piece:
        if not len(pending):
            raise InputError(f"{source}: line {name_line}: record {name} has no bases; complete it or remove it")
        return Piece(source, name, start, pending, True)

    for line, is_header, content in _spans(stream, source):
        if is_header:
            if name is not None:
                yield last_piece()
            name, name_line, start = _name(content, line, source), line, 0
            pending = np.empty(0, np.uint8)
            names.add(name, line)
            continue
        if name is None and content.strip():
            line += content[: -len(content.lstrip())].count(b"\n")
            raise InputError(f"{source}: line {line}: text before the first header; FASTA begins with a line >name")
        bases = _bases(content, line, source)
        if not len(bases):
            continue
        pending = np.concatenate([pending, bases]) if len(pending) else bases
        # A full piece waits until a further base is there: only then it is known not to be the last.
        while len(pending) > piece_bases:
            yield Piece(source, name, start, pending[:piece_bases], False)
            pending, start = pending[piece_bases:], start + piece_bases
    if name is None:
        raise InputError(f"{source}: the file is empty; give a FASTA file with at least one record")
    yield last_piece()


def wrong_letter(letters: bytes) -> str | None:
    """What is wrong with the first letter that is no IUPAC code, and the remedy; None if all are codes."""
    wrong = letters.translate(None, _LETTERS)
    if not wrong:
        return None
    letter = wrong[0]
    if letter <= ord(" ") or letter > ord("~"):
        return f"byte 0x{letter:02x} is no letter; the file is damaged, binary or not plain text"
    complaint = f"letter {chr(letter)!r} is no IUPAC nucleotide code"
    if not _ONLY_IN_PROTEINS.isdisjoint(wrong):
        return f"{complaint}: this looks like protein, and Primase reads DNA; give the nucleotide sequences"
    if letter == ord("-"):
        return f"{complaint}: Primase reads unaligned sequences; remove the gaps"
    return f"{complaint}; correct it, or write N for an unknown base"


def _spans(stream: BinaryIO, source: str) -> Iterator[tuple[int, bool, bytes]]:
    """The stream as (number of the first line, whether it is a header, content).

    A header is whole and comes without its `>` and its line end. A stretch of sequence lines ends at the next
    header or at the end of a block, so a line may be cut in two.
    """
    rest, line, at_line_start = b"", 1, True
    while block := stream.read(BLOCK_BYTES):
        data, position = rest + block, 0
        while position < len(data):
            if at_line_start and data[position] == ord(">"):
                end = data.find(b"\n", position)
                if end < 0:
                    break
                yield line, True, data[position + 1 : end]
                line, position = line + 1, end + 1
            else:
                end = _next_header(data, position)
                content = data[position:end]
                yield line, False, content
                line, position = line + np.count_nonzero(np.frombuffer(content, np.uint8) == ord("\n")), end
            at_line_start = data[position - 1] == ord("\n")
        rest = data[position:]
        if len(rest) > MAX_HEADER_BYTES:
            raise InputError(
                f"{source}: line {line}: header of more than {MAX_HEADER_BYTES:,} bytes; is this FASTA text?"
            )
    if rest:
        yield line, True, rest[1:]


def _next_header(data: bytes, position: int) -> int:
    """Where the next header begins after `position`, or the end of the data.

    One letter is looked for and not two: `find` passes over single bytes thirty times as fast.
    """
    while (position := data.find(b">", position + 1)) >= 0:
        if data[position - 1] == ord("\n"):
            return position
    return len(data)


def _name(header: bytes, line: int, source: str) -> str:
    words = header.split(maxsplit=1)
    if not words:
        raise InputError(f"{source}: line {line}: header without a name; write >name")
    if b"\r" in header.rstrip():
        raise InputError(
            f"{source}: line {line}: lines end in a lone carriage return; convert them with tr '\\r' '\\n'"
        )
    return name_of(words[0])


def _bases(content: bytes, line: int, source: str) -> np.ndarray:
    bases = content.translate(None, _BLANKS)
    complaint = wrong_letter(bases)
    if complaint:
        first_wrong = content.index(bases.translate(None, _LETTERS)[:1])
        line += content.count(b"\n", 0, first_wrong)
        raise InputError(f"{source}: line {line}: {complaint}")
    return np.frombuffer(bases, np.uint8)
