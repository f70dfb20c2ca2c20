"""Markov rivals against a dictionary of strings, and against sequences whose entropy is known."""

import itertools
import math
from collections import Counter

import numpy as np
import pytest

from primase.dna import reverse_complement
from primase.errors import InputError
from primase.evaluation import kmer_counts, markov
from primase.evaluation.kmer_counts import ContextCounts, batches
from primase.evaluation.markov import MarkovModels


def ascii_window(text: str) -> np.ndarray:
    return np.frombuffer(text.encode(), dtype=np.uint8)


def random_text(rng: np.random.Generator, bases: int, letters: str = "ACGTacgtN") -> str:
    return "".join(rng.choice(list(letters), size=bases))


def repetitive_texts(rng: np.random.Generator) -> list[str]:
    """Copies of one unit with a few letters changed, so that contexts of 16 bases are seen more than once."""
    unit = random_text(rng, 60, "ACGT")
    texts = []
    for length in (0, 1, 5, 13, 40, 60, 60, 60):
        letters = list((unit + unit)[7 : 7 + length])
        for changed in rng.integers(0, length, size=length // 15) if length else []:
            letters[changed] = rng.choice(list("ACGTNacgtn"))
        texts.append("".join(letters))
    return texts


def dictionary_counts(texts: list[str], max_order: int, both_strands: bool) -> Counter:
    """(context, next base) → times, by slicing strings."""
    strands = [text.upper() for text in texts]
    if both_strands:
        strands += [reverse_complement(text) for text in strands]
    counts = Counter()
    for text in strands:
        for end in range(len(text)):
            for order in range(min(end, max_order) + 1):
                word = text[end - order : end + 1]
                if set(word) <= set("ACGT"):
                    counts[word[:-1], word[-1]] += 1
    return counts


def contexts_of(text: str, end: int, max_order: int) -> list[str]:
    """Contexts of order 0, 1, … before a position, up to the window's start or the first break."""
    contexts = []
    for order in range(min(end, max_order) + 1):
        context = text[end - order : end].upper()
        if not set(context) <= set("ACGT"):
            break
        contexts.append(context)
    return contexts


def dictionary_bits(counts: Counter, strengths: np.ndarray, text: str, end: int, order: int) -> float:
    """The recursion of the model's docstring, one base at a time."""
    probability = 0.25
    for k, context in enumerate(contexts_of(text, end, order)):
        after = [counts[context, base] for base in "ACGT"]
        if not sum(after):
            continue
        size_class = sum(sum(after) > edge for edge in (2, 8, 32, 128))
        strength = strengths[k, 4 * size_class + sum(n > 0 for n in after) - 1]
        of_base = counts[context, text[end].upper()]
        probability = (of_base + strength * probability) / (sum(after) + strength)
    return -math.log2(probability)


def count(texts: list[str], max_order: int, both_strands: bool) -> ContextCounts:
    windows = [ascii_window(text) for text in texts]
    return ContextCounts.of(windows, max_order=max_order, both_strands=both_strands, max_listed_contexts=10**6)


def looked_up(counts: ContextCounts, texts: list[str]) -> np.ndarray:
    """Counts after the context of each base of the texts, [orders, bases, 4]."""
    (batch,) = batches([ascii_window(text) for text in texts], flank_bases=counts.max_order)
    return np.stack(list(counts.lookup(batch)))


@pytest.mark.parametrize("both_strands", [True, False])
@pytest.mark.parametrize("max_order", [0, 4, 11, 12, 16, 21])
def test_counts_equal_a_dictionary_of_strings(max_order, both_strands):
    rng = np.random.default_rng(max_order)
    texts = [random_text(rng, 300), *repetitive_texts(rng)]
    found = looked_up(count(texts, max_order, both_strands), texts)
    expected = dictionary_counts(texts, max_order, both_strands)
    ends = [(text, end) for text in texts for end in range(len(text)) if text[end] in "ACGTacgt"]
    assert found.shape == (max_order + 1, len(ends), 4)
    for column, (text, end) in enumerate(ends):
        contexts = contexts_of(text, end, max_order)
        for order in range(max_order + 1):
            known = order < len(contexts)
            after = [expected[contexts[order], base] if known else 0 for base in "ACGT"]
            assert found[order, column].tolist() == after
    assert found[-1].sum() > 0


@pytest.mark.parametrize("both_strands", [True, False])
@pytest.mark.parametrize(("max_order", "train_bases"), [(0, 40), (2, 500), (4, 3000), (14, 400)])
def test_surprisal_equals_a_dictionary_of_strings(max_order, train_bases, both_strands):
    rng = np.random.default_rng(train_bases)
    texts = [random_text(rng, train_bases), *repetitive_texts(rng)]
    models = MarkovModels.fit([ascii_window(text) for text in texts], max_order=max_order, both_strands=both_strands)
    counts = dictionary_counts(texts, max_order, both_strands)
    # The strengths differ among buckets, so that a wrong bucket shows.
    models.strengths = rng.uniform(0.1, 9.0, size=models.strengths.shape)
    text = random_text(rng, 100) + texts[-1]
    for order in range(max_order + 1):
        bits = models.surprisal(ascii_window(text), order)
        for end, letter in enumerate(text):
            if letter in "Nn":
                assert math.isnan(bits[end])
            else:
                expected = dictionary_bits(counts, models.strengths, text, end, order)
                assert bits[end] == pytest.approx(expected, abs=1e-9)


def test_four_next_bases_share_a_probability_of_one_at_every_order():
    rng = np.random.default_rng(5)
    models = MarkovModels.fit([ascii_window(random_text(rng, 2000))], max_order=13)
    contexts = ["", "A", "gt", "ACN", *(random_text(rng, 20, "ACGT") for _ in range(10))]
    for context, order in itertools.product(contexts, range(14)):
        bits = [models.surprisal(ascii_window(context + base), order)[-1] for base in "ACGT"]
        assert sum(2.0**-b for b in bits) == pytest.approx(1.0, abs=1e-12)


def test_both_strands_are_the_windows_and_their_reverse_complements():
    rng = np.random.default_rng(6)
    texts = [random_text(rng, 500), *repetitive_texts(rng)]
    flipped = [reverse_complement(text) for text in texts]
    both = looked_up(count(texts, 13, both_strands=True), texts)
    np.testing.assert_array_equal(both, looked_up(count(texts + flipped, 13, both_strands=False), texts))
    assert not np.array_equal(both, looked_up(count(texts, 13, both_strands=False), texts))


def test_case_and_codes_do_not_matter():
    rng = np.random.default_rng(7)
    window = ascii_window(random_text(rng, 400))
    upper = ascii_window(window.tobytes().decode().upper())
    codes = kmer_counts.as_codes(window)
    expected = MarkovModels.fit([window], max_order=5).score([window])
    for other in (upper, codes):
        score = MarkovModels.fit([other], max_order=5).score([other])
        np.testing.assert_array_equal(score.bits, expected.bits)


def test_blocks_batches_and_streams_do_not_matter(monkeypatch):
    rng = np.random.default_rng(8)
    windows = [ascii_window(random_text(rng, bases, "ACGTN")) for bases in (700, 0, 3, 90, 0)]
    at_once = MarkovModels.fit(windows, max_order=13)
    expected = at_once.score(windows)
    monkeypatch.setattr(kmer_counts, "BLOCK_BASES", 17)
    monkeypatch.setattr(kmer_counts, "BATCH_BASES", 60)
    streamed = MarkovModels.fit(iter(windows), max_order=13)
    np.testing.assert_array_equal(streamed.strengths, at_once.strengths)
    score = streamed.score(iter(windows))
    np.testing.assert_array_equal(score.bases, expected.bases)
    np.testing.assert_allclose(score.bits, expected.bits, rtol=0, atol=1e-9)
    np.testing.assert_array_equal(streamed.surprisal(windows[0], 13), at_once.surprisal(windows[0], 13))


def test_windows_bases_and_bits_add_up():
    rng = np.random.default_rng(9)
    windows = [ascii_window(random_text(rng, bases)) for bases in (50, 300, 0)] + [ascii_window("NNNN")]
    models = MarkovModels.fit(windows, max_order=3)
    score = models.score(windows)
    assert score.bits.shape == (4, 4)
    assert score.bases.tolist() == [int((kmer_counts.as_codes(w) < 4).sum()) for w in windows]
    for order in range(4):
        for number, window in enumerate(windows):
            assert score.bits[number, order] == pytest.approx(np.nansum(models.surprisal(window, order)))
    np.testing.assert_allclose(score.bits_per_base, score.bits.sum(axis=0) / score.bases.sum())
    assert score.best_order == np.argmin(score.bits_per_base)


def test_uniform_bases_cost_two_bits_and_smoothing_hides_no_high_order():
    rng = np.random.default_rng(10)
    train, held_out = rng.integers(0, 4, size=(2, 100_000), dtype=np.uint8)
    bits_per_base = MarkovModels.fit([train]).score([held_out]).bits_per_base
    assert np.all(np.abs(bits_per_base - 2.0) < 0.005)


def test_a_source_of_order_two_reaches_its_entropy_and_higher_orders_keep_it():
    rng = np.random.default_rng(11)
    next_base = rng.dirichlet(np.full(4, 0.5), size=(4, 4))
    bases = np.zeros(200_000, dtype=np.uint8)
    entropy_bits = 0.0
    uniform = rng.random(bases.size)
    cumulative = next_base.cumsum(axis=2)
    for i in range(2, bases.size):
        before = bases[i - 2], bases[i - 1]
        bases[i] = min(np.searchsorted(cumulative[before], uniform[i]), 3)
        if i >= 150_000:
            entropy_bits -= math.log2(next_base[before][bases[i]])
    models = MarkovModels.fit([bases[:150_000]], max_order=12, both_strands=False)
    bits_per_base = models.score([bases[150_000:]]).bits_per_base
    assert bits_per_base[1] > entropy_bits / 50_000 + 0.02
    np.testing.assert_allclose(bits_per_base[2:], entropy_bits / 50_000, atol=0.004)


def test_a_periodic_sequence_costs_almost_nothing():
    window = ascii_window("ACGGTTA" * 3000)
    bits_per_base = MarkovModels.fit([window]).score([window[:7000]]).bits_per_base
    assert bits_per_base[0] > 1.9
    assert bits_per_base[16] < 0.01


@pytest.mark.parametrize("text", ["A", "ACGTA", "NNNNACGTTNN"])
def test_a_window_shorter_than_the_order_works(text):
    score = MarkovModels.fit([ascii_window(text)]).score([ascii_window(text), ascii_window("C")])
    assert np.isfinite(score.bits).all() and (score.bits > 0).all()
    assert score.bits.shape == (2, 17)


def test_a_window_of_n_has_no_bases_and_no_best_order():
    models = MarkovModels.fit([ascii_window("ACGTTGCA" * 10)], max_order=2)
    score = models.score([ascii_window("NNNNN")])
    assert score.bases.tolist() == [0] and not score.bits.any()
    assert np.isnan(score.bits_per_base).all()
    with pytest.raises(InputError, match="no order is best"):
        _ = score.best_order
    assert models.score([]).bits.shape == (0, 3)
    assert models.surprisal(ascii_window(""), 2).size == 0


@pytest.mark.parametrize(
    ("windows", "settings", "message"),
    [
        ([ascii_window("NNN")], {}, "nothing to count"),
        ([], {}, "nothing to count"),
        ([ascii_window("ACGT")], {"max_order": 22}, "choose 0 to 21"),
        ([ascii_window("ACGT" * 9)], {"max_listed_contexts": 40}, "max_order=11"),
        ([np.zeros(5)], {}, "uint8"),
    ],
)
def test_mistakes_are_one_line_with_a_remedy(windows, settings, message):
    with pytest.raises(InputError, match=message) as mistake:
        MarkovModels.fit(windows, **settings)
    assert "\n" not in str(mistake.value)


def test_an_order_that_was_not_counted_is_refused():
    models = MarkovModels.fit([ascii_window("ACGTTGCA")], max_order=2)
    with pytest.raises(InputError, match="choose 0 to 2"):
        models.surprisal(ascii_window("ACGT"), 3)


def test_cells_are_sums_along_windows_whose_context_goes_on():
    rng = np.random.default_rng(3)
    training = [rng.integers(0, 4, 3000, dtype=np.uint8)]
    windows = [rng.integers(0, 5, size, dtype=np.uint8) for size in (9000, 1, 700)]
    windows.insert(1, np.full(5, 4, np.uint8))
    models = MarkovModels.fit(training, max_order=12)
    cell_bases = [np.array([4000, 1, 4999]), np.array([5]), np.array([1]), np.array([300, 400])]
    score = models.score(windows, cell_bases)
    of_base = [np.array([models.surprisal(window, order) for order in range(13)]) for window in windows]
    expected = [
        np.nansum(part, axis=1)
        for values, cells in zip(of_base, cell_bases, strict=True)
        for part in np.split(values, np.cumsum(cells)[:-1], axis=1)
    ]
    np.testing.assert_allclose(score.bits, expected)
    assert score.bases.sum() == sum(int((window < 4).sum()) for window in windows)


@pytest.mark.parametrize("both_strands", [True, False])
def test_hashed_counts_equal_the_sorted_lists_where_there_is_room(both_strands):
    rng = np.random.default_rng(12)
    texts = [random_text(rng, 500), *repetitive_texts(rng)]
    windows = [ascii_window(text) for text in texts]
    settings = {"max_order": 16, "both_strands": both_strands, "max_listed_contexts": 10**6}
    hashed = ContextCounts.of(windows, **settings, hashed_bytes=2**21)
    exact = looked_up(count(texts, 16, both_strands), texts)
    np.testing.assert_array_equal(looked_up(hashed, texts), exact)
    assert hashed.listed_contexts == 0 and exact[16].max() > 1


def test_hashed_counts_keep_frequent_contexts_when_full():
    rng = np.random.default_rng(13)
    motif = random_text(rng, 40, "ACGT")
    windows = [ascii_window(random_text(rng, 300, "ACGT") + motif) for _ in range(200)]
    counts = ContextCounts.of(
        windows, max_order=16, both_strands=False, max_listed_contexts=10**6, hashed_bytes=5 * 8 * 1024
    )
    found = looked_up(counts, [motif])
    # 60,000 contexts share 1,024 cells at each order; those of the motif come 200 times and are not crowded out.
    assert (found[16, 16:].max(axis=1) > 100).mean() > 0.8
    assert found[16].max() <= 200


def test_beyond_the_lists_every_order_is_still_counted(monkeypatch):
    rng = np.random.default_rng(14)
    unit = rng.integers(0, 4, 2000, dtype=np.uint8)

    def copy() -> np.ndarray:
        return np.where(rng.random(unit.size) < 0.02, rng.integers(0, 4, unit.size), unit).astype(np.uint8)

    train, test = [copy() for _ in range(12)], [copy()]
    exact = MarkovModels.fit(train).score(test).bits_per_base
    monkeypatch.setattr(markov, "MAX_LISTED_CONTEXTS", 1000)
    monkeypatch.setattr(markov, "HASHED_BYTES", 2**24)
    monkeypatch.setattr(markov, "HASHED_FOLD_BYTES", 2**23)
    with_room = MarkovModels.fit(train)
    assert with_room.counts.listed_contexts == 0 and with_room.max_order == 16
    np.testing.assert_allclose(with_room.score(test).bits_per_base, exact, atol=1e-3)
    monkeypatch.setattr(markov, "HASHED_BYTES", 5 * 8 * 2048)
    squeezed = MarkovModels.fit(train).score(test).bits_per_base
    np.testing.assert_allclose(squeezed[:12], exact[:12], atol=1e-9)
    assert exact[16] < exact[8] - 0.01 and np.all(squeezed[12:] < exact[8])
