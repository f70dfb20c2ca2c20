"""Which window goes to which part: train, validation, heldout. Pure functions of the windows' places and a seed."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from primase.errors import InputError
from primase.recipe import SplitSettings

TRAIN, VALIDATION, HELDOUT, UNUSED = 0, 1, 2, 3
PARTS = {"train": TRAIN, "validation": VALIDATION, "heldout": HELDOUT}


@dataclass(frozen=True)
class SplitPlan:
    """The part of each window, and the sentence that says how it was made."""

    parts: np.ndarray
    """uint8 [windows]: TRAIN, VALIDATION, HELDOUT, or UNUSED for the gap between parts."""
    strategy: str
    heldout_records: tuple[str, ...] = ()


def split_windows(
    starts: np.ndarray,
    lengths: np.ndarray,
    record_of_window: np.ndarray,
    read_record_names: Callable[[], list[str]],
    settings: SplitSettings,
    *,
    seed: int,
    is_table: bool,
) -> SplitPlan:
    """Assign every window to a part.

    `starts` and `lengths` [windows] are in bases of the corpus, where records lie one after another, ordered;
    `record_of_window` [windows] indexes the names, which are read only where needed: a table can have millions of rows.
    The same arguments give the same parts.
    Raises InputError when a named record does not exist or a part would be empty.
    """
    rng = np.random.default_rng(seed)
    strategy = settings.strategy
    chosen: tuple[str, ...] = ()
    if strategy == "auto":
        strategy = "random"
        if not is_table:
            strategy, chosen = _automatic(lengths, record_of_window, read_record_names(), settings, rng)
    parts = np.full(len(starts), TRAIN, np.uint8)
    if strategy == "random":
        _split_random(parts, settings, rng)
    elif strategy == "records":
        record_names = read_record_names()
        chosen = chosen or _named_records(record_names, settings)
        chosen = chosen or _draw_records(
            lengths, record_of_window, record_names, settings.heldout_fraction, rng
        )
        is_heldout = np.isin(np.asarray(record_names), chosen)
        parts[is_heldout[record_of_window]] = HELDOUT
        _split_blocks(parts, starts, lengths, record_of_window, settings, rng, heldout_fraction=0.0)
    else:
        _split_blocks(
            parts,
            starts,
            lengths,
            record_of_window,
            settings,
            rng,
            heldout_fraction=settings.heldout_fraction,
        )
    _refuse_empty(parts, settings, strategy)
    return SplitPlan(parts, strategy, chosen)


def _automatic(lengths, record_of_window, record_names, settings, rng) -> tuple[str, tuple[str, ...]]:
    """Records where a draw of them comes near the share asked for, blocks otherwise."""
    if len(record_names) > 1 and not settings.heldout_records:
        chosen = _draw_records(lengths, record_of_window, record_names, settings.heldout_fraction, rng)
        held_out = np.isin(np.asarray(record_names), chosen)[record_of_window]
        share = lengths[held_out].sum() / lengths.sum()
        if 0.5 * settings.heldout_fraction <= share <= 1.5 * settings.heldout_fraction:
            return "records", chosen
    return ("records", ()) if settings.heldout_records else ("blocks", ())


def _split_random(parts: np.ndarray, settings: SplitSettings, rng: np.random.Generator) -> None:
    """Single windows, as the tutorial does: the first int(share * n) of a permutation are trained on."""
    order = rng.permutation(len(parts))
    train_windows = int((1 - settings.validation_fraction - settings.heldout_fraction) * len(parts) + 1e-9)
    heldout_windows = round(settings.heldout_fraction * len(parts))
    parts[order[train_windows:]] = VALIDATION
    parts[order[len(parts) - heldout_windows :]] = HELDOUT


def _named_records(record_names: list[str], settings: SplitSettings) -> tuple[str, ...]:
    for name in settings.heldout_records:
        if name not in record_names:
            raise InputError(
                f"split.heldout_records: there is no record {name!r}; the records are "
                f"{', '.join(record_names[:8])}{', …' if len(record_names) > 8 else ''}"
            )
    return settings.heldout_records


def _draw_records(lengths, record_of_window, record_names, fraction, rng) -> tuple[str, ...]:
    """Records in random order, each held out if that brings the share nearer to the fraction asked for."""
    bases = np.bincount(record_of_window, weights=lengths, minlength=len(record_names))
    wanted, held_out, chosen = fraction * bases.sum(), 0.0, []
    for record in rng.permutation(len(record_names)):
        if abs(held_out + bases[record] - wanted) < abs(held_out - wanted):
            held_out += bases[record]
            chosen.append(record_names[record])
    return tuple(sorted(chosen, key=record_names.index))


def _split_blocks(parts, starts, lengths, record_of_window, settings, rng, *, heldout_fraction) -> None:
    """Blocks of consecutive windows go whole to a part; training windows near them are left out.

    Only windows that are still TRAIN are considered. A block never spans two records; where the genome is too small
    for blocks of the length asked for, they are made shorter, so that at least twenty exist.
    """
    open_windows = np.flatnonzero(parts == TRAIN)
    if not len(open_windows):
        return
    block_bases = min(settings.block_bases, max(int(lengths[open_windows].sum()) // 20, int(lengths.max())))
    first_window = np.r_[True, np.diff(record_of_window) != 0]
    record_start = np.maximum.accumulate(np.where(first_window, starts, 0))
    key = np.stack([record_of_window[open_windows], (starts - record_start)[open_windows] // block_bases])
    _, block_of_window = np.unique(key, axis=1, return_inverse=True)
    bases_of_block = np.bincount(block_of_window, weights=lengths[open_windows])
    part_of_block = np.full(len(bases_of_block), TRAIN, np.uint8)
    order = iter(rng.permutation(len(bases_of_block)))
    for part, fraction in ((HELDOUT, heldout_fraction), (VALIDATION, settings.validation_fraction)):
        wanted, taken = fraction * lengths.sum(), 0.0
        while taken < wanted - block_bases / 2 or (fraction > 0 and taken == 0):
            block = next(order, None)
            if block is None:
                break
            part_of_block[block] = part
            taken += bases_of_block[block]
    parts[open_windows] = part_of_block[block_of_window]
    _leave_gap(parts, starts, lengths, record_of_window, settings.gap_bases)


def _leave_gap(parts, starts, lengths, record_of_window, gap_bases) -> None:
    """Training windows that end or begin within `gap_bases` of another part's window, in the same record, are unused."""
    kept = np.flatnonzero((parts == VALIDATION) | (parts == HELDOUT))
    train = np.flatnonzero(parts == TRAIN)
    if not gap_bases or not len(kept) or not len(train):
        return
    ends = starts + lengths
    after = np.searchsorted(kept, train)
    for neighbour, exists in (
        (np.minimum(after, len(kept) - 1), after < len(kept)),
        (np.maximum(after - 1, 0), after > 0),
    ):
        other = kept[neighbour]
        distance = np.maximum(starts[train] - ends[other], starts[other] - ends[train])
        near = exists & (distance < gap_bases) & (record_of_window[train] == record_of_window[other])
        parts[train[near]] = UNUSED


def _refuse_empty(parts: np.ndarray, settings: SplitSettings, strategy: str) -> None:
    asked = {
        "train": True,
        "validation": settings.validation_fraction > 0,
        "heldout": settings.heldout_fraction > 0,
    }
    for name, code in PARTS.items():
        if asked[name] and not (parts == code).any():
            raise InputError(
                f"the {strategy} split leaves no window for the {name} part: give more sequence, "
                "a smaller data.window_bases or split.gap_bases, or other split fractions"
            )
