"""What every sequence must be like, and the plan of a single one: which bases each of its places may hold."""

from dataclasses import dataclass

import numpy as np

from primase import dna
from primase.errors import InputError
from primase.generation.sites import ANY_BASE, ForbiddenSites, base_sets
from primase.sequence_encoder import SequenceEncoder

_GC_BITS = 0b0110


@dataclass(frozen=True)
class Plan:
    """One sequence before it is drawn. It is written as `given`, the bases of `sets` up to `end`, `right_flank`."""

    given: bytes
    """What the model reads first: whole tokens of left flank and prompt."""
    sets: np.ndarray
    """uint8 [places]: the bases that each place may hold, as bits. First what of the prompt fills no k-mer, then the
    drawn bases, then as much of the right flank as a token or a site can reach."""
    first_drawn: int
    end: int
    """Place behind the last drawn base."""
    right_flank: bytes
    motif_start: int | None
    """0-based, in the sequence as it is written."""

    @property
    def bases(self) -> int:
        """Of the whole sequence."""
        return len(self.given) + self.end + len(self.right_flank)


@dataclass(frozen=True)
class Constraints:
    """Conditions on the sequences, checked as far as they can be before anything is drawn."""

    bases: int
    """To be drawn, the motif included."""
    gc: tuple[float, float] | None
    sites: ForbiddenSites
    motif: bytes
    """One set of bases a place; empty for none."""
    motif_at: int | None
    """0-based, counted from the first drawn base; None where it is drawn as well."""
    left_flank: bytes
    right_flank: bytes

    @classmethod
    def checked(
        cls,
        bases: int,
        *,
        gc: tuple[float, float] | None,
        forbid: tuple[str, ...],
        motif: str | None,
        motif_at: int | None,
        left_flank: str,
        right_flank: str,
    ) -> "Constraints":
        """Raises InputError where a value cannot be used, or two exclude each other."""
        if bases < 1:
            raise InputError(f"bases {bases}: draw 1 or more")
        if gc is not None and not 0 <= gc[0] <= gc[1] <= 1:
            raise InputError(f"GC range {gc[0]:g} to {gc[1]:g}: give two shares between 0 and 1, the smaller one first")
        sets = base_sets(motif, "motif") if motif else b""
        if motif_at is not None and not sets:
            raise InputError("a place for a motif, and no motif: give the motif too")
        if len(sets) > bases or not 0 <= (motif_at or 0) <= bases - len(sets):
            raise InputError(
                f"a motif of {len(sets):,} bases{'' if motif_at is None else f' at {motif_at:,}'} does not fit into "
                f"{bases:,} drawn bases; draw more, or place it elsewhere"
            )
        sites = ForbiddenSites(forbid)
        left, right = only_bases(left_flank, "left flank"), only_bases(right_flank, "right flank")
        fixed = [("right flank", right)]
        if sets and all(bits in (1, 2, 4, 8) for bits in sets):
            fixed.append(("motif", only_bases(motif, "motif")))
        for what, text in fixed:
            _refuse_site(sites, text, what)
        return cls(bases, gc, sites, sets, motif_at, left, right)

    def check_prompt(self, prompt: bytes) -> None:
        """Raises InputError where the prompt already breaks a condition."""
        _refuse_site(self.sites, self.left_flank + prompt, "left flank and prompt")
        if self.gc is None:
            return
        fixed = self.left_flank + prompt + self.right_flank
        total = len(fixed) + self.bases
        low, high = self.gc_counts(total)
        asked = f"GC range {self.gc[0]:g} to {self.gc[1]:g}"
        if low > high:
            raise InputError(f"{asked}: no number of G and C in {total:,} bases is in it; widen the range")
        certain = _gc(fixed) + sum(not bits & ~_GC_BITS for bits in self.motif)
        possible = _gc(fixed) + self.bases - sum(not bits & _GC_BITS for bits in self.motif)
        if certain > high or possible < low:
            raise InputError(
                f"{asked}: flanks, prompt and motif leave {certain / total:.3f} to {possible / total:.3f} of the "
                f"{total:,} bases; widen the range, or draw more bases"
            )

    def gc_counts(self, total_bases: int) -> tuple[int, int]:
        """The fewest and the most G and C that a sequence of so many bases may have."""
        low, high = self.gc or (0.0, 1.0)
        return int(np.ceil(low * total_bases - 1e-9)), int(np.floor(high * total_bases + 1e-9))

    def plan(self, prompt: bytes, encoder: SequenceEncoder, longest_token: int, stream: np.random.Generator) -> Plan:
        """A plan for one sequence; where the motif's place is not given, `stream` draws it, each alike likely."""
        before = self.left_flank + prompt
        rest = len(before) % encoder.regular_k if encoder.regular_k else 0
        reached = self.right_flank[: max(longest_token - 1, self.sites.longest - 1)]
        places = [1 << dna.codes(text).astype(np.uint8) for text in (before[len(before) - rest :], reached)]
        drawn = np.full(self.bases, ANY_BASE, np.uint8)
        motif_start = None
        if self.motif:
            at = self.motif_at
            if at is None:
                at = int(stream.integers(self.bases - len(self.motif) + 1))
            drawn[at : at + len(self.motif)] = np.frombuffer(self.motif, np.uint8)
            motif_start = len(before) + at
        sets = np.concatenate([places[0], drawn, places[1]]).astype(np.uint8)
        given = before[: len(before) - rest]
        return Plan(given, sets, rest, rest + self.bases, self.right_flank, motif_start)


def only_bases(text: str | bytes, what: str) -> bytes:
    """Upper-case A, C, G, T, with U as T. Raises InputError for any other letter: a model needs to know each base."""
    letters = text.encode("ascii", "replace") if isinstance(text, str) else text
    wrong = letters.upper().translate(None, b"ACGTU")
    if wrong:
        raise InputError(f"{what}: letter {chr(wrong[0])!r} is not A, C, G or T; write each base of it")
    return letters.upper().replace(b"U", b"T")


def _gc(text: bytes) -> int:
    return text.count(b"G") + text.count(b"C")


def _refuse_site(sites: ForbiddenSites, text: bytes, what: str) -> None:
    found = sites.first_in(text)
    if found is not None:
        raise InputError(f"forbidden site {found}: the {what} holds it already; change the {what}, or allow the site")
