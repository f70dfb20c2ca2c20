"""Groups of stretches that resemble each other: which part each goes to, and what a corpus says of them."""

from dataclasses import dataclass

import numpy as np

from primase.corpus.cut import PARTS, TRAIN
from primase.errors import InputError

LARGEST_DRAWN = 0.25
"""Groups that are larger than this share of a part are trained on where the part fills without them: one family of
repeats would be most of what is measured."""


@dataclass(frozen=True)
class HomologyGroups:
    """What the strategy homology found: units of a genome, and groups of those that resemble each other."""

    unit_bases: int
    units: int
    groups: int
    linked_share: float
    """Share of the bases that have a relative in another unit."""
    largest_group_share: float
    """Share of the bases that the largest group has."""
    largest_group_part: str


@dataclass(frozen=True)
class GroupedUnits:
    """Units of a genome in its order; those without a window are there too, with no bases."""

    unit_bases: int
    """Length of a unit, where its record does not end."""
    bases: np.ndarray
    """float64 [units]: bases in the windows of each."""
    block: np.ndarray
    """int64 [units]: the block that it lies in."""
    group: np.ndarray
    """int64 [units]: the index of the first unit of its group."""

    @property
    def have_relatives(self) -> np.ndarray:
        """bool [units]: whether another unit is in the group."""
        return np.bincount(self.group, weights=self.bases > 0, minlength=len(self.group))[self.group] > 1

    @property
    def _bases_of_group(self) -> np.ndarray:
        """float64 [units], by the index of a group."""
        return np.bincount(self.group, weights=self.bases, minlength=len(self.group))

    def draw(self, shares: dict[int, float], rng: np.random.Generator) -> np.ndarray:
        """The part of each unit, uint8 [units], so that each part of `shares` has its share of all bases.

        Blocks come in random order and give their units one after another; each takes its group along. A group is taken
        where that brings the part nearer to its share, and large ones only where the part is not half full without
        them. Raises InputError where it is not half full with them either.
        """
        all_bases, bases_of_group = self.bases.sum(), self._bases_of_group
        part_of_group = np.full(len(self.group), TRAIN, np.uint8)
        order = np.argsort(rng.permutation(self.block.max() + 1)[self.block], kind="stable")
        groups_in_order = self.group[order[self.bases[order] > 0]].tolist()
        for part, share in shares.items():
            wanted, taken = share * all_bases, 0.0
            for largest, enough in ((LARGEST_DRAWN * wanted, wanted - self.unit_bases / 2), (np.inf, wanted / 2)):
                for group in groups_in_order:
                    if taken >= enough:
                        break
                    bases = bases_of_group[group]
                    is_nearer = abs(taken + bases - wanted) < abs(taken - wanted)
                    if part_of_group[group] == TRAIN and bases <= largest and is_nearer:
                        part_of_group[group] = part
                        taken += bases
            if taken < wanted / 2:
                raise InputError(
                    f"split.strategy=homology finds no {share:.0%} of the bases for a part: stretches that resemble "
                    f"each other stay together, and the largest group has {bases_of_group.max() / all_bases:.0%}; "
                    "raise split.homology_share, or set data.window_bases lower"
                )
        return part_of_group[self.group]

    def describe(self, parts: np.ndarray) -> HomologyGroups:
        """Of units whose parts, uint8 [units], were drawn."""
        all_bases, bases_of_group = self.bases.sum(), self._bases_of_group
        largest = int(np.argmax(bases_of_group))
        return HomologyGroups(
            unit_bases=self.unit_bases,
            units=int(np.count_nonzero(self.bases)),
            groups=int(np.count_nonzero(bases_of_group)),
            linked_share=float(self.bases[self.have_relatives].sum() / all_bases),
            largest_group_share=float(bases_of_group[largest] / all_bases),
            largest_group_part={code: name for name, code in PARTS.items()}[int(parts[largest])],
        )
