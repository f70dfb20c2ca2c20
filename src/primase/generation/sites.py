"""Sites that must not occur: patterns of IUPAC codes on both strands, followed base by base by an automaton."""

from collections.abc import Sequence

from primase import dna
from primase.errors import InputError
from primase.generation.enzymes import SITES

ANY_BASE = 15
"""All four bits: A 1, C 2, G 4, T 8."""

_BASES_OF = {
    "A": "A", "C": "C", "G": "G", "T": "T", "U": "T", "R": "AG", "Y": "CT", "S": "CG", "W": "AT", "K": "GT",
    "M": "AC", "B": "CGT", "D": "AGT", "H": "ACT", "V": "ACG", "N": "ACGT",
}  # fmt: skip


def base_sets(text: str, what: str) -> bytes:
    """One byte a letter: the set of bases that its IUPAC code stands for, as bits. Raises InputError for others."""
    sets = bytearray()
    for letter in text.upper():
        if letter not in _BASES_OF:
            raise InputError(f"{what} {text[:40]!r}: letter {letter!r} is no IUPAC nucleotide code; correct it")
        sets.append(sum(1 << "ACGT".index(base) for base in _BASES_OF[letter]))
    return bytes(sets)


class ForbiddenSites:
    """A non-deterministic automaton in one integer (shift-and: Baeza-Yates and Gonnet 1992).

    A state has one bit for each place in each pattern that the last bases have reached; 0 is the start.
    """

    def __init__(self, sites: Sequence[str] = ()) -> None:
        """`sites`: names of enzymes or sequences of IUPAC codes. Raises InputError for neither."""
        patterns: dict[bytes, str] = {}
        for site in sites:
            sequence = _sequence(site)
            for strand in (sequence, dna.reverse_complement(sequence)):
                patterns.setdefault(base_sets(strand, "site"), site)
        self.longest = max(map(len, patterns), default=0)
        self._accepts = [0, 0, 0, 0]
        self._starts = 0
        self._site_at_end: dict[int, str] = {}
        bit = 1
        for pattern, site in patterns.items():
            self._starts |= bit
            for bases in pattern:
                for code in range(4):
                    if bases >> code & 1:
                        self._accepts[code] |= bit
                bit <<= 1
            self._site_at_end[bit >> 1] = site
        self._ends = sum(self._site_at_end)

    def __bool__(self) -> bool:
        return bool(self._site_at_end)

    def step(self, state: int, code: int) -> int:
        """The state after one more base (0 to 3), or -1 where a site is complete with it."""
        state = (state << 1 | self._starts) & self._accepts[code]
        return -1 if state & self._ends else state

    def read(self, state: int, codes: Sequence[int]) -> int:
        """The state after more bases, or -1 where a site is complete within them."""
        for code in codes:
            state = self.step(state, code)
            if state < 0:
                return -1
        return state

    def first_in(self, sequence: bytes) -> str | None:
        """The site that is complete first in a sequence of A, C, G, T, as the user named it; None where none is."""
        state = 0
        for code in dna.codes(sequence).tolist():
            state = (state << 1 | self._starts) & self._accepts[code]
            for end, site in self._site_at_end.items():
                if state & end:
                    return site
        return None


def _sequence(site: str) -> str:
    by_name = {name.upper(): sequence for name, sequence in SITES.items()}
    sequence = by_name.get(site.upper(), site.upper())
    if not sequence or any(letter not in _BASES_OF for letter in sequence):
        raise InputError(
            f"site {site!r}: neither an enzyme that Primase knows nor a sequence of IUPAC codes; give the sequence "
            f"of its site (known: {', '.join(sorted(SITES))})"
        )
    if set(sequence) == {"N"}:
        raise InputError(f"site {site!r}: stands for every sequence; name a base in it")
    return sequence
