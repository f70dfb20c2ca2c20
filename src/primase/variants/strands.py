"""Changes of a genome to their log-likelihood ratios on both strands: sorted into windows, read, put back in order."""

from collections.abc import Iterator, Sequence

import numpy as np

from primase import dna
from primase.formats import Genome
from primase.scoring import LoadedModel
from primase.variants.changes import Change
from primase.variants.edits import Edit, EditedWindow, plain_edit_nats, token_edit_nats
from primase.variants.layout import Layout, inserted_tokens
from primase.variants.shared_passes import SharedPasses

EDITS_OF_A_GROUP = 256
"""Changes that are laid out and read together, at least: the text of each is held."""


class StrandScorer:
    """Scores changes on both strands.

    Attributes:
        shares_passes: whether windows are read once for all their changes; a model whose cache or mask does not allow
            that is read in full for each change, and gives the same.
    """

    def __init__(self, loaded: LoadedModel, genome: Genome, layout: Layout, *, token_scores: bool = False) -> None:
        self._loaded, self._genome, self.layout = loaded, genome, layout
        shared = SharedPasses(loaded, layout.after_bases, token_scores=token_scores)
        self.shares_passes = shared.agree(layout.window_bases)
        self._plain = token_edit_nats if token_scores else plain_edit_nats
        self._shared = shared if self.shares_passes else None

    def nats(self, changes: Sequence[Change]) -> np.ndarray:
        """float64 [changes, 2]: ln p of the changed window minus ln p of the window, forward and reverse complement.

        Does not depend on what else is asked for, beyond rounding. NaN where the context has no room for the change,
        which happens where other letters than A, C, G and T take a token each.
        """
        result = np.full((len(changes), 2), np.nan)
        group: list[EditedWindow] = []
        places: list[tuple[list[int], int]] = []
        for window, numbers, strand in self.windows(changes):
            group.append(window)
            places.append((numbers, strand))
            if sum(len(numbers) for numbers, _ in places) >= EDITS_OF_A_GROUP:
                self._score(group, places, result)
                group, places = [], []
        self._score(group, places, result)
        return result

    def _score(self, group: list[EditedWindow], places: list[tuple[list[int], int]], result: np.ndarray) -> None:
        if not group:
            return
        if self._shared:
            nats = self._shared.edit_nats(group)
        else:
            nats = self._plain(self._loaded, group, self.layout.after_bases)
        for (numbers, strand), values in zip(places, nats, strict=True):
            result[numbers, strand] = values

    def windows(self, changes: Sequence[Change]) -> Iterator[tuple[EditedWindow, list[int], int]]:
        """Each window with its changes, their numbers, and the strand: 0 forward, 1 reverse complement."""
        cells: dict[tuple[str, int, int, int], list[tuple[int, Change]]] = {}
        for number, change in enumerate(changes):
            length = self._genome.lengths[change.record]
            for strand, there in enumerate((change, change.on_other_strand(length))):
                key = (change.record, strand, *self.layout.window(there.start))
                cells.setdefault(key, []).append((number, there))
        for (record, strand, begin, end), members in cells.items():
            bases = self._bases(record, strand, begin, end)
            cut = self._surplus(bases)
            inside = [(number, change) for number, change in members if change.start - begin >= cut]
            edits = [Edit(c.start - begin - cut, c.end - begin - cut, c.letters) for _, c in inside]
            if edits:
                yield EditedWindow(bases[cut:], edits), [number for number, _ in inside], strand

    def _bases(self, record: str, strand: int, begin: int, end: int) -> np.ndarray:
        if strand == 0:
            return self._genome.bases(record, begin, end)
        length = self._genome.lengths[record]
        return dna.reverse_complement(self._genome.bases(record, length - end, length - begin))

    def _surplus(self, bases: np.ndarray) -> int:
        """Bases to leave out at the window's begin for its tokens to fit the context with an insertion."""
        encoder = self._loaded.encoder
        room = self._loaded.row_tokens - inserted_tokens(encoder, self.layout.after_bases)
        surplus = 0
        while True:
            ids = encoder.encode(bases[surplus:])
            if len(ids) <= room:
                return surplus
            surplus += max(1, int(encoder.letters_per_token[ids[: len(ids) - room]].sum()))
