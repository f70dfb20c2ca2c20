"""The rows of a batch while they are drawn: which tokens each may take next, and where it leads."""

from collections.abc import Sequence

import numpy as np
import torch

from primase import dna
from primase.generation.constraints import Constraints, Plan
from primase.generation.sites import ANY_BASE
from primase.generation.vocabulary import TokenSteps, Vocabulary

_GC_OF_NO_BASES = 0.5
_BASES_BEHIND_IT = 20.0
"""The model's own GC content is estimated as it goes, from so many bases of a guess on."""


class Rows:
    """Counters of each row, advanced by `accept`. A row that no token suits is `failed`."""

    def __init__(self, vocabulary: Vocabulary, constraints: Constraints, steps: TokenSteps, plans: Sequence[Plan]):
        self._vocabulary, self._constraints, self._steps = vocabulary, constraints, steps
        self.ends = np.array([plan.end for plan in plans])
        self.place = np.zeros(len(plans), np.int64)
        self.failed = np.zeros(len(plans), bool)
        self._room = np.array([len(plan.sets) for plan in plans])
        padding = vocabulary.longest + constraints.sites.longest
        self._sets = np.full((len(plans), self._room.max() + padding), ANY_BASE, np.uint8)
        for row, plan in enumerate(plans):
            self._sets[row, : len(plan.sets)] = plan.sets
        # Fixed places before each place, so that a difference says whether a stretch has any.
        self._fixed_before = np.pad((self._sets != ANY_BASE).cumsum(axis=1), ((0, 0), (1, 0)))
        if constraints.gc is not None:
            self._begin_gc(plans)
        if constraints.sites:
            states = [constraints.sites.read(0, dna.codes(plan.given).tolist()) for plan in plans]
            self._state = np.array([steps.number(state) for state in states])
            self._can_end: list[dict[tuple[int, int], bool]] = [{} for _ in plans]

    @property
    def active(self) -> np.ndarray:
        """bool [rows]: those that are to be drawn further."""
        return (self.place < self.ends) & ~self.failed

    def penalties(self, probabilities: torch.Tensor | None) -> np.ndarray | None:
        """float64 [rows, tokens] to add to the logits: -inf for tokens that are not allowed; None for all zeros.

        `probabilities` [rows, tokens] as the model gives them, needed where GC is steered. Marks rows without any
        token as failed.
        """
        vocabulary, active = self._vocabulary, self.active
        room = self._room - self.place
        near_end = room < vocabulary.longest
        near_fixed = self._fixed_ahead(vocabulary.longest)
        if not (self._constraints.sites or self._constraints.gc or (active & (near_end | near_fixed)).any()):
            return None
        allowed = np.stack([vocabulary.fitting(int(bases)) for bases in np.maximum(room, 1)])
        for row in np.flatnonzero(active & near_fixed):
            ahead = self._sets[row, self.place[row] : self.place[row] + vocabulary.longest]
            allowed[row] &= (vocabulary.base_bits & ahead != 0).all(axis=1)
        if self._constraints.sites:
            self._forbid_sites(allowed, active)
        penalties = np.where(allowed, 0.0, -np.inf)
        if self._constraints.gc is not None:
            penalties += self._gc_penalties(probabilities)
        self.failed |= active & np.isneginf(penalties).all(axis=1)
        penalties[~self.active] = 0.0  # what a row that is done draws is thrown away
        return penalties

    def accept(self, tokens: np.ndarray) -> None:
        """Go on with a token each: int64 [rows], numbers in the vocabulary."""
        active = self.active
        vocabulary = self._vocabulary
        if self._constraints.sites:
            for row in np.flatnonzero(active):
                self._state[row] = self._steps.after(int(self._state[row]))[tokens[row]]
        if self._constraints.gc is not None:
            self._gc_count += np.where(active, vocabulary.gc[tokens], 0)
        self.place += np.where(active, vocabulary.bases[tokens], 0)

    def _fixed_ahead(self, bases: int) -> np.ndarray:
        """bool [rows]: whether any of the next so many places may not hold every base."""
        rows, last = np.arange(len(self.place)), self._fixed_before.shape[1] - 1
        reach = np.minimum(self.place + bases, last)
        return self._fixed_before[rows, reach] > self._fixed_before[rows, np.minimum(self.place, last)]

    def _forbid_sites(self, allowed: np.ndarray, active: np.ndarray) -> None:
        ahead = self._fixed_ahead(self._vocabulary.longest + self._constraints.sites.longest)
        for row in np.flatnonzero(active):
            after = self._steps.after(int(self._state[row]))
            allowed[row] &= after >= 0
            if ahead[row]:
                for token in np.flatnonzero(allowed[row]):
                    place = int(self.place[row] + self._vocabulary.bases[token])
                    allowed[row, token] = self._may_go_on(row, self._steps.state(int(after[token])), place)

    def _may_go_on(self, row: int, state: int, place: int) -> bool:
        """Whether some bases lead from here through the fixed places ahead without completing a site.

        Depth first, with a stack of its own: a motif may be longer than Python lets functions nest.
        """
        known = self._can_end[row]
        waiting = [(state, place)] if (state, place) not in known else []
        while waiting:
            nexts = self._nexts(row, *waiting[-1])
            asked = next((one for one in nexts or () if known.get(one) is not False), None)
            if asked is not None and asked not in known:
                waiting.append(asked)
                continue
            known[waiting.pop()] = nexts is None or asked is not None
        return known[state, place]

    def _nexts(self, row: int, state: int, place: int) -> list[tuple[int, int]] | None:
        """State and place after each base that may stand here and completes no site; None with nothing fixed ahead."""
        sites, room = self._constraints.sites, int(self._room[row])
        reach = min(place + sites.longest, room)
        if place >= room or self._fixed_before[row, reach] == self._fixed_before[row, place]:
            return None
        allowed = int(self._sets[row, place])
        afters = (sites.step(state, code) for code in range(4) if allowed >> code & 1)
        return [(after, place + 1) for after in afters if after >= 0]

    def _begin_gc(self, plans: Sequence[Plan]) -> None:
        """Counts of what is given, and behind each place of what is certain to be G or C, and of what is free."""
        certain = (self._sets & 0b1001) == 0
        free = ~certain & (self._sets & 0b0110 != 0)
        for row, plan in enumerate(plans):
            certain[row, len(plan.sets) :] = free[row, len(plan.sets) :] = False
        self._certain, self._free = (
            np.pad(marks[:, ::-1].cumsum(axis=1)[:, ::-1], ((0, 0), (0, 1))) for marks in (certain, free)
        )
        flanks = [plan.right_flank[len(plan.sets) - plan.end :] for plan in plans]
        fixed = [plan.given + flank for plan, flank in zip(plans, flanks, strict=True)]
        self._gc_count = np.array([text.count(b"G") + text.count(b"C") for text in fixed])
        self._gc_bounds = np.array([self._constraints.gc_counts(plan.bases) for plan in plans])
        self._expected_gc = np.full(len(plans), _GC_OF_NO_BASES * _BASES_BEHIND_IT)
        self._expected_bases = np.full(len(plans), _BASES_BEHIND_IT)

    def _gc_penalties(self, probabilities: torch.Tensor) -> np.ndarray:
        """float64 [rows, tokens]: ln of the chance that the whole sequence ends in the range after each token.

        The bases to come are taken to be G or C independently, as often as the model itself has expected so far: the
        weight of a token is then what conditioning on the end asks for (Doob's h-transform), under this assumption.
        The normal approximation of the binomial decides between tokens; counting decides what is possible at all.
        """
        vocabulary = self._vocabulary
        weights = probabilities.double().cpu().numpy()
        self._expected_gc += weights @ vocabulary.gc
        self._expected_bases += weights @ vocabulary.bases
        share = (self._expected_gc / self._expected_bases).clip(0.02, 0.98)[:, None]
        place = np.minimum(self.place[:, None] + vocabulary.shapes[:, 0], self._certain.shape[1] - 1)
        counted = self._gc_count[:, None] + vocabulary.shapes[:, 1] + np.take_along_axis(self._certain, place, 1)
        free = np.take_along_axis(self._free, place, 1)
        fewest, most = self._gc_bounds[:, :1] - counted, self._gc_bounds[:, 1:] - counted
        spread = np.sqrt(free * share * (1 - share)).clip(1e-3)
        low, high = ((bound - free * share) / spread for bound in (fewest - 0.5, most + 0.5))
        # ln(cdf(high) - cdf(low)), both mirrored where they are above the mean: there only the tails differ.
        mirrored = low > 0
        low, high = np.where(mirrored, -high, low), np.where(mirrored, -low, high)
        log_low, log_high = (torch.special.log_ndtr(torch.from_numpy(bound)).numpy() for bound in (low, high))
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            chance = log_high + np.log1p(-np.exp(log_low - log_high))
        chance = np.maximum(np.nan_to_num(chance, nan=-1e9, neginf=-1e9), -1e9)
        chance[(fewest > free) | (most < 0)] = -np.inf
        return chance[:, vocabulary.shape_of]
