"""The quality of generated sequences: copies, spectra and Markov samples against brute force."""

from collections import Counter
from itertools import product

import numpy as np
import pytest

from primase.corpus import kmer_spectrum
from primase.corpus.kmer_spectrum import both_strands, kmer_counts
from primase.dna import reverse_complement
from primase.generation.copies import longest_copies
from primase.generation.generate import fasta, generate
from primase.generation.yardsticks import divergence_bits, markov_sample, real_pieces
from primase.scoring import score_windows
from tests.models import tiny_model


def letters(text: str | bytes) -> np.ndarray:
    return np.frombuffer(text.encode() if isinstance(text, str) else text, np.uint8)


def longest_copy(sequence: str, stretches: list[str]) -> int:
    strands = [strand.upper() for stretch in stretches for strand in (stretch, reverse_complement(stretch))]
    best = 0
    for start in range(len(sequence)):
        while start + best < len(sequence) and any(sequence[start : start + best + 1] in strand for strand in strands):
            best += 1
    return best


@pytest.mark.parametrize("letters_of_genome", ["ACGT", "AT", "AAAAAAAG"])
def test_longest_copies_are_those_of_brute_force(letters_of_genome):
    stream = np.random.default_rng(0)

    def draw(bases: int, among: str = letters_of_genome) -> str:
        return "".join(stream.choice(list(among), bases))

    stretches = [draw(300), draw(40) + "N" + draw(200).lower(), draw(3)]
    sequences = [draw(60) for _ in range(10)] + [draw(5), "A", "GGGGGGGG", stretches[0][50:130], draw(60, "ACGT")]
    sequences += [draw(10) + reverse_complement(stretches[0][20:90]) + draw(10), stretches[0][:9] + "C"]
    found = longest_copies([text.encode() for text in sequences], lambda: map(letters, stretches))
    assert found.tolist() == [longest_copy(text, stretches) for text in sequences]


def test_a_long_copy_is_found_whole():
    genome = np.random.default_rng(1).choice(letters("ACGT"), 50_000)
    copy = genome[30_000:31_234].tobytes()
    other = np.random.default_rng(2).choice(letters("ACGT"), 400).tobytes()
    sequences = [other + copy, reverse_complement(copy) + other, other]
    first, second, third = longest_copies(sequences, lambda: [genome]).tolist()
    assert first >= 1234 and second >= 1234 and first < 1240 and third < 20


@pytest.mark.parametrize("piece_bases", [4, 15, 2**20])
def test_counts_of_kmers(monkeypatch, piece_bases):
    monkeypatch.setattr(kmer_spectrum, "PIECE_BASES", piece_bases)
    text = "ACGTNACGGTAcgta"
    counts = kmer_counts([letters(text), b"AC"], 3)
    expected = Counter(kmer for i in range(13) if "N" not in (kmer := text.upper()[i : i + 3]))
    kmers = ["".join(kmer) for kmer in product("ACGT", repeat=3)]
    assert counts.tolist() == [expected[kmer] for kmer in kmers]
    both = both_strands(counts)
    assert both.tolist() == [expected[kmer] + expected[reverse_complement(kmer)] for kmer in kmers]


def test_divergence_is_that_of_the_definition():
    first, second = np.array([1, 3, 0, 4]), np.array([2, 2, 2, 2])
    p, q = first / 8, second / 8
    m = (p + q) / 2
    kl = [sum(a * np.log2(a / b) for a, b in zip(x, m, strict=True) if a) for x in (p, q)]
    assert divergence_bits(first, second) == pytest.approx(sum(kl) / 2)
    assert divergence_bits(first, 7 * first) == pytest.approx(0, abs=1e-12)
    assert divergence_bits(np.array([3, 0]), np.array([0, 5])) == pytest.approx(1)


def test_a_markov_sample_has_the_spectrum_of_its_counts():
    stream = np.random.default_rng(0)
    counts = stream.integers(1, 100, 64) * 50
    sample = markov_sample(counts, [400] * 200 + [7], stream)
    assert [len(text) for text in sample] == [400] * 200 + [7]
    found = kmer_counts(sample, 3).reshape(16, 4) + 0.5
    expected = (counts + 0.5).reshape(16, 4)
    given = [table / table.sum(axis=1, keepdims=True) for table in (found, expected)]
    np.testing.assert_allclose(*given, atol=0.05)


def test_real_pieces_are_stretches_without_n():
    text = "ACGTACGTTNNNGGATCCATGCAACCNNTT"
    pieces = real_pieces([letters(text.lower())], [8] * 50, np.random.default_rng(0))
    assert len(set(pieces)) == 2 + 7
    assert all(piece.decode() in text and len(piece) == 8 for piece in pieces)
    assert real_pieces([letters(text)], [15], np.random.default_rng(0)) is None


def test_the_table_is_about_the_drawn_bases_and_its_yardsticks_have_their_lengths(tmp_path):
    loaded = tiny_model()
    genome = "".join(np.random.default_rng(0).choice(list("ACGT"), 3000))
    (tmp_path / "genome.fa").write_text(f">chr1\n{genome}\n")
    result = generate(
        loaded, tmp_path / "o.fa", bases=70, count=6, prompt=genome[:40], compare_with=[tmp_path / "genome.fa"]
    )
    generated, markov = result.quality
    assert (generated.kind, markov.kind) == ("generated", "markov")
    assert generated.bases == markov.bases == 420 and generated.sequences == markov.sequences == 6
    drawn = [one.sequence[40:] for one in result.sequences]
    assert [one.longest_copy_bases for one in result.sequences] == [longest_copy(text, [genome]) for text in drawn]
    assert generated.longest_copy_bases == max(one.longest_copy_bases for one in result.sequences) < 40
    assert generated.gc_share == pytest.approx(sum(map("".join(drawn).count, "GC")) / 420)
    spectra = [both_strands(kmer_counts(part, 6)) for part in ([t.encode() for t in drawn], [letters(genome)])]
    assert generated.spectrum_divergence_bits == pytest.approx(divergence_bits(*spectra))
    for one in result.sequences:
        score = next(score_windows(loaded, [letters(one.sequence)]))
        assert one.bits_per_base == pytest.approx(score.nats[40:].sum() / np.log(2) / 70)
    text = (tmp_path / "o.fa").read_bytes()
    assert text == fasta(result) and text.count(b">generated_") == 6
    assert b"seed=0 temperature=1 drawn=40-110 attempts=1 gc=" in text
