"""Which window goes to which part: train, validation, heldout.

Decided by the windows' places and a seed alone, and, for the strategy homology, by the bases.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from primase.corpus.cut import CHUNK_WINDOWS, chunks
from primase.errors import InputError
from primase.formats.regions import parse_region
from primase.recipe import SplitSettings

TRAIN, VALIDATION, HELDOUT, UNUSED = 0, 1, 2, 3
UNIT_BASES = 5_000
"""Stretches that the strategy homology compares; longer windows are compared one by one."""

LARGEST_DRAWN = 0.25
"""Groups of like stretches that are larger than this share of a part are trained on where the part fills without them:
one family of repeats would be most of what is measured."""

ReadBases = Callable[[int, int], bytes]
"""Gives the letters of a corpus, ASCII, from one place to another."""

PARTS = {"train": TRAIN, "validation": VALIDATION, "heldout": HELDOUT}


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
class SplitChoice:
    """How the windows were split."""

    strategy: str
    """random, records, regions, blocks or homology: what `auto` came to."""
    heldout_records: tuple[str, ...] = ()
    homology: HomologyGroups | None = None


def split_windows(
    windows: np.ndarray,
    record_starts: np.ndarray,
    read_record_names: Callable[[], list[str]],
    settings: SplitSettings,
    *,
    seed: int,
    is_table: bool,
    read_bases: ReadBases | None = None,
) -> SplitChoice:
    """Set the part of every window of a table of WINDOW_DTYPE, in place.

    `record_starts` int64 [records]: where each record begins in the corpus. The names are read only where needed: a
    table can have millions of rows. `read_bases` gives the letters of the corpus from one place to another, for the
    strategy homology. The same arguments give the same parts.
    Raises InputError when a named record does not exist or a part would be empty.
    """
    split = _Split(windows, record_starts, settings, np.random.default_rng(seed))
    strategy, chosen, groups = settings.strategy, (), None
    if strategy == "auto":
        strategy, chosen = split.automatic(read_record_names, is_table)
    if strategy == "random":
        split.by_window()
    elif strategy == "records":
        chosen = split.by_record(read_record_names(), chosen)
        split.by_block({VALIDATION: settings.validation_fraction})
    elif strategy == "regions":
        split.by_region(read_record_names())
        split.by_block({VALIDATION: settings.validation_fraction})
    elif strategy == "homology":
        shares = {HELDOUT: settings.heldout_fraction, VALIDATION: settings.validation_fraction}
        groups = split.by_homology(shares, read_bases)
    else:
        split.by_block({HELDOUT: settings.heldout_fraction, VALIDATION: settings.validation_fraction})
    split.refuse_empty(strategy)
    return SplitChoice(strategy, chosen, groups)


def _refuse_unknown(record: str, names: list[str], setting: str) -> None:
    if record not in names:
        raise InputError(
            f"{setting}: there is no record {record!r}; the records are "
            f"{', '.join(names[:8])}{', …' if len(names) > 8 else ''}"
        )


@dataclass(frozen=True)
class _Split:
    """The work of `split_windows`; every method writes into `windows["part"]`."""

    windows: np.ndarray
    record_starts: np.ndarray
    settings: SplitSettings
    rng: np.random.Generator

    def by_window(self) -> None:
        """Single windows, as the tutorial does: the first int(share * n) of a permutation are trained on."""
        settings, count = self.settings, len(self.windows)
        order = self.rng.permutation(count)
        train = int((1 - settings.validation_fraction - settings.heldout_fraction) * count + 1e-9)
        heldout = round(settings.heldout_fraction * count)
        self.windows["part"][order[train:]] = VALIDATION
        self.windows["part"][order[count - heldout :]] = HELDOUT

    def automatic(self, read_record_names: Callable[[], list[str]], is_table: bool) -> tuple[str, tuple[str, ...]]:
        """What is named; for a genome records where a draw of them comes near the share asked for, blocks otherwise."""
        if self.settings.heldout_records:
            return "records", ()
        if self.settings.heldout_regions:
            return "regions", ()
        if is_table:
            return "random", ()
        names = read_record_names()
        wanted = self.settings.heldout_fraction
        chosen = self._draw_records(names) if len(names) > 1 else ()
        bases = self._bases_of_records()
        share = bases[np.isin(np.asarray(names), chosen)].sum() / bases.sum()
        return ("records", chosen) if 0.5 * wanted <= share <= 1.5 * wanted else ("blocks", ())

    def by_record(self, names: list[str], chosen: tuple[str, ...]) -> tuple[str, ...]:
        """Hold out the records that are chosen already, or named in the recipe, or drawn now."""
        for name in self.settings.heldout_records:
            _refuse_unknown(name, names, "split.heldout_records")
        chosen = chosen or self.settings.heldout_records or self._draw_records(names)
        is_heldout = np.isin(np.asarray(names), chosen)
        for chunk in chunks(self.windows):
            chunk["part"][is_heldout[chunk["record"]]] = HELDOUT
        return chosen

    def by_region(self, names: list[str]) -> None:
        """Hold out the windows inside the regions named in the recipe; windows across their edges are left out."""
        for text in self.settings.heldout_regions:
            region = parse_region(text)
            _refuse_unknown(region.record, names, "split.heldout_regions")
            record = names.index(region.record)
            first = int(self.record_starts[record])
            heldout = 0
            for chunk in chunks(self.windows):
                start = chunk["start"] - first
                end = start + chunk["length"]
                touched = (chunk["record"] == record) & (start < region.end) & (end > region.start)
                inside = touched & (start >= region.start) & (end <= region.end)
                chunk["part"][touched & (chunk["part"] == TRAIN)] = UNUSED
                chunk["part"][inside] = HELDOUT
                heldout += int(inside.sum())
            if not heldout:
                raise InputError(
                    f"split.heldout_regions: no window lies inside {text}; give a longer region that is in the record, "
                    "or set data.window_bases lower"
                )

    def by_block(self, shares: dict[int, float]) -> None:
        """Blocks of consecutive training windows go whole to a part; training windows near another part are left out.

        A block never spans two records; where the genome is too small for blocks of the length asked for, they are
        made shorter, so that at least twenty exist.
        """
        block_bases = self._block_bases()
        blocks, block_of = self._blocks(block_bases)
        bases_of_block = np.zeros(blocks)
        for chunk in chunks(self.windows):
            open_bases = np.where(chunk["part"] == TRAIN, chunk["length"], 0)
            bases_of_block += np.bincount(block_of(chunk), weights=open_bases, minlength=blocks)
        part_of_block = self._draw_blocks(bases_of_block, shares, block_bases)
        for chunk in chunks(self.windows):
            is_open = chunk["part"] == TRAIN
            chunk["part"][is_open] = part_of_block[block_of(chunk)][is_open]
        self._leave_gap()

    def _block_bases(self) -> int:
        train_bases = sum(int(chunk["length"][chunk["part"] == TRAIN].sum()) for chunk in chunks(self.windows))
        return min(self.settings.block_bases, max(train_bases // 20, int(self.windows["length"].max())))

    def _blocks(self, block_bases: int) -> tuple[int, Callable[[np.ndarray], np.ndarray]]:
        """How many blocks the records have, and a function that gives the block in which each row of windows begins."""
        record_bases = np.diff(np.append(self.record_starts, self.windows["start"][-1] + self.windows["length"][-1]))
        blocks_of_record = np.maximum(record_bases, 1) // block_bases + 1
        first_block = np.cumsum(blocks_of_record) - blocks_of_record

        def block_of(rows: np.ndarray) -> np.ndarray:
            record = rows["record"]
            return first_block[record] + (rows["start"] - self.record_starts[record]) // block_bases

        return int(blocks_of_record.sum()), block_of

    def _draw_blocks(self, bases_of_block: np.ndarray, shares: dict[int, float], block_bases: int) -> np.ndarray:
        """The part of each block: blocks in random order until each part has its share of all bases."""
        all_bases = sum(int(chunk["length"].sum()) for chunk in chunks(self.windows))
        part_of_block = np.full(len(bases_of_block), TRAIN, np.uint8)
        order = iter(self.rng.permutation(np.flatnonzero(bases_of_block)))
        for part, share in shares.items():
            wanted, taken = share * all_bases, 0.0
            while taken < wanted - block_bases / 2 or (share > 0 and taken == 0):
                block = next(order, None)
                if block is None:
                    break
                part_of_block[block] = part
                taken += bases_of_block[block]
        return part_of_block

    def by_homology(self, shares: dict[int, float], read_bases: ReadBases) -> HomologyGroups:
        """Blocks go to a part unit by unit, and each unit takes along those that resemble it, wherever they are."""
        from primase.corpus.homology import linked_groups  # numba: only where it is needed

        all_bases = sum(int(chunk["length"].sum()) for chunk in chunks(self.windows))
        unit_bases = max(min(UNIT_BASES, all_bases // 100), int(self.windows["length"].max()))
        units, unit_of = self._blocks(unit_bases)
        _, block_of = self._blocks(self._block_bases())
        starts, ends, bases = np.full(units, np.iinfo(np.int64).max), np.zeros(units, np.int64), np.zeros(units)
        block = np.zeros(units, np.int64)
        for chunk in chunks(self.windows):
            unit = unit_of(chunk)
            np.minimum.at(starts, unit, chunk["start"])
            np.maximum.at(ends, unit, chunk["start"] + chunk["length"])
            np.maximum.at(block, unit, block_of(chunk))
            bases += np.bincount(unit, weights=chunk["length"], minlength=units)
        used = np.flatnonzero(bases)
        group = np.zeros(units, np.int64)
        group[used] = used[linked_groups(read_bases, starts[used], ends[used], self.settings.homology_share)]
        part_of_group = self._draw_groups(group, bases, block, shares, unit_bases)
        for chunk in chunks(self.windows):
            chunk["part"] = part_of_group[group[unit_of(chunk)]]
        self._leave_gap()
        return _describe_groups(unit_bases, group[used], bases[used], part_of_group)

    def _draw_groups(
        self, group: np.ndarray, bases: np.ndarray, block: np.ndarray, shares: dict[int, float], unit_bases: int
    ) -> np.ndarray:
        """The part of each group, uint8 [units]: groups in the order of their units, blocks of units in random order.

        A group is taken where that brings the part nearer to its share of all bases; large ones only where the part is
        not half full without them. Raises InputError where it is not half full with them either.
        """
        bases_of_group = np.bincount(group, weights=bases, minlength=len(group))
        part_of_group = np.full(len(group), TRAIN, np.uint8)
        rank = self.rng.permutation(block.max() + 1)
        order = np.argsort(rank[block], kind="stable")
        for part, share in shares.items():
            wanted, taken = share * bases.sum(), 0.0
            for largest in (LARGEST_DRAWN * wanted, np.inf):
                for one in group[order[bases[order] > 0]].tolist():
                    if taken >= wanted - unit_bases / 2 or (largest == np.inf and taken >= wanted / 2):
                        break
                    size = bases_of_group[one]
                    nearer = abs(taken + size - wanted) < abs(taken - wanted)
                    if part_of_group[one] == TRAIN and size <= largest and nearer:
                        part_of_group[one] = part
                        taken += size
            if taken < wanted / 2:
                raise InputError(
                    f"split.strategy=homology finds no {share:.0%} of the bases for a part: stretches that resemble "
                    f"each other stay together, and the largest group has {bases_of_group.max() / bases.sum():.0%}; "
                    f"raise split.homology_share (now {self.settings.homology_share:g}), or set data.window_bases lower"
                )
        return part_of_group

    def _leave_gap(self) -> None:
        """Training windows within `gap_bases` of another part's window, in the same record, become unused."""
        part = self.windows["part"]
        others = self.windows[(part == VALIDATION) | (part == HELDOUT)]
        if not self.settings.gap_bases or not len(others):
            return
        starts, ends, records = others["start"], others["start"] + others["length"], others["record"]
        for first in range(0, len(self.windows), CHUNK_WINDOWS):
            chunk = self.windows[first : first + CHUNK_WINDOWS]
            start, end = chunk["start"], chunk["start"] + chunk["length"]
            after = np.searchsorted(starts, start)
            near = np.zeros(len(chunk), bool)
            for neighbour in (np.minimum(after, len(others) - 1), np.maximum(after - 1, 0)):
                distance = np.maximum(start - ends[neighbour], starts[neighbour] - end)
                near |= (distance < self.settings.gap_bases) & (records[neighbour] == chunk["record"])
            chunk["part"][near & (chunk["part"] == TRAIN)] = UNUSED

    def _bases_of_records(self) -> np.ndarray:
        """Bases in the windows of each record, float64 [records]."""
        bases = np.zeros(len(self.record_starts))
        for chunk in chunks(self.windows):
            bases += np.bincount(chunk["record"], weights=chunk["length"], minlength=len(bases))
        return bases

    def _draw_records(self, names: list[str]) -> tuple[str, ...]:
        """Records in random order, each held out if that brings the share nearer to the fraction asked for."""
        bases = self._bases_of_records()
        wanted, held_out, chosen = self.settings.heldout_fraction * bases.sum(), 0.0, []
        for record in self.rng.permutation(len(names)):
            if abs(held_out + bases[record] - wanted) < abs(held_out - wanted):
                held_out += bases[record]
                chosen.append(names[record])
        return tuple(sorted(chosen, key=names.index))

    def refuse_empty(self, strategy: str) -> None:
        settings, count = self.settings, np.bincount(self.windows["part"], minlength=4)
        asked = {"train": 1.0, "validation": settings.validation_fraction, "heldout": settings.heldout_fraction}
        for name, share in asked.items():
            if share > 0 and not count[PARTS[name]]:
                bases = sum(int(chunk["length"].sum()) for chunk in chunks(self.windows))
                raise InputError(
                    f"the {strategy} split leaves no window for the {name} part: give more sequence, "
                    f"shorter windows (such as data.window_bases={max(2, bases // 100)}), a smaller split.gap_bases, "
                    "or other split fractions"
                )


def _describe_groups(
    unit_bases: int, group: np.ndarray, bases: np.ndarray, part_of_group: np.ndarray
) -> HomologyGroups:
    numbers, group = np.unique(group, return_inverse=True)
    bases_of_group = np.bincount(group, weights=bases)
    largest = int(np.argmax(bases_of_group))
    return HomologyGroups(
        unit_bases=unit_bases,
        units=len(group),
        groups=len(numbers),
        linked_share=float(bases[np.bincount(group)[group] > 1].sum() / bases.sum()),
        largest_group_share=float(bases_of_group[largest] / bases.sum()),
        largest_group_part={code: name for name, code in PARTS.items()}[int(part_of_group[numbers[largest]])],
    )
