"""Which window goes to which part: train, validation, heldout.

Decided by the windows' places and a seed alone, and, for the strategy homology, by the bases.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from primase.corpus.cut import CHUNK_WINDOWS, HELDOUT, PARTS, TRAIN, UNUSED, VALIDATION, chunks
from primase.corpus.groups import GroupedUnits, HomologyGroups
from primase.errors import InputError
from primase.formats.regions import parse_region
from primase.recipe import SplitSettings

UNIT_BASES = 5_000
"""Stretches that the strategy homology compares; longer windows are compared one by one."""

ReadBases = Callable[[int, int], bytes]
"""Gives the letters of a corpus, ASCII, from one place to another."""


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
        # What rounding leaves over is of a part that was asked for.
        heldout = round(settings.heldout_fraction * count) if settings.validation_fraction else count - train
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
        # Records shorter than a window are what an assembly could not place, without context: no figure of a genome.
        longest = int(self.windows["length"].max())
        chosen = self._draw_records(names, least_bases=longest) if len(names) > 1 else ()
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
        self._leave_gap(self.settings.gap_bases)

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
            # Half of it at least: a block may be the end of a record or a short one, of a single base.
            while taken < max(wanted - block_bases / 2, wanted / 2):
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
        number, unit_of = self._blocks(unit_bases)
        _, block_of = self._blocks(self._block_bases())
        starts, ends, bases = np.full(number, np.iinfo(np.int64).max), np.zeros(number, np.int64), np.zeros(number)
        block = np.zeros(number, np.int64)
        for chunk in chunks(self.windows):
            unit = unit_of(chunk)
            np.minimum.at(starts, unit, chunk["start"])
            np.maximum.at(ends, unit, chunk["start"] + chunk["length"])
            np.maximum.at(block, unit, block_of(chunk))
            bases += np.bincount(unit, weights=chunk["length"], minlength=number)
        used = np.flatnonzero(bases)
        group = np.arange(number)
        group[used] = used[linked_groups(read_bases, starts[used], ends[used], self.settings.homology_share)]
        units = GroupedUnits(unit_bases, bases, block, group)
        parts, have_relatives, relatives = units.draw(shares, self.rng), units.have_relatives, []
        for chunk in chunks(self.windows):
            unit = unit_of(chunk)
            chunk["part"] = parts[unit]
            relatives.append(chunk[have_relatives[unit] & (chunk["part"] == TRAIN)])
        # A relative may end in a unit that has too little of it to be linked: what is beside linked ones is left out.
        self._leave_gap(max(self.settings.gap_bases, unit_bases))
        self._leave_out(
            lambda rows: (rows["part"] != TRAIN) & ~have_relatives[unit_of(rows)],
            _Places.of(np.concatenate(relatives)),
            unit_bases,
        )
        return units.describe(parts)

    def _leave_gap(self, gap_bases: int) -> None:
        """Training windows within `gap_bases` of another part's window, in the same record, become unused."""
        part = self.windows["part"]
        others = _Places.of(self.windows[(part == VALIDATION) | (part == HELDOUT)])
        self._leave_out(lambda rows: rows["part"] == TRAIN, others, gap_bases)

    def _leave_out(self, concerns: Callable[[np.ndarray], np.ndarray], others: "_Places", gap_bases: int) -> None:
        """Windows that it concerns, within `gap_bases` of one of the others in the same record, become unused."""
        if not gap_bases or not len(others.starts):
            return
        for first in range(0, len(self.windows), CHUNK_WINDOWS):
            chunk = self.windows[first : first + CHUNK_WINDOWS]
            chunk["part"][others.are_near(chunk, gap_bases) & concerns(chunk)] = UNUSED

    def _bases_of_records(self) -> np.ndarray:
        """Bases in the windows of each record, float64 [records]."""
        bases = np.zeros(len(self.record_starts))
        for chunk in chunks(self.windows):
            bases += np.bincount(chunk["record"], weights=chunk["length"], minlength=len(bases))
        return bases

    def _draw_records(self, names: list[str], least_bases: int = 1) -> tuple[str, ...]:
        """Records of so many bases in random order, each held out if that brings the share nearer to the fraction.

        Rows of a table that have one name are one record here: they are held out together.
        """
        unique, first, record_of = np.unique(np.asarray(names), return_index=True, return_inverse=True)
        by_first = np.argsort(first)  # in the order of the file, as draws of distinct names have always been
        bases = np.bincount(record_of, weights=self._bases_of_records())[by_first]
        wanted, held_out, chosen = self.settings.heldout_fraction * bases.sum(), 0.0, []
        for record in self.rng.permutation(len(bases)):
            is_nearer = abs(held_out + bases[record] - wanted) < abs(held_out - wanted)
            if bases[record] >= least_bases and is_nearer:
                held_out += bases[record]
                chosen.append(int(record))
        return tuple(str(unique[by_first[record]]) for record in sorted(chosen))

    def refuse_empty(self, strategy: str) -> None:
        settings = self.settings
        count = sum(np.bincount(chunk["part"], minlength=4) for chunk in chunks(self.windows))
        asked = {"train": 1.0, "validation": settings.validation_fraction, "heldout": settings.heldout_fraction}
        for name, share in asked.items():
            if share > 0 and not count[PARTS[name]]:
                bases = sum(int(chunk["length"].sum()) for chunk in chunks(self.windows))
                raise InputError(
                    f"the {strategy} split leaves no window for the {name} part: give more sequence, "
                    f"shorter windows (such as data.window_bases={max(2, bases // 100)}), a smaller split.gap_bases, "
                    "or other split fractions"
                )


@dataclass(frozen=True)
class _Places:
    """Where some windows lie, in genome order: int64 starts and ends, int32 records, [windows] each."""

    starts: np.ndarray
    ends: np.ndarray
    records: np.ndarray

    @classmethod
    def of(cls, rows: np.ndarray) -> "_Places":
        return cls(rows["start"], rows["start"] + rows["length"], rows["record"])

    def are_near(self, rows: np.ndarray, gap_bases: int) -> np.ndarray:
        """Whether each row lies within `gap_bases` of one of these places, in the same record: bool [rows]."""
        start, end = rows["start"], rows["start"] + rows["length"]
        after = np.searchsorted(self.starts, start)
        near = np.zeros(len(rows), bool)
        for neighbour in (np.minimum(after, len(self.starts) - 1), np.maximum(after - 1, 0)):
            distance = np.maximum(start - self.ends[neighbour], self.starts[neighbour] - end)
            near |= (distance < gap_bases) & (self.records[neighbour] == rows["record"])
        return near
