"""k-mers and minimizers against Python strings, look-ups against dictionaries."""

from collections import Counter

import numpy as np
import pytest

from primase import dna
from primase.corpus.kmers import HashTable, Minimizers, Segments, kmer_hashes, minimizer_hashes


def one_segment(text: str) -> Segments:
    return Segments(dna.codes(text.encode()), np.array([0]), np.array([len(text)]))


def segments(*texts: str) -> Segments:
    lengths = np.array([len(text) for text in texts])
    return Segments(dna.codes("".join(texts).encode()), np.cumsum(lengths) - lengths, np.cumsum(lengths))


def random_text(bases: int, seed: int = 0, letters: str = "ACGT") -> str:
    return "".join(np.random.default_rng(seed).choice(list(letters), bases))


def canonical_kmers(text: str, k: int) -> list[str]:
    """Every k-mer of A, C, G and T, or its reverse complement where that comes first in the alphabet."""
    text = text.upper()
    kmers = (text[i : i + k] for i in range(len(text) - k + 1))
    return [min(kmer, dna.reverse_complement(kmer)) for kmer in kmers if set(kmer) <= set("ACGT")]


@pytest.mark.parametrize("k", [1, 2, 5, 16, 30, 31])
def test_kmers_are_those_of_the_text_on_either_strand(k):
    """Equal k-mers have equal hashes and others do not; N breaks, case does not matter, segments stay apart."""
    texts = [random_text(300, seed, "ACGTacgt" * 20 + "N") for seed in range(4)] + ["ACG", ""]
    hashes = kmer_hashes(segments(*texts), k).tolist()
    kmers = [kmer for text in texts for kmer in canonical_kmers(text, k)]
    assert len(hashes) == len(kmers)
    assert len(set(hashes)) == len(set(kmers)) == len(set(zip(hashes, kmers, strict=True)))
    reverse = [dna.reverse_complement(text) for text in texts]
    assert sorted(kmer_hashes(segments(*reverse), k).tolist()) == sorted(hashes)


@pytest.mark.parametrize(("k", "window"), [(19, 10), (15, 10), (5, 3), (4, 1), (1, 2)])
def test_minimizers_are_the_smallest_of_each_window_of_kmers(k, window):
    texts = [random_text(400, seed, "ACGT" * 20 + "N") for seed in range(5)] + ["ACGTT" * 50, "A" * 60, "AC"]
    hashes, segment = minimizer_hashes(segments(*texts), Minimizers(k, window))
    for number, text in enumerate(texts):
        expected = set()
        for run in text.split("N"):
            of_run = kmer_hashes(one_segment(run), k).tolist()
            expected.update(min(of_run[i : i + window]) for i in range(len(of_run) - window + 1))
        mine = hashes[segment == number].tolist()
        assert set(mine) == expected
        reverse = minimizer_hashes(one_segment(dna.reverse_complement(text)), Minimizers(k, window))[0]
        assert set(reverse.tolist()) == expected, "both strands have the same minimizers"


def test_minimizers_are_two_in_eleven():
    hashes, _ = minimizer_hashes(one_segment(random_text(100_000)), Minimizers(15, 10))
    assert len(hashes) / 100_000 == pytest.approx(2 / 11, rel=0.03)


@pytest.mark.parametrize("bases", [1, 2, 3, 4, 10, 20, 27, 28, 1000])
def test_minimizers_shrink_until_a_sequence_holds_one(bases):
    fitting = Minimizers(19, 10).fitting(bases)
    assert fitting.k <= 19 and fitting.window <= 10
    assert (fitting == (19, 10)) == (bases >= 28)
    assert len(minimizer_hashes(one_segment(random_text(bases)), fitting)[0]) >= 1


@pytest.mark.parametrize("size", [0, 1, 2, 5, 1000, 40_000])
def test_a_table_finds_its_own_and_nothing_else(size):
    rng = np.random.default_rng(size)
    everything = rng.integers(0, 2**64, 2 * size + 10, dtype=np.uint64)
    own = everything[:size]
    table = HashTable.of(np.concatenate([own, own[: size // 3]]))
    assert table.hashes.tolist() == sorted(own.tolist())
    place_of = {value: place for place, value in enumerate(table.hashes.tolist())}
    assert table.places(everything).tolist() == [place_of.get(value, -1) for value in everything.tolist()]


def test_a_tally_counts_to_255():
    values = np.arange(1, 40, dtype=np.uint64) << np.uint64(50)
    table = HashTable.of(values[:20].copy())
    counts = np.zeros(20, np.uint8)
    stream = np.concatenate([np.repeat(values, np.arange(1, 40)), np.repeat(values[3], 300), values])
    table.tally(stream, counts)
    expected = Counter(stream.tolist())
    assert counts.tolist() == [min(255, expected[value]) for value in table.hashes.tolist()]
    table.tally(values[3:4], counts)
    assert counts[3] == 255


def test_shares_and_the_rarest_kmer_of_each_segment():
    k, seen = 4, random_text(200, seed=1)
    texts = [random_text(60, seed, "ACGT" * 10 + "N") for seed in range(8)] + ["NNNNNN", "AC"]
    table = HashTable.of(kmer_hashes(segments(*texts), k))
    counts = np.zeros(len(table.hashes), np.uint8)
    table.tally(kmer_hashes(one_segment(seen), k), counts)
    of_seen = Counter(canonical_kmers(seen, k))
    pieces = segments(*texts)
    for text, start, kmers, counted, rarest in zip(texts, pieces.starts, *table.shares(pieces, k, counts), strict=True):
        mine = canonical_kmers(text, k)
        assert (kmers, counted) == (len(mine), sum(of_seen[kmer] > 0 for kmer in mine))
        if mine:
            place = rarest - start
            (chosen,) = canonical_kmers(text[place : place + k], k)
            assert of_seen[chosen] == min(of_seen[kmer] for kmer in mine)
        else:
            assert rarest == -1
