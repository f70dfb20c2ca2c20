"""Which bases a change is scored in: windows on a grid along each strand, so that neighbours share one.

A strand of a record is divided into cells from its 5' end. All changes that begin in a cell are read in the cell's
window, which begins `before_bases` ahead of the cell. So each change has at least so many bases before it (less at the
record's end), and its score depends on no other change. The other strand has a grid of its own, from its own 5' end:
a record and its reverse complement give the same scores.
"""

from dataclasses import dataclass

from primase.errors import InputError
from primase.scoring import LoadedModel
from primase.sequence_encoder import SequenceEncoder

MOST_BEFORE_BASES = 1024
MOST_CELL_BASES = 512
AFTER_BASES = 64


@dataclass(frozen=True)
class Layout:
    """Lengths in bases."""

    before_bases: int
    """At least so many before a change, on each strand."""
    after_bases: int
    """So many after a change are priced; also the longest allele, and how far an indel's place may be ambiguous."""
    cell_bases: int

    @property
    def most_changed_bases(self) -> int:
        """Longest stretch that a change may take the place of: an allele, and the ambiguity of its place."""
        return 2 * self.after_bases

    @property
    def window_bases(self) -> int:
        """Longest window, without what is inserted into it."""
        return self.before_bases + self.cell_bases + self.most_changed_bases + self.after_bases

    def window(self, start: int) -> tuple[int, int]:
        """Begin and end of the window of a change that begins at `start` of its strand; the begin is never negative."""
        cell = start // self.cell_bases * self.cell_bases
        begin = cell - self.before_bases
        return max(begin, 0), begin + self.window_bases


def inserted_tokens(encoder: SequenceEncoder, bases: int) -> int:
    """By how many tokens a window may grow when so many bases are inserted: the tokens around may change as well."""
    k = encoder.regular_k or 1
    return -(-bases // k) + k


def layout_for(loaded: LoadedModel, context_bases: int | None = None, after_bases: int | None = None) -> Layout:
    """The layout that a model's context has room for.

    By default 64 bases after a change (an eighth of the room where that is less) and 1,024 before it, or what the
    context has room for. Raises InputError where `context_bases` or `after_bases` do not fit.
    """
    encoder, tokens, bases_of_a_token = loaded.encoder, loaded.row_tokens, loaded.least_bases_of_a_token
    after = after_bases or max(1, min(AFTER_BASES, tokens * bases_of_a_token // 8))
    # The last bases of a window, too few for a k-mer, take a token each.
    spare = inserted_tokens(encoder, after) + bases_of_a_token - 1
    room = (tokens - spare) * bases_of_a_token - 3 * after
    cell = min(MOST_CELL_BASES, max(1, room // 2))
    before = context_bases if context_bases is not None else min(MOST_BEFORE_BASES, room - cell)
    cell = min(cell, room - before)
    if cell < 1 or before < 1:
        raise InputError(
            f"windows of {max(before, 1):,} bases before a variant and {after:,} after it do not fit this model's "
            f"context of {loaded.context_tokens:,} tokens; give a --context-bases of at most {max(room - 1, 0):,}, or "
            "fewer --after-bases"
        )
    return Layout(before, after, cell)
