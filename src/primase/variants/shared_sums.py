"""The rows of `shared_passes`, without a model: which tokens of a changed window are its own, and the sums."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from primase.sequence_encoder import SequenceEncoder
from primase.variants.edits import Edit, EditedWindow, cumulative_nats, edited, ends


@dataclass
class Segment:
    """The tokens of a changed window from the first that differs from the window's to the last that counts."""

    edit: int
    """Number of the change among those of the window; of `TokenSums`, which have two segments a change, twice that."""
    shared: int
    """Tokens before it that are the window's own."""
    ids: np.ndarray
    """int64 [tokens]."""
    text: np.ndarray
    """uint8 ASCII [bases] that they spell."""

    @property
    def read_tokens(self) -> int:
        """Tokens that go through the model: the last is only predicted."""
        return max(len(self.ids) - 1, 0)


@dataclass
class Row:
    """One window in one reading frame, and the segments of its changes."""

    window: "WindowSums | TokenSums"
    frame: int
    ids: np.ndarray
    """int64 [tokens] up to the last that counts."""
    text: np.ndarray
    """uint8 ASCII [bases] that they spell."""
    segments: list[Segment] = field(default_factory=list)

    def packs(self, most_tokens: int) -> Iterator[list[Segment]]:
        """The segments in lists of about so many tokens that are read."""
        pack: list[Segment] = []
        for segment in self.segments:
            if pack and sum(one.read_tokens for one in pack) + segment.read_tokens > most_tokens:
                yield pack
                pack = []
            pack.append(segment)
        if pack:
            yield pack


class WindowSums:
    """What the rows of one window come to, gathered while they are read."""

    def __init__(self, window: EditedWindow, frames: int, after_bases: int) -> None:
        self.window, self.frames, self.after_bases = window, frames, after_bases
        self._texts = [edited(window.bases, edit) for edit in window.edits]
        self._ends = [ends(window, edit, after_bases) for edit in window.edits]
        # Probabilities of the window's letters, and of what fills its last k-mer up, in each frame; 0 before the frame
        # begins, and behind what was read. A change at the end may share the k-mer that was filled up.
        self._of_window = np.zeros((frames, len(window.bases) + frames - 1))
        self._of_edits: list[list[tuple[int, np.ndarray]]] = [[(0, np.empty(0))] * frames for _ in window.edits]

    def rows(self, encoder: SequenceEncoder) -> Iterator[Row]:
        """A row for each frame. Raises ModelError where the tokens do not spell the letters one by one."""
        filler = np.full(self.frames - 1, ord("A"), np.uint8)
        last = max((end for end, _ in self._ends), default=0)
        for frame in range(self.frames):
            texts = [np.concatenate([text[frame:], filler]) for text in (self.window.bases, *self._texts)]
            ids, *changed = encoder.encode_many(texts)
            row_ids, first_base = _up_to(encoder.first_bases(ids, len(texts[0])), ids, last - frame)
            row = Row(self, frame, row_ids, texts[0][: first_base[-1]])
            for number, (text, edit_ids) in enumerate(zip(texts[1:], changed, strict=True)):
                first_base = encoder.first_bases(edit_ids, len(text))
                edit_ids, first_base = _up_to(first_base, edit_ids, self._ends[number][1] - frame)
                shared = _shared(row_ids, edit_ids)
                begin = int(first_base[shared])
                row.segments.append(Segment(number, shared, edit_ids[shared:], text[begin : first_base[-1]]))
                self._of_edits[number][frame] = (frame + begin, np.empty(0))
            yield row

    def add_row(self, row: Row, probabilities: np.ndarray) -> None:
        """float [bases of row.text]: of the window's letters."""
        count = min(len(probabilities), self._of_window.shape[1] - row.frame)
        self._of_window[row.frame, row.frame : row.frame + count] = probabilities[:count]

    def add_segment(self, row: Row, segment: Segment, probabilities: np.ndarray) -> None:
        """float [bases of segment.text]: of the changed window's letters."""
        begin, _ = self._of_edits[segment.edit][row.frame]
        self._of_edits[segment.edit][row.frame] = (begin, probabilities)

    def nats(self) -> np.ndarray:
        """float64 [edits], as `plain_edit_nats` gives them; only after all rows and segments."""
        bases = np.arange(len(self.window.bases))
        mean = self._of_window[:, : len(bases)].sum(axis=0) / np.minimum(bases + 1, self.frames)
        before = cumulative_nats(mean, self.window.bases)
        return np.array([self._edit_nats(number, edit, before) for number, edit in enumerate(self.window.edits)])

    def _edit_nats(self, number: int, edit: Edit, before: np.ndarray) -> float:
        end, changed_end = self._ends[number]
        begin = min(end, changed_end, *(begin for begin, _ in self._of_edits[number]))
        total = np.zeros(changed_end - begin)
        for frame, (own_begin, probabilities) in enumerate(self._of_edits[number]):
            own = min(own_begin, changed_end) - begin
            total[:own] += self._of_window[frame, begin : begin + own]
            total[own:] += probabilities[: len(total) - own]
        total /= np.minimum(np.arange(begin, changed_end) + 1, self.frames)
        changed = cumulative_nats(total, self._texts[number][begin:changed_end])[-1]
        return float(changed - (before[end] - before[begin]))


class TokenSums:
    """What the one row of a window comes to by whole tokens, gathered while it is read.

    Of each change the window and the changed window are cut behind it, and so each has a segment of tokens of its own.
    """

    def __init__(self, window: EditedWindow, after_bases: int) -> None:
        self._window = window
        cuts = [ends(window, edit, after_bases) for edit in window.edits]
        self._last = max((end for end, _ in cuts), default=0)
        self._texts = [
            text
            for edit, (end, changed_end) in zip(window.edits, cuts, strict=True)
            for text in (window.bases[:end], edited(window.bases, edit)[:changed_end])
        ]
        self._shared_nats = np.zeros(1)
        """ln p of the first 0, 1, 2, … tokens of the window."""
        self._shared_tokens = np.zeros(len(self._texts), np.int64)
        self._own_nats = np.zeros(len(self._texts))

    def rows(self, encoder: SequenceEncoder) -> Iterator[Row]:
        text = self._window.bases[: self._last]
        row_ids, *all_ids = encoder.encode_many([text, *self._texts])
        row = Row(self, 0, row_ids, text)
        for number, ids in enumerate(all_ids):
            ids = np.concatenate([ids, encoder.suffix_ids]).astype(np.int64)
            shared = self._shared_tokens[number] = _shared(row_ids, ids)
            row.segments.append(Segment(number, int(shared), ids[shared:], np.empty(0, np.uint8)))
        yield row

    def add_row(self, row: Row, nats: np.ndarray) -> None:
        """float [tokens of row.ids]: ln p of each."""
        self._shared_nats = np.concatenate([[0.0], np.cumsum(nats)])

    def add_segment(self, row: Row, segment: Segment, nats: np.ndarray) -> None:
        """float [tokens of segment.ids]: ln p of each."""
        self._own_nats[segment.edit] = nats.sum()

    def nats(self) -> np.ndarray:
        """float64 [edits], as `token_edit_nats` gives them; only after the row and the segments."""
        before, after = (self._shared_nats[self._shared_tokens] + self._own_nats).reshape(-1, 2).T
        return after - before


def _up_to(first_base: np.ndarray, ids: np.ndarray, bases: int) -> tuple[np.ndarray, np.ndarray]:
    """The first tokens that spell so many bases, and where each begins and the last ends."""
    count = min(int(np.searchsorted(first_base, max(bases, 0))), len(ids))
    return ids[:count], first_base[: count + 1]


def _shared(ids: np.ndarray, others: np.ndarray) -> int:
    """How many tokens both begin with."""
    count = min(len(ids), len(others))
    different = np.flatnonzero(ids[:count] != others[:count])
    return int(different[0]) if len(different) else count
