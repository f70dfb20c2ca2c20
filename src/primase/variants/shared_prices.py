"""What `shared_passes` makes of the logits of a model: probabilities of single bases, or of whole tokens."""

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import torch

from primase import dna
from primase.base_predictions import UNKNOWN, PrefixSums
from primase.scoring import LoadedModel
from primase.variants.edits import EditedWindow, plain_edit_nats, token_edit_nats
from primase.variants.shared_sums import Segment, TokenSums, WindowSums


class Prices(Protocol):
    """One way to price tokens."""

    plain: Callable[[LoadedModel, Sequence[EditedWindow], int], list[np.ndarray]]
    """What gives the same the plain way."""

    def sums(self, window: EditedWindow, after_bases: int) -> WindowSums | TokenSums:
        """What the prices of a window are added up in."""

    def values_of(self, segment: Segment) -> int:
        """How many values a segment has."""

    def price(
        self, ahead: torch.Tensor | None, ids: np.ndarray, text: np.ndarray, unpredicted: np.ndarray
    ) -> np.ndarray:
        """float64 [values] of tokens `ids` that spell `text`; `ahead` fp32 [tokens, vocabulary] are their logits, which
        those at the places `unpredicted` do not have.
        """


class BasePrices:
    """Probabilities of the letters that the tokens spell, one a base, for `WindowSums`."""

    plain = staticmethod(plain_edit_nats)

    def __init__(self, loaded: LoadedModel) -> None:
        self._letters_per_token = loaded.encoder.letters_per_token
        self._frames = loaded.encoder.regular_k or 1
        self._vocabulary = PrefixSums.of(loaded.encoder, loaded.model.device)

    def sums(self, window: EditedWindow, after_bases: int) -> WindowSums:
        return WindowSums(window, self._frames, after_bases)

    def values_of(self, segment: Segment) -> int:
        return len(segment.text)

    def price(
        self, ahead: torch.Tensor | None, ids: np.ndarray, text: np.ndarray, unpredicted: np.ndarray
    ) -> np.ndarray:
        first_base = np.cumsum(self._letters_per_token[ids], dtype=np.int64) - self._letters_per_token[ids]
        predicted = np.delete(np.arange(len(ids)), unpredicted)
        probabilities = np.full(len(text), UNKNOWN)
        if len(predicted):
            targets = torch.from_numpy(ids[predicted]).to(ahead.device)
            of_token, at_base, values = self._vocabulary.predict(ahead, targets)
            places = first_base[predicted][of_token] + at_base
            probabilities[places] = values[np.arange(len(places)), dna.codes(text)[places]]
        return probabilities


class TokenPrices:
    """ln p of whole tokens, one a token, for `TokenSums`."""

    plain = staticmethod(token_edit_nats)

    def __init__(self, loaded: LoadedModel) -> None:
        self._unpredicted_nats = -np.log(loaded.model.config.vocab_size)

    def sums(self, window: EditedWindow, after_bases: int) -> TokenSums:
        return TokenSums(window, after_bases)

    def values_of(self, segment: Segment) -> int:
        return len(segment.ids)

    def price(
        self, ahead: torch.Tensor | None, ids: np.ndarray, text: np.ndarray, unpredicted: np.ndarray
    ) -> np.ndarray:
        predicted = np.delete(np.arange(len(ids)), unpredicted)
        nats = np.full(len(ids), self._unpredicted_nats)
        if len(predicted):
            targets = torch.from_numpy(ids[predicted]).to(ahead.device)
            nats[predicted] = ahead.log_softmax(dim=-1).gather(1, targets[:, None])[:, 0].double().cpu().numpy()
        return nats
