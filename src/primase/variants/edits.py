"""What changes of a window cost, the plain way: every changed window is read from its begin, in every reading frame.

`shared_passes` gives the same, quicker; it is compared with this, and models that it cannot read are read like this.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from primase import dna
from primase.base_predictions import LEAST, predict_bases
from primase.scoring import LoadedModel, score_windows


class Edit(NamedTuple):
    """The letters from `start` to `end` of a window give way to others."""

    start: int
    end: int
    letters: bytes


class EditedWindow(NamedTuple):
    """uint8 ASCII [bases], and changes of it, each on its own."""

    bases: np.ndarray
    edits: Sequence[Edit]


def edited(bases: np.ndarray, edit: Edit) -> np.ndarray:
    """The window with the change made."""
    return np.concatenate([bases[: edit.start], np.frombuffer(edit.letters, np.uint8), bases[edit.end :]])


def ends(window: EditedWindow, edit: Edit, after_bases: int) -> tuple[int, int]:
    """Where the sums end, `after_bases` behind the change: in the window, and in the changed window."""
    longer = len(edit.letters) - (edit.end - edit.start)
    end = min(edit.end + after_bases, len(window.bases))
    return end, end + longer


def plain_edit_nats(loaded: LoadedModel, windows: Sequence[EditedWindow], after_bases: int) -> list[np.ndarray]:
    """For each window float64 [edits]: ln p of the changed window minus ln p of the window.

    Each is a sum over the bases from the window's begin to `after_bases` behind the change: the logarithm of the
    probability that `predict_bases` gives the base after those before it. Letters other than A, C, G and T add nothing.
    """
    results = []
    for window in windows:
        texts = [window.bases, *(edited(window.bases, edit) for edit in window.edits)]
        before, *after = (
            cumulative_nats(_chosen(prediction, text), text)
            for prediction, text in zip(predict_bases(loaded, texts), texts, strict=True)
        )
        results.append(_differences(window, before, after, after_bases))
    return results


def token_edit_nats(loaded: LoadedModel, windows: Sequence[EditedWindow], after_bases: int) -> list[np.ndarray]:
    """As `plain_edit_nats`, by the sum over whole tokens in the one reading that begins at the window's first base.

    The windows are cut `after_bases` behind the change, so the tokens of the two end together.
    """
    results = []
    for window in windows:
        texts = []
        for edit in window.edits:
            end, changed_end = ends(window, edit, after_bases)
            texts.extend([window.bases[:end], edited(window.bases, edit)[:changed_end]])
        nats = np.array([score.nats.sum() for score in score_windows(loaded, texts)]).reshape(-1, 2)
        results.append(nats[:, 0] - nats[:, 1])
    return results


def cumulative_nats(probabilities: np.ndarray, text: np.ndarray) -> np.ndarray:
    """float64 [bases + 1]: sum of ln p of the first 0, 1, 2, … letters, where they are A, C, G or T."""
    nats = np.log(np.maximum(probabilities, LEAST, dtype=np.float64))
    return np.concatenate([[0.0], np.cumsum(np.where(dna.is_acgt(text), nats, 0.0))])


def _chosen(predictions: np.ndarray, text: np.ndarray) -> np.ndarray:
    """Of predictions [bases, 4] that of the letter which is there; 1 for other letters."""
    chosen = predictions[np.arange(len(text)), np.minimum(dna.codes(text), 3)]
    return np.where(dna.is_acgt(text), chosen, 1.0)


def _differences(window: EditedWindow, before: np.ndarray, after: Sequence[np.ndarray], after_bases: int) -> np.ndarray:
    nats = np.empty(len(window.edits))
    for number, (edit, changed) in enumerate(zip(window.edits, after, strict=True)):
        end, changed_end = ends(window, edit, after_bases)
        nats[number] = changed[changed_end] - before[end]
    return nats
