"""What a simulated genome is made of, in the terms of biology, and its layout as the states of a `GenomeModel`.

Stretches of background alternate with elements, which are genes and repeats on either strand. An element on the minus
strand is the reverse complement of the same element on the plus strand.
"""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from primase import dna
from primase.simulate.model import TOLERANCE, GenomeModel

Words = dict[Annotated[str, Field(pattern="^[ACGT]+$")], float]
"""Words of one length with their probabilities; a word that is missing has none."""


class Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)


class Gene(Part):
    """Motif, spacer, start codon, codons, stop codon."""

    share: float = Field(gt=0)
    """Share of the elements, both strands together."""
    motif: tuple[tuple[float, float, float, float], ...]
    """Position weight matrix: probability of A, C, G, T at each position."""
    spacer_bases: int = Field(ge=1, le=1000)
    """Background between motif and start codon."""
    start_codons: Words = {"ATG": 1.0}
    codons: Words
    """Codon usage between start and stop codon, no stop codons among them."""
    stop_codons: Words
    mean_codons: float = Field(gt=1)
    """Mean number of codons between start and stop codon, which is geometric and at least 1."""


class RepeatFamily(Part):
    """Copies of one consensus, with substitutions and without gaps; soft-masked."""

    share: float = Field(gt=0)
    """Share of the elements, both strands together."""
    consensus: str = Field(pattern="^[ACGT]+$")
    substituted_fraction: float = Field(ge=0, lt=1)
    """How often a base of a copy differs from the consensus, each of the three other bases alike."""


class GenomeDesign(Part):
    """All parameters of a genome. The shares of genes and repeats sum to 1."""

    background: Words
    """Words of order + 1 bases (three or more) as they occur between elements: those of the Markov chain that emits
    the background. Reverse complements are equally likely, and so are the word's beginnings and endings."""
    mean_background_bases: float = Field(gt=1)
    """Mean distance between neighbouring elements, which is geometric and at least 1 base."""
    genes: tuple[Gene, ...] = ()
    repeats: tuple[RepeatFamily, ...] = ()

    @model_validator(mode="after")
    def _distributions(self) -> "GenomeDesign":
        words = {"background": self.background}
        for number, gene in enumerate(self.genes, start=1):
            for name in ("start_codons", "codons", "stop_codons"):
                words[f"gene {number} {name}"] = getattr(gene, name)
        for name, probabilities in words.items():
            lengths = {len(word) for word in probabilities}
            if len(lengths) > 1 or ("codons" in name and lengths != {3}):
                raise ValueError(f"{name}: give words of one length, which is 3 for codons")
        distributions = {name: list(probabilities.values()) for name, probabilities in words.items()}
        distributions["shares"] = [element.share for element in (*self.genes, *self.repeats)]
        for number, gene in enumerate(self.genes, start=1):
            distributions |= {f"gene {number} motif {i}": list(row) for i, row in enumerate(gene.motif, start=1)}
        for name, values in distributions.items():
            if min(values, default=0.0) < 0 or abs(sum(values) - 1) > TOLERANCE:
                raise ValueError(f"{name}: the probabilities must sum to 1")
        return self

    @model_validator(mode="after")
    def _strand_symmetric_background(self) -> "GenomeDesign":
        joint = _joint(self.background)
        if joint.ndim < 3:
            raise ValueError("background: give words of 3 bases or more; codons need two bases of context")
        stationary = np.allclose(joint.sum(axis=0), joint.sum(axis=-1), rtol=0, atol=TOLERANCE)
        if not stationary or not np.allclose(joint, _reverse_complement(joint), rtol=0, atol=TOLERANCE):
            raise ValueError("background: words must be as likely as their reverse complements, and stationary")
        return self

    @property
    def order(self) -> int:
        """Bases of context of the background."""
        return len(next(iter(self.background))) - 1

    def model(self) -> GenomeModel:
        """The hidden Markov model of this design."""
        layout = _Layout(_joint(self.background), self.mean_background_bases)
        for number, gene in enumerate(self.genes, start=1):
            layout.add_on_both_strands(f"gene {number}", gene.share, _gene_blocks(gene, layout.background))
        for number, repeat in enumerate(self.repeats, start=1):
            layout.add_on_both_strands(f"repeat {number}", repeat.share, _repeat_blocks(repeat))
        return layout.model()


@dataclass(frozen=True)
class _Block:
    """`bases` successive states; each emits given the bases of the block before it, as in the words of `joint`."""

    label: str
    joint: np.ndarray  # float64, one axis of 4 for each letter of a word
    bases: int
    mean_times: float = 1.0  # the block is gone through a geometric number of times
    soft_masked: bool = False

    def reverse_complement(self) -> "_Block":
        return _Block(self.label, _reverse_complement(self.joint), self.bases, self.mean_times, self.soft_masked)

    def emissions(self, order: int) -> list[np.ndarray]:
        """[contexts, 4] for each of the states."""
        return [_given_previous(self.joint, min(base, self.joint.ndim - 1), order) for base in range(self.bases)]


def _gene_blocks(gene: Gene, background: np.ndarray) -> list[_Block]:
    return [
        *(_Block("motif", np.array(row), 1) for row in gene.motif),
        _Block("spacer", background, gene.spacer_bases),
        _Block("start codon", _joint(gene.start_codons), 3),
        _Block("codon", _joint(gene.codons), 3, mean_times=gene.mean_codons),
        _Block("stop codon", _joint(gene.stop_codons), 3),
    ]


def _repeat_blocks(repeat: RepeatFamily) -> list[_Block]:
    kept, other = 1 - repeat.substituted_fraction, repeat.substituted_fraction / 3
    consensus = dna.codes(repeat.consensus.encode())
    return [_Block("", np.where(np.arange(4) == code, kept, other), 1, soft_masked=True) for code in consensus]


class _Layout:
    """Numbers the states. Those of the background come first: one for each length of context, the last one waits.

    The first bases of a background stretch are emitted with as much context as the stretch itself has. So a stretch
    owes nothing to the element before it, and the whole process reads the same from both strands.
    """

    def __init__(self, background: np.ndarray, mean_background_bases: float) -> None:
        self.background, self._order = background, background.ndim - 1
        self._leave = 1 / mean_background_bases
        self._labels: list[str] = []
        self._emissions: list[np.ndarray] = []
        self._soft_masked: list[bool] = []
        self._edges: list[tuple[int, int, float]] = []
        self._entries: list[tuple[int, float]] = []
        _, last = self._add_states(_Block("background", background, background.ndim), "background")
        self._edges = [(source, target, (1 - self._leave) * p) for source, target, p in self._edges]
        self._edges.append((last, last, 1 - self._leave))

    def add_on_both_strands(self, name: str, share: float, blocks: list[_Block]) -> None:
        self._add_element(f"{name} +", share / 2, blocks)
        self._add_element(f"{name} -", share / 2, [block.reverse_complement() for block in reversed(blocks)])

    def model(self) -> GenomeModel:
        transitions = np.zeros((len(self._labels), len(self._labels)))
        for source, target, probability in self._edges:
            transitions[source, target] = probability
        for source in range(self._order + 1):
            for target, share in self._entries:
                transitions[source, target] = self._leave * share
        return GenomeModel(
            self._order,
            tuple(self._labels),
            transitions,
            np.array(self._emissions),
            np.array(self._soft_masked),
        )

    def _add_element(self, name: str, share: float, blocks: list[_Block]) -> None:
        self._entries.append((len(self._labels), share))
        for block in blocks:
            first, last = self._add_states(block, f"{name} {block.label}".strip())
            again = 1 - 1 / block.mean_times
            if again:
                self._edges.append((last, first, again))
            self._edges.append((last, last + 1, 1 - again))
        source, _, onward = self._edges.pop()
        self._edges.append((source, 0, onward))

    def _add_states(self, block: _Block, label: str) -> tuple[int, int]:
        first = len(self._labels)
        last = first + block.bases - 1
        self._labels += [label] * block.bases
        self._emissions += block.emissions(self._order)
        self._soft_masked += [block.soft_masked] * block.bases
        self._edges += [(state, state + 1, 1.0) for state in range(first, last)]
        return first, last


def _joint(words: Words) -> np.ndarray:
    """The probabilities as an array with one axis of 4 for each letter."""
    joint = np.zeros((4,) * len(next(iter(words))))
    for word, probability in words.items():
        joint[tuple(dna.codes(word.encode()))] = probability
    return joint


def _reverse_complement(joint: np.ndarray) -> np.ndarray:
    """The joint distribution of the letters on the other strand; the complement of code c is 3 - c."""
    return np.flip(joint.transpose())


def _given_previous(joint: np.ndarray, previous: int, order: int) -> np.ndarray:
    """P(letter `previous` of a word | the letters before it) for every context, float64 [contexts, 4]."""
    counts = joint.sum(axis=tuple(range(previous + 1, joint.ndim)))
    totals = counts.sum(axis=-1, keepdims=True)
    # Where the letters before never occur, the row is never used, and only has to be a distribution.
    probabilities = np.divide(counts, totals, out=np.full(counts.shape, 0.25), where=totals > 0)
    return np.broadcast_to(probabilities, (4,) * (order - previous) + counts.shape).reshape(-1, 4).copy()
