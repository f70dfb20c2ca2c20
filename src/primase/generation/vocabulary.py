"""The tokens that may be drawn: those that spell A, C, G, T and nothing else, and which of them fit."""

import numpy as np

from primase import dna
from primase.errors import ModelError
from primase.generation.sites import ANY_BASE, ForbiddenSites
from primase.sequence_encoder import SequenceEncoder


class Vocabulary:
    """The tokens of a tokenizer that spell bases, sorted by id.

    Attributes:
        ids: int64 [tokens] in the model's vocabulary.
        spelled: bytes of each.
        bases: int64 [tokens]: their length. gc: int64 [tokens]: G and C in each. longest: bases of the longest.
        base_bits: uint8 [tokens, longest]: the bit of each base (`sites.ANY_BASE`), all bits behind its end.
        shapes: int64 [shapes, 2]: the different pairs of bases and gc; shape_of: int64 [tokens].
    """

    def __init__(self, encoder: SequenceEncoder) -> None:
        """Raises ModelError for a tokenizer without a token for each of A, C, G and T."""
        spelled = encoder.spelled
        self.ids = np.array([i for i, text in enumerate(spelled) if text and not text.translate(None, b"ACGT")], int)
        self.spelled = [spelled[i] for i in self.ids]
        if not {b"A", b"C", b"G", b"T"} <= set(self.spelled):
            raise ModelError(
                "the tokenizer has no token for each of A, C, G and T, so not every length and sequence can be "
                "spelled; use a model whose tokenizer has"
            )
        self.bases = np.array([len(text) for text in self.spelled])
        self.gc = np.array([text.count(b"G") + text.count(b"C") for text in self.spelled])
        self.longest = int(self.bases.max())
        self.base_bits = np.full((len(self.ids), self.longest), ANY_BASE, np.uint8)
        self.codes = [dna.codes(text).tolist() for text in self.spelled]
        for token, codes in enumerate(self.codes):
            self.base_bits[token, : len(codes)] = [1 << code for code in codes]
        self.shapes, self.shape_of = np.unique(np.stack([self.bases, self.gc], 1), axis=0, return_inverse=True)
        k = encoder.regular_k
        self._fitting = [
            self.bases <= room if k is None else self.bases == (k if room >= k else 1)
            for room in range(self.longest + 1)
        ]

    def fitting(self, room_bases: int) -> np.ndarray:
        """bool [tokens]: those no longer than what is left.

        Of k-mers, the tokens that the tokenizer itself would use there: single bases only behind the last whole k-mer.
        """
        return self._fitting[min(room_bases, self.longest)]


class TokenSteps:
    """Where each token leads in the automaton of forbidden sites; states are numbered as they are met."""

    def __init__(self, vocabulary: Vocabulary, sites: ForbiddenSites) -> None:
        self.sites = sites
        self._vocabulary = vocabulary
        self._number_of: dict[int, int] = {}
        self._state_of: list[int] = []
        self._after: dict[int, np.ndarray] = {}

    def number(self, state: int) -> int:
        number = self._number_of.setdefault(state, len(self._state_of))
        if number == len(self._state_of):
            self._state_of.append(state)
        return number

    def state(self, number: int) -> int:
        return self._state_of[number]

    def after(self, number: int) -> np.ndarray:
        """int64 [tokens]: the number of the state behind each token, -1 where a site is complete within it."""
        if number not in self._after:
            reached: dict[bytes, int] = {b"": self._state_of[number]}
            numbers = np.empty(len(self._vocabulary.ids), np.int64)
            for token, (text, codes) in enumerate(zip(self._vocabulary.spelled, self._vocabulary.codes, strict=True)):
                for end in range(1, len(codes) + 1):
                    if text[:end] not in reached:
                        before = reached[text[: end - 1]]
                        reached[text[:end]] = -1 if before < 0 else self.sites.step(before, codes[end - 1])
                numbers[token] = self.number(reached[text]) if reached[text] >= 0 else -1
            self._after[number] = numbers
        return self._after[number]
