"""Changes of a genome: what an allele does to the reference, wherever a file has put it, and random ones beside it.

In a repeat the same insertion or deletion can be written at several places. A change is widened over all of them, so
that its score does not depend on which one the file chose, nor on the strand.
"""

from typing import NamedTuple
from zlib import crc32

import numpy as np

from primase import dna
from primase.formats import Genome


class Change(NamedTuple):
    """The letters from `start` to `end` of a record (0-based, half-open, forward strand) give way to others."""

    record: str
    start: int
    end: int
    letters: bytes

    def on_other_strand(self, record_bases: int) -> "Change":
        """The same, in places and letters of the reverse complement."""
        letters = dna.reverse_complement(self.letters)
        return Change(self.record, record_bases - self.end, record_bases - self.start, letters)


def change_of(genome: Genome, record: str, start: int, ref: bytes, alt: bytes, most_bases: int) -> Change:
    """What `alt` in the place of `ref` changes: trimmed of what both share, then widened over a repeat.

    The widened stretch has at most `most_bases`.
    """
    ref, alt = ref.upper(), alt.upper()
    start, ref, alt = trim(start, ref, alt)
    if not ref or not alt:
        return _widened(genome, record, start, ref, alt, most_bases)
    return Change(record, start, start + len(ref), alt)


def trim(start: int, ref: bytes, alt: bytes) -> tuple[int, bytes, bytes]:
    """The alleles without the letters that both end and then begin with."""
    shared = 0
    while shared < min(len(ref), len(alt)) and ref[-1 - shared] == alt[-1 - shared]:
        shared += 1
    ref, alt = ref[: len(ref) - shared], alt[: len(alt) - shared]
    shared = 0
    while shared < min(len(ref), len(alt)) and ref[shared] == alt[shared]:
        shared += 1
    return start + shared, ref[shared:], alt[shared:]


def _widened(genome: Genome, record: str, start: int, ref: bytes, alt: bytes, most_bases: int) -> Change:
    """A pure insertion or deletion over all places where it could as well be written."""
    unit = ref or alt
    if not unit:  # REF and ALT are the same
        return Change(record, start, start, b"")
    room = max(most_bases - len(ref), 0)
    before = genome.bases(record, start - room, start).tobytes().upper()
    after = genome.bases(record, start + len(ref), start + len(ref) + room).tobytes().upper()
    left = right = 0
    # Moved by one to the left, the unit is turned by one letter; so it goes as long as the letters agree.
    while left < len(before) and before[-1 - left] == unit[-1 - left % len(unit)]:
        left += 1
    while left + right < room and right < len(after) and after[right] == unit[right % len(unit)]:
        right += 1
    letters = before[len(before) - left :] + alt + after[:right]
    return Change(record, start - left, start + len(ref) + right, letters)


def random_likes(
    genome: Genome, record: str, start: int, ref: bytes, alt: bytes, *, count: int, near_bases: int, most_bases: int
) -> list[Change]:
    """Changes of the same lengths at random places within `near_bases`, with letters copied from nearby as well.

    As many bases are taken out, and as many are put in, copied from another random place: so the composition is that of
    the neighbourhood. The draw depends on nothing but the variant, wherever a file has put it. Fewer than `count`, or
    none, where there are no A, C, G, T to copy.
    """
    own = change_of(genome, record, start, ref, alt, most_bases)
    _, ref, alt = trim(start, ref.upper(), alt.upper())
    draw = np.random.default_rng(crc32(f"{record}:{own.start}-{own.end}>{own.letters.decode()}".encode()))
    begin = max(own.start - near_bases, 0)
    letters = genome.bases(record, begin, own.end + near_bases).tobytes().upper()
    places = len(letters) - max(len(ref), len(alt)) + 1
    found: list[Change] = []
    for _ in range(4 * count):  # the variant itself, what changes nothing, and stretches with N, are drawn again
        if places < 1 or len(found) == count:
            break
        place, source = (int(number) for number in draw.integers(places, size=2))
        old, new = letters[place : place + len(ref)], letters[source : source + len(alt)]
        if old == new or (old + new).translate(None, dna.ACGT):
            continue
        change = change_of(genome, record, begin + place, old, new, most_bases)
        if change != own:
            found.append(change)
    return found
