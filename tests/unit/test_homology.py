"""The split by homology: what resembles each other is found, and is never on two sides."""

from types import SimpleNamespace

import numpy as np
import pytest

from primase import dna
from primase.corpus import cut
from primase.corpus import homology as homology_module
from primase.corpus import split as split_module
from primase.corpus.cut import WINDOW_DTYPE
from primase.corpus.homology import LEAST_SHARED, MINIMIZERS, NEIGHBOURS, linked_groups
from primase.corpus.kmers import minimizer_hashes
from primase.corpus.prepare import prepare
from primase.corpus.split import HELDOUT, TRAIN, UNUSED, VALIDATION, split_windows
from primase.errors import InputError, RecipeError
from primase.recipe import Recipe, SplitSettings
from tests.unit.test_kmers import one_segment, random_text


def mutated(text: str, identity: float, seed: int) -> str:
    """Substitutions at random places."""
    rng = np.random.default_rng(seed)
    codes = dna.codes(text.encode())
    changed = rng.random(len(codes)) > identity
    codes[changed] = (codes[changed] + rng.integers(1, 4, changed.sum())) % 4
    return np.frombuffer(b"ACGT", np.uint8)[codes].tobytes().decode()


def groups_of(units: list[str], share: float = 0.05) -> list[int]:
    text = "".join(units).encode()
    ends = np.cumsum([len(unit) for unit in units])
    starts = ends - np.array([len(unit) for unit in units])
    return linked_groups(lambda start, stop: text[start:stop], starts, ends, share).tolist()


def brute_force_groups(units: list[str], share: float) -> list[int]:
    sets = [set(minimizer_hashes(one_segment(unit), MINIMIZERS)[0].tolist()) for unit in units]
    group = list(range(len(units)))
    for one in range(len(units)):
        for two in range(one):
            shared, fewer = len(sets[one] & sets[two]), min(len(sets[one]), len(sets[two]))
            if shared and shared >= share * fewer and shared >= min(LEAST_SHARED, fewer):
                joined = {group[one], group[two]}
                group = [min(joined) if g in joined else g for g in group]
    return group


@pytest.mark.parametrize("piece_bases", [1000, 2**19])
@pytest.mark.parametrize("share", [0.03, 0.1, 0.3, 1.0])
@pytest.mark.parametrize("seed", [0, 1])
def test_groups_are_those_of_every_pair_compared(monkeypatch, seed, share, piece_bases):
    """Units of many lengths with copies of parts of others, on either strand, more or less alike."""
    rng = np.random.default_rng(seed)
    units = [random_text(int(rng.integers(20, 1500)), 100 * seed + i, "ACGT" * 50 + "N") for i in range(30)]
    for turn in range(12):
        source, target = rng.integers(30, size=2)
        start = int(rng.integers(len(units[source])))
        copy = mutated(units[source][start : start + 400].replace("N", "A"), 0.95, turn)
        units[target] += copy if turn % 2 else dna.reverse_complement(copy).lower()
    read_segments = homology_module.read_segments
    monkeypatch.setattr(homology_module, "read_segments", lambda *a: read_segments(*a, piece_bases=piece_bases))
    groups = groups_of(units, share)
    assert groups == brute_force_groups(units, share)
    assert share > 0.1 or len(set(groups)) < 30


def test_a_repeat_of_more_units_than_are_paired_is_one_group():
    """Each minimizer stands in 100 units; every one is linked to its next, so all are linked."""
    repeat = random_text(2000)
    units = [mutated(repeat, 0.97, seed) if seed % 2 else random_text(2000, seed) for seed in range(6 * NEIGHBOURS)]
    groups = np.array(groups_of(units))
    assert len(set(groups[1::2])) == 1 and len(set(groups[::2])) == 3 * NEIGHBOURS


def test_short_repeats_everywhere_join_nothing():
    """300 bases in each of 200 units, three times in some, 85 % alike: as Alu in the human genome."""
    repeat = random_text(300)
    rng = np.random.default_rng(0)
    units = []
    for seed in range(200):
        text = random_text(5000, seed + 1)
        for at in rng.choice(16, 1 + seed % 3, replace=False) * 300:
            text = text[:at] + mutated(repeat, 0.85, 10_000 * seed + at) + text[at + 300 :]
        units.append(text)
    assert len(set(groups_of(units))) == 200
    assert len(set(groups_of(units, share=0.002))) < 50, "a lower share joins them"


def test_a_draw_of_the_minimizers_finds_the_copies_too(monkeypatch):
    monkeypatch.setattr(homology_module, "MOST_MINIMIZERS", 5000)
    units = [random_text(5000, seed) for seed in range(40)]
    units += [dna.reverse_complement(mutated(unit, 0.97, 1)) for unit in units[::-1]]
    groups = groups_of(units)
    assert groups == [*range(40), *range(39, -1, -1)]


def split(records: list[str], window_bases: int, *, seed: int = 0, **settings):
    """Windows side by side in each record, split by homology."""
    text = "".join(records).encode()
    first = np.cumsum([0, *map(len, records)])[:-1]
    rows = [
        (start_of_record + start, min(window_bases, len(record) - start), number, TRAIN)
        for number, (start_of_record, record) in enumerate(zip(first, records, strict=True))
        for start in range(0, len(record), window_bases)
    ]
    windows = np.array(rows, WINDOW_DTYPE)
    choice = split_windows(
        windows,
        first,
        lambda: [str(i) for i in range(len(records))],
        SplitSettings(strategy="homology", **settings),
        seed=seed,
        is_table=False,
        read_bases=lambda start, stop: text[start:stop],
    )
    part_of_base = np.repeat(windows["part"], windows["length"])
    return SimpleNamespace(windows=windows, groups=choice.homology, part_of_base=part_of_base, strategy=choice.strategy)


@pytest.mark.parametrize("seed", range(5))
def test_a_diverged_inverted_duplicate_is_never_split_apart(seed):
    """20 kb and its copy, 90 % identical, on the other strand of another record, at places that fit no unit."""
    records = [random_text(400_000, 2 * seed), random_text(400_000, 2 * seed + 1)]
    source, target = 31_234, 101_777 + 700 * seed
    copy = dna.reverse_complement(mutated(records[0][source : source + 20_000], 0.9, seed))
    records[1] = records[1][:target] + copy + records[1][target + 20_000 :]
    sides = []
    for draw in range(10):
        plan = split(records, 500, seed=draw, heldout_fraction=0.3, validation_fraction=0.1)
        own = plan.part_of_base[source : source + 20_000]
        others = plan.part_of_base[400_000 + target : 400_000 + target + 20_000][::-1]
        measured = {HELDOUT, VALIDATION}
        for one, two in ((own, others), (others, own)):
            assert not np.any(np.isin(one, list(measured)) & (two == TRAIN)), "a copy in the training part"
        sides.append({part for part in (TRAIN, HELDOUT) if (own == part).mean() > 0.5})
    assert {TRAIN} in sides and {HELDOUT} in sides, "some draws take it, others leave it"


def test_shares_are_held_and_blocks_stay_long():
    plan = split([random_text(600_000, 1), random_text(400_000, 2)], 1000, heldout_fraction=0.2, block_bases=50_000)
    share = np.bincount(plan.part_of_base, minlength=4) / 1_000_000
    assert share[HELDOUT] == pytest.approx(0.2, abs=0.005) and share[VALIDATION] == pytest.approx(0.05, abs=0.005)
    assert share[UNUSED] > 0
    edges = np.flatnonzero(np.diff(plan.part_of_base == HELDOUT))
    assert len(edges) <= 2 * 5, "four blocks of 50 kb, and a piece of one"
    near = np.flatnonzero(np.isin(plan.part_of_base, [HELDOUT, VALIDATION]))
    train = np.flatnonzero(plan.part_of_base[:600_000] == TRAIN)
    next_measured = np.searchsorted(near, train)
    distance = np.minimum(
        near[np.minimum(next_measured, len(near) - 1)] - train, train - near[np.maximum(next_measured - 1, 0)]
    )
    assert np.abs(distance).min() >= 1000
    assert (plan.groups.units, plan.groups.groups, plan.groups.linked_share) == (200, 200, 0.0)


def test_a_family_that_would_fill_the_part_is_trained_on():
    """A repeat of a tenth of the genome: held out, it would be all that is measured."""
    repeat = random_text(5000, 1000)
    units = [mutated(repeat, 0.98, i) if i % 10 == 5 else random_text(5000, i) for i in range(200)]
    for seed in range(5):
        plan = split(["".join(units)], 500, seed=seed, gap_bases=0)
        assert plan.groups.largest_group_share == pytest.approx(0.1) and plan.groups.largest_group_part == "train"
        family = np.arange(1_000_000) // 5000 % 10 == 5
        assert not np.isin(plan.part_of_base[family], [HELDOUT, VALIDATION]).any()
        assert 0.07 < np.mean(plan.part_of_base == HELDOUT) < 0.1, "some is left out beside the family"


def test_rows_of_a_table_are_units():
    """Rows that overlap by half, as windows around binding sites do, stay together."""
    genome = random_text(60_000)
    records = [genome[start : start + 100] for start in range(0, 60_000, 1000)]
    records += [dna.reverse_complement(genome[start + 50 : start + 150]) for start in range(0, 60_000, 1000)]
    parts = split(records, 100, heldout_fraction=0.3).windows["part"]
    assert (parts[:60] == parts[60:]).all() and set(parts) == {TRAIN, VALIDATION, HELDOUT}


def test_one_family_alone_is_refused_in_one_line():
    text = random_text(10_000)
    with pytest.raises(InputError, match=r"finds no 10% of the bases .* the largest group has 100%; raise split\.hom"):
        split([mutated(text, 0.99, seed) for seed in range(6)], 10_000)


def test_the_seed_decides_and_the_size_of_chunks_does_not(monkeypatch):
    records = [random_text(40_000, seed) for seed in range(4)]
    first, again, other = (split(records, 100, seed=seed).part_of_base for seed in (1, 1, 2))
    assert (first == again).all() and (first != other).any()
    for module in (cut, split_module):
        monkeypatch.setattr(module, "CHUNK_WINDOWS", 50)
    assert (split(records, 100, seed=1).part_of_base == first).all()


def test_near_identical_strains_stay_together(tmp_path, shared_data):
    """Six genomes of one virus: wherever one is held out, all are; windows as long as most of a genome are refused."""
    file = shared_data / "genomes" / "small" / "NiV_6_Malaysia.fasta.gz"
    settings = {"split.strategy": "homology", "data.window_bases": 200, "data.short_records": "skip"}
    recipe = Recipe.load("default", settings)
    corpus = prepare([file], tmp_path / "homology", recipe)
    certificate, _ = corpus.leakage()
    assert certificate.exact_copy_share == certificate.half_kmers_share == 0 and certificate.windows > 20
    blocks = prepare([file], tmp_path / "blocks", recipe.replace({"split.strategy": "blocks"}))
    assert blocks.leakage()[0].half_kmers_share > 0.9
    with pytest.raises(InputError, match=r"NiV_6_Malaysia\.fasta\.gz: split\.strategy=homology finds no 10% .* 100%"):
        prepare([file], tmp_path / "long", recipe.replace({"data.window_bases": 10_000}))


def test_settings_of_older_corpora_keep_their_digest():
    """A setting that is without effect is not part of it."""
    recipe = Recipe.load("default", {"split.strategy": "blocks"})
    assert recipe.digest("split") == recipe.replace({"split.homology_share": 0.2}).digest("split") == "c4bdc9d024dcedad"
    homology = recipe.replace({"split.strategy": "homology"})
    assert homology.digest("split") != homology.replace({"split.homology_share": 0.2}).digest("split")
    with pytest.raises(RecipeError, match="no effect on a homology split"):
        homology.replace({"split.heldout_records": ["chr1"]})
