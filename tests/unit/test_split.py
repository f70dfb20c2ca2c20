"""Splits: every strategy covers all windows, holds its shares, keeps its distance, and repeats itself."""

from types import SimpleNamespace

import numpy as np
import pytest

from primase.corpus import cut
from primase.corpus import split as split_module
from primase.corpus.cut import WINDOW_DTYPE
from primase.corpus.split import HELDOUT, TRAIN, UNUSED, VALIDATION, split_windows
from primase.errors import InputError
from primase.recipe import SplitSettings


def genome(record_windows: dict[str, int], window_bases: int = 100):
    """Windows of a genome, the starts of its records, and their names."""
    windows_of_record = np.array(list(record_windows.values()))
    windows = np.zeros(windows_of_record.sum(), WINDOW_DTYPE)
    windows["record"] = np.repeat(np.arange(len(record_windows)), windows_of_record)
    windows["start"] = np.arange(len(windows)) * window_bases
    windows["length"] = window_bases
    record_starts = (np.cumsum(windows_of_record) - windows_of_record) * window_bases
    return windows, record_starts, lambda: list(record_windows)


def split(genome_windows, *, seed=0, is_table=False, **settings):
    """The parts of the windows, and the choice."""
    windows, *places = genome_windows
    windows = windows.copy()
    choice = split_windows(windows, *places, SplitSettings(**settings), seed=seed, is_table=is_table)
    return SimpleNamespace(parts=windows["part"], strategy=choice.strategy, heldout_records=choice.heldout_records)


def test_random_split_has_the_tutorials_sizes():
    plan = split(genome({"hg38": 99_999}, 200), strategy="random", validation_fraction=0.2, heldout_fraction=0.0)
    assert np.bincount(plan.parts, minlength=4).tolist() == [79_999, 20_000, 0, 0]


def test_random_split_holds_out_single_windows():
    parts = split(genome({"a": 1000}), strategy="random", validation_fraction=0.1, heldout_fraction=0.2).parts
    assert np.bincount(parts, minlength=4).tolist() == [700, 100, 200, 0]
    assert np.count_nonzero(np.diff(parts)) > 300, "windows of a part must not lie together"


@pytest.mark.parametrize(("validation", "heldout"), [(0.0, 0.1001), (0.1001, 0.0), (0.0, 0.0)])
def test_random_split_leaves_a_part_that_is_not_asked_for_empty(validation, heldout):
    plan = split(genome({"a": 1200}), strategy="random", validation_fraction=validation, heldout_fraction=heldout)
    for part, share in ((VALIDATION, validation), (HELDOUT, heldout)):
        assert abs(np.count_nonzero(plan.parts == part) - 1200 * share) <= (1 if share else 0)


def test_rows_of_one_name_are_drawn_together():
    """A table of 600 rows and 30 names: a tenth of the windows, and not what any of the drawn rows is called."""
    windows, starts, _ = genome({f"{row}": 2 for row in range(600)})
    names = [f"chr{row % 30}" for row in range(600)]
    plan = split((windows, starts, lambda: names), strategy="records", heldout_fraction=0.1, is_table=True)
    heldout = plan.parts == HELDOUT
    assert np.count_nonzero(heldout) == 120 and len(plan.heldout_records) == len(set(plan.heldout_records)) == 3
    assert {names[row] for row in windows["record"][heldout]} == set(plan.heldout_records)


def test_named_records_are_held_out_whole_and_validation_comes_from_the_others():
    windows = genome({"I": 300, "IV": 200, "XVI": 100})
    plan = split(windows, strategy="records", heldout_records=("IV", "XVI"), block_bases=1000, gap_bases=0)
    records = windows[0]["record"]
    assert (plan.parts[np.isin(records, [1, 2])] == HELDOUT).all()
    assert set(plan.parts[records == 0]) == {TRAIN, VALIDATION}
    assert plan.heldout_records == ("IV", "XVI")


def test_a_record_that_is_not_there_is_named():
    with pytest.raises(InputError, match="no record 'chr9'; the records are I, II"):
        split(genome({"I": 10, "II": 10}), strategy="records", heldout_records=("chr9",))


def test_named_regions_are_held_out_and_windows_across_their_edges_left_out():
    windows = genome({"a:b": 30, "c": 30})
    regions = ("c:1,051-1,500", "c:2901-3000")
    parts = split(windows, heldout_regions=regions, validation_fraction=0.0, gap_bases=0).parts
    expected = [TRAIN] * 30 + [TRAIN] * 10 + [UNUSED] + [HELDOUT] * 4 + [TRAIN] * 14 + [HELDOUT]
    assert parts.tolist() == expected
    assert split(windows, heldout_regions=("a:b:1-500",), gap_bases=0, block_bases=300).strategy == "regions"
    with pytest.raises(InputError, match="no window lies inside c:4001-5000"):
        split(windows, heldout_regions=("c:4001-5000",))
    with pytest.raises(InputError, match="heldout_regions: there is no record 'd'; the records are a:b, c"):
        split(windows, heldout_regions=("d:1-500",))


@pytest.mark.parametrize("text", ["chr1", "chr1:5", "chr1:0-9", "chr1:9-5", "chr1:a-b", ":1-2", "chr1:,-,"])
def test_what_is_no_region_is_refused(text):
    with pytest.raises(InputError, match="is no region: write NAME:FIRST-LAST"):
        split(genome({"chr1": 10}), heldout_regions=(text,))


def test_regions_and_records_exclude_each_other():
    for settings, message in (
        ({"heldout_records": ("a",), "heldout_regions": ("b:1-5",)}, "one of them"),
        ({"strategy": "regions"}, "needs heldout_regions"),
        ({"strategy": "blocks", "heldout_regions": ("b:1-5",)}, "no effect on a blocks split"),
    ):
        with pytest.raises(ValueError, match=message):
            SplitSettings(**settings)


def test_blocks_are_long_and_contiguous_with_a_gap_around_them():
    plan = split(genome({"chr": 1000}), strategy="blocks", block_bases=5000, gap_bases=300, heldout_fraction=0.2)
    parts = plan.parts
    kept = np.flatnonzero((parts == HELDOUT) | (parts == VALIDATION))
    train = np.flatnonzero(parts == TRAIN)
    distance = np.abs(train[:, None] - kept[None, :]).min(axis=1) * 100 - 100
    assert distance.min() >= 300
    held_out = np.flatnonzero(parts == HELDOUT)
    runs = np.split(held_out, np.flatnonzero(np.diff(held_out) > 1) + 1)
    assert min(map(len, runs)) >= 50, "a block of 5,000 bases is 50 windows"
    assert 0.15 <= len(held_out) / 1000 <= 0.25
    assert (parts == UNUSED).any()


def test_a_gap_ends_with_its_record():
    windows = genome({"a": 50, "b": 50})
    parts = split(windows, strategy="records", heldout_records=("b",), validation_fraction=0.0, gap_bases=1000).parts
    assert parts.tolist() == [TRAIN] * 50 + [HELDOUT] * 50


@pytest.mark.parametrize("strategy", ["random", "records", "blocks", "auto"])
def test_the_seed_decides(strategy):
    windows = genome({name: 100 for name in "abcdefghij"})
    first, again, other = (split(windows, strategy=strategy, seed=seed).parts for seed in (1, 1, 2))
    assert (first == again).all()
    assert (first != other).any()


def test_automatic_choice():
    assert split(genome({"chromosome": 1000})).strategy == "blocks"
    assert split(genome({name: 100 for name in "abcdefghij"})).strategy == "records"
    assert split(genome({"big": 900, "small": 10})).strategy == "blocks", "no record is near a tenth"
    assert split(genome({"rows": 1000}), is_table=True).strategy == "random"


def scrap(genome_windows, windows: slice, bases: int):
    """The same genome with some windows cut to so many bases, as records shorter than a window and ends are."""
    table, *places = genome_windows
    table["length"][windows] = bases
    return table, *places


def test_what_an_assembly_could_not_place_is_not_all_that_is_held_out():
    contigs = {f"contig{number}": 1 for number in range(80)}
    chosen = split(scrap(genome({"chromosome": 460} | contigs), slice(460, None), 60))
    assert chosen.strategy == "blocks" and (chosen.parts[:460] == HELDOUT).sum() > 20


@pytest.mark.parametrize("seed", range(10))
def test_the_end_of_a_record_is_not_all_of_a_part(seed):
    """Where the genome is small, one block is a part; the last one may be a single base."""
    table, *places = scrap(genome({"a": 6}), slice(5, None), 1)
    parts = split((table, *places), seed=seed, gap_bases=0, validation_fraction=0.1, heldout_fraction=0.1).parts
    for part in (HELDOUT, VALIDATION):
        assert table["length"][parts == part].sum() >= 100


def test_chosen_records_are_named_in_the_order_of_the_genome():
    names = [f"r{number}" for number in range(40)]
    heldout = split(genome(dict.fromkeys(names, 10))).heldout_records
    assert len(heldout) > 2 and list(heldout) == sorted(heldout, key=names.index)


def test_an_empty_part_is_refused():
    with pytest.raises(InputError, match="leaves no window for the heldout part"):
        split(genome({"a": 2}), strategy="random", validation_fraction=0.1, heldout_fraction=0.1)


@pytest.mark.parametrize("strategy", ["random", "records", "blocks"])
def test_the_size_of_chunks_does_not_matter(monkeypatch, strategy):
    windows = genome({name: 97 for name in "abcdefghij"})
    whole = split(windows, strategy=strategy, block_bases=700, gap_bases=250).parts
    for module in (cut, split_module):
        monkeypatch.setattr(module, "CHUNK_WINDOWS", 50)
    assert (split(windows, strategy=strategy, block_bases=700, gap_bases=250).parts == whole).all()
