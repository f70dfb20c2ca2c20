"""The certificate against sets of Python strings, and on copies that were planted."""

import json
from dataclasses import dataclass

import numpy as np
import pytest

from primase import dna
from primase.corpus import leakage as leakage_module
from primase.corpus.cut import WINDOW_DTYPE
from primase.corpus.kmers import Minimizers
from primase.corpus.leakage import certify
from primase.corpus.prepare import prepare
from primase.corpus.split import HELDOUT, PARTS, TRAIN, UNUSED, VALIDATION
from primase.corpus.store import Corpus
from primase.errors import InputError
from primase.recipe import Recipe
from tests.unit.test_kmers import canonical_kmers, one_segment, random_text

EITHER = "ACGTacgt"


@dataclass
class Genome:
    """Records, and windows that were put into parts by hand: (record, start, length, part)."""

    records: list[str]
    windows: list[tuple[int, int, int, int]]

    def corpus(self, folder) -> Corpus:
        folder.mkdir(exist_ok=True)
        first = np.cumsum([0, *map(len, self.records)])
        rows = [(first[record] + start, length, record, part) for record, start, length, part in self.windows]
        (folder / "bases.bin").write_bytes("".join(self.records).encode())
        np.save(folder / "windows.npy", np.array(rows, WINDOW_DTYPE))
        return Corpus(folder, {})

    def texts(self, part: int) -> list[str]:
        return [self.records[r][start : start + length].upper() for r, start, length, p in self.windows if p == part]

    def training_stretches(self) -> list[str]:
        stretches, end = [], None
        for record, start, length, part in self.windows:
            if part == TRAIN:
                text = self.records[record][start : start + length].upper()
                if end == (record, start):
                    stretches[-1] += text
                else:
                    stretches.append(text)
                end = (record, start + length)
        return stretches


def side_by_side(records: list[str], window_bases: int, part_of) -> Genome:
    """All windows of the records, ends left over as shorter windows; `part_of` takes the number of a window."""
    windows = [
        (record, start, min(window_bases, len(text) - start))
        for record, text in enumerate(records)
        for start in range(0, len(text), window_bases)
    ]
    return Genome(records, [(*window, part_of(number)) for number, window in enumerate(windows)])


def brute_force(genome: Genome, part: int, k: int) -> tuple[list[float], list[bool]]:
    """Of each window of at least k bases: share of k-mers in the training part, and whether it has an exact copy."""
    stretches = genome.training_stretches()
    stretches += [dna.reverse_complement(text) for text in stretches]
    seen = {kmer for text in stretches for kmer in canonical_kmers(text, k)}
    windows = [text for text in genome.texts(part) if len(text) >= k]
    kmers = [canonical_kmers(text, k) for text in windows]
    shares = [sum(kmer in seen for kmer in of_window) / max(1, len(of_window)) for of_window in kmers]
    exact = [any(text in s for s in stretches) and bool(own) for text, own in zip(windows, kmers, strict=True)]
    return shares, exact


def random_genome(seed: int, window_bases: int) -> Genome:
    """Records with copies of each other's stretches, of either strand, whole or cut short, with N and lower case."""
    rng = np.random.default_rng(seed)
    records = [random_text(rng.integers(300, 1200), 100 * seed + i, EITHER * 30 + "N") for i in range(5)]
    for _ in range(80):
        source, target = rng.integers(5, size=2)
        length = int(rng.integers(window_bases // 2, 3 * window_bases))
        start = int(rng.integers(max(1, len(records[source]) - length)))
        copy = records[source][start : start + length]
        if rng.random() < 0.5:
            copy = dna.reverse_complement(copy)
        at = int(rng.integers(len(records[target])))
        records[target] = records[target][:at] + copy + records[target][at + len(copy) :]
    parts = rng.choice([TRAIN, TRAIN, TRAIN, VALIDATION, HELDOUT, HELDOUT, UNUSED], 10_000)
    return side_by_side(records, window_bases, lambda number: int(parts[number]))


@pytest.mark.parametrize("piece_bases", [64, 500, 2**19])
@pytest.mark.parametrize(
    ("seed", "window_bases", "k"), [(8, 20, 20), (4, 50, 31), (10, 50, 31), (4, 9, 9), (5, 120, 31)]
)
def test_windows_have_the_shares_and_copies_that_brute_force_finds(tmp_path, seed, window_bases, k, piece_bases):
    genome = random_genome(seed, window_bases)
    certificate, windows = certify(genome.corpus(tmp_path / "corpus"), seed=0, piece_bases=piece_bases)
    shares, exact = brute_force(genome, HELDOUT, k)
    assert certificate.kmer_bases == k and certificate.windows == len(shares) > 10
    assert windows["kmer_share"] == pytest.approx(shares)
    assert windows["is_exact"].tolist() == exact and 0 < sum(exact) < len(exact)
    assert certificate.exact_copy_share == pytest.approx(np.mean(exact))
    assert certificate.half_kmers_share == pytest.approx(np.mean(np.array(shares) >= 0.5))
    assert certificate.mean_kmer_share == pytest.approx(np.mean(shares))
    bins = np.histogram(np.round(shares, 9), np.round(np.linspace(0, 1, 11), 9))[0]
    assert certificate.kmer_share_histogram == bins.tolist()
    lengths = [length for *_, length, part in genome.windows if part == HELDOUT]
    assert certificate.windows_of_part == len(lengths)
    numbers = [i for i, (*_, length, part) in enumerate(genome.windows) if part == HELDOUT and length >= k]
    assert windows["window"].tolist() == numbers


@pytest.mark.parametrize(("seed", "window_bases"), [(1, 20), (2, 60), (5, 120)])
def test_minimizers_are_contained_as_brute_force_finds(tmp_path, seed, window_bases):
    from primase.corpus.kmers import minimizer_hashes

    genome = random_genome(seed, window_bases)
    certificate, _ = certify(genome.corpus(tmp_path / "corpus"), seed=0, piece_bases=100)
    minimizers = Minimizers(certificate.minimizer_bases, certificate.minimizer_window)
    assert (minimizers == (19, 10)) == (window_bases >= 28)

    def of(texts):
        return {value for text in texts for value in minimizer_hashes(one_segment(text), minimizers)[0].tolist()}

    own = of(text for text in genome.texts(HELDOUT) if len(text) >= certificate.kmer_bases)
    contained = len(own & of(genome.training_stretches())) / len(own)
    assert certificate.minimizer_containment == pytest.approx(contained) and 0 < contained < 1


def planted(copy: str, at: int, window_bases: int = 100, windows: int = 20) -> Genome:
    """A random record that is trained on, with `copy` in it, and the window held out that is copied."""
    record = random_text(window_bases * windows, seed=7)
    record = record[:at] + copy + record[at + len(copy) :]
    genome = side_by_side([record], window_bases, lambda number: TRAIN)
    genome.records.append(random_text(window_bases, seed=8))
    genome.windows.append((1, 0, window_bases, HELDOUT))
    return genome


WINDOW = random_text(100, seed=8)


@pytest.mark.parametrize("strand", ["forward", "reverse"])
@pytest.mark.parametrize("at", [0, 100, 150, 933, 1900])
def test_a_copy_is_found_wherever_it_begins_and_on_either_strand(tmp_path, strand, at):
    copy = WINDOW if strand == "forward" else dna.reverse_complement(WINDOW)
    certificate, windows = certify(planted(copy.lower(), at).corpus(tmp_path / "corpus"), seed=0, piece_bases=128)
    assert windows["is_exact"].tolist() == [True] and windows["kmer_share"].tolist() == [1.0]
    assert certificate.exact_copy_share == certificate.half_kmers_share == certificate.minimizer_containment == 1.0
    assert certificate.kmer_share_histogram == [0] * 9 + [1]


@pytest.mark.parametrize(("bases", "is_half"), [(65, True), (64, False)])
def test_half_of_the_kmers(tmp_path, bases, is_half):
    """70 k-mers of 31 bases: 65 bases hold 35 of them."""
    copy = WINDOW[:bases] + ("A" if WINDOW[bases] != "A" else "C")
    certificate, windows = certify(planted(copy, 440).corpus(tmp_path / "corpus"), seed=0)
    assert windows["kmer_share"][0] == pytest.approx((bases - 30) / 70)
    assert certificate.half_kmers_share == float(is_half) and certificate.exact_copy_share == 0


def test_a_copy_that_is_not_trained_on_as_a_whole_is_none(tmp_path):
    genome = planted(WINDOW, 150)
    for part in (UNUSED, VALIDATION, HELDOUT):
        genome.windows[2] = (0, 200, 100, part)
        _, windows = certify(genome.corpus(tmp_path / str(part)), seed=0)
        assert not windows["is_exact"].any()
        assert windows["kmer_share"][-1] == pytest.approx(20 / 70), "half of the copy is left"
    genome.windows[2] = (0, 200, 100, TRAIN)
    genome.records[0:1] = genome.records[0][:200], genome.records[0][200:]
    genome.windows = [
        (1, start - 200, *rest) if start >= 200 else (0, start, *rest) for _, start, *rest in genome.windows
    ]
    genome.windows[-1] = (2, 0, 100, HELDOUT)
    _, windows = certify(genome.corpus(tmp_path / "two"), seed=0)
    assert windows["is_exact"].tolist() == [False], "two records are two sequences"


def test_all_kmers_without_a_copy_is_no_copy(tmp_path):
    """Every k-mer of the window stands in the training part, in two overlapping halves."""
    genome = planted(WINDOW[:65] + "A" + WINDOW[35:], 0)
    certificate, windows = certify(genome.corpus(tmp_path / "corpus"), seed=0)
    assert windows["kmer_share"].tolist() == [1.0] and certificate.exact_copy_share == 0


def test_n_breaks_kmers_and_stands_for_itself_in_a_copy(tmp_path):
    window = WINDOW[:40] + "N" * 5 + WINDOW[45:]
    genome = planted(dna.reverse_complement(window), 333)
    genome.records[1] = window
    genome.records.append("N" * 100)
    genome.windows.append((2, 0, 100, HELDOUT))
    _, windows = certify(genome.corpus(tmp_path / "corpus"), seed=0)
    assert windows["is_exact"].tolist() == [True, False], "a window of N alone has nothing to copy"
    assert windows["kmer_share"].tolist() == [1.0, 0.0]
    genome.records[0] = genome.records[0].replace("N", "A")
    _, windows = certify(genome.corpus(tmp_path / "other"), seed=0)
    assert not windows["is_exact"].any() and windows["kmer_share"][0] == 1.0


def test_a_window_that_is_repeated_and_low_complexity(tmp_path):
    record = "A" * 500 + "AC" * 250 + random_text(500)
    genome = side_by_side(
        [record, "A" * 200 + "AC" * 100 + "T" * 100 + "AG" * 50], 100, lambda n: TRAIN if n < 15 else HELDOUT
    )
    _, windows = certify(genome.corpus(tmp_path / "corpus"), seed=0)
    assert windows["is_exact"].tolist() == [True] * 5 + [False]


def test_larger_parts_are_drawn_from_and_the_seed_decides(tmp_path):
    corpus = random_genome(2, 50).corpus(tmp_path / "corpus")
    everything, all_windows = certify(corpus, seed=0)
    first, again, other = (certify(corpus, seed=seed, max_bases=500) for seed in (1, 1, 2))
    bases = corpus.windows["length"][first[1]["window"]].sum()
    assert 400 <= bases <= 550 and first[0].windows < first[0].windows_of_part == everything.windows_of_part
    assert (first[1] == again[1]).all() and first[1]["window"].tolist() != other[1]["window"].tolist()
    of_window = {row["window"]: row for row in all_windows}
    assert all(of_window[row["window"]] == row for row in first[1])
    nested = certify(corpus, seed=1, max_bases=200)[1]["window"]
    assert set(nested) < set(first[1]["window"])


def test_short_ends_are_left_out(tmp_path):
    genome = side_by_side([random_text(250), random_text(205, seed=1)], 100, lambda number: number >= 3)
    genome.windows = [(*place, HELDOUT if part else TRAIN) for *place, part in genome.windows]
    certificate, windows = certify(genome.corpus(tmp_path / "corpus"), seed=0)
    assert certificate.kmer_bases == 31
    assert (certificate.windows, certificate.windows_of_part) == (2, 3) and windows["window"].tolist() == [3, 4]


def test_many_short_ends_do_not_decide_what_a_kmer_is(tmp_path):
    """Two windows of 100 bases and three of 5: the middle base is in a long one."""
    genome = side_by_side([random_text(105, seed=seed) for seed in range(4)], 100, lambda number: number > 2)
    genome.windows = [(*place, HELDOUT if part else TRAIN) for *place, part in genome.windows]
    certificate, _ = certify(genome.corpus(tmp_path / "corpus"), seed=0)
    assert certificate.kmer_bases == 31 and certificate.windows == 2


def test_validation_is_looked_at_where_nothing_is_held_out_and_nothing_where_both_are_missing(tmp_path):
    genome = planted(WINDOW, 150)
    genome.windows[-1] = (1, 0, 100, VALIDATION)
    certificate, windows = certify(genome.corpus(tmp_path / "corpus"), seed=0)
    assert certificate.part == "validation" and windows["is_exact"].tolist() == [True]
    genome.windows[-1] = (1, 0, 100, UNUSED)
    assert certify(genome.corpus(tmp_path / "none"), seed=0) is None


def test_progress_goes_up_to_one(tmp_path):
    shares = []
    certify(planted(WINDOW, 150).corpus(tmp_path / "c"), seed=0, piece_bases=70, progress=lambda _, s: shares.append(s))
    assert len(shares) > 20 and shares == sorted(shares) and shares[-1] == 1.0


def write_genome(path, records: list[str]):
    path.write_text("".join(f">r{i}\n{text}\n" for i, text in enumerate(records)))
    return path


def test_prepare_writes_the_certificate_and_a_corpus_without_one_stays_readable(tmp_path, monkeypatch):
    monkeypatch.setattr(leakage_module, "MAX_BASES", 10)  # the default was bound before: all windows are looked at
    settings = {
        "data.window_bases": 100,
        "split.strategy": "records",
        "split.heldout_records": ["r1"],
        "split.gap_bases": 0,
    }
    text = random_text(4000)
    file = write_genome(tmp_path / "g.fa", [text, dna.reverse_complement(text[1050:1450]) + random_text(600, seed=3)])
    corpus = prepare([file], tmp_path / "corpus", Recipe.load("default", settings | {"split.validation_fraction": 0}))
    certificate, windows = corpus.leakage()
    assert certificate.exact_copy_share == 0.4 and windows["is_exact"].tolist() == [True] * 4 + [False] * 6
    assert windows["window"].tolist() == corpus.part("heldout").tolist()
    (corpus.folder / "leakage.json").write_text("{")
    with pytest.raises(InputError, match=r"leakage\.json: not readable .*; run primase prepare again"):
        corpus.leakage()
    (corpus.folder / "leakage.json").unlink()
    (corpus.folder / "leakage.npy").unlink()
    description = corpus.folder / "corpus.json"
    known_later = {"bytes_of_file", "sha256_of_file"}  # what a Primase of before the certificate did not write either
    description.write_text(json.dumps({k: v for k, v in corpus.description.items() if k not in known_later}))
    assert Corpus.open(corpus.folder).leakage() is None


def test_prepare_writes_none_where_there_is_nothing_to_look_at(tmp_path):
    settings = {"data.window_bases": 100, "split.heldout_fraction": 0, "split.validation_fraction": 0}
    corpus = prepare(
        [write_genome(tmp_path / "g.fa", [random_text(4000)])], tmp_path / "c", Recipe.load("default", settings)
    )
    assert corpus.leakage() is None and not list(corpus.folder.glob("leakage*"))
    assert set(np.unique(corpus.windows["part"])) == {PARTS["train"]}
