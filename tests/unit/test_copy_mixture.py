"""The copy mixture against a dictionary of strings, and on sequences whose cost is known."""

import gzip
import math
from collections import Counter

import numpy as np
import pytest

from primase.dna import codes, reverse_complement
from primase.errors import InputError
from primase.evaluation import copy_mixture
from primase.evaluation.context_models import _cell_of, find_contexts, hash_of, learn_counts, predict_hashed
from primase.evaluation.copy_mixture import CopyMixture
from primase.evaluation.copy_mixture_state import DENSE_MODELS, HASHED_ORDERS, NO_BASE, new_state
from primase.evaluation.mixing import learn_weights, mix, take_logarithms


def random_bases(seed: int, bases: int, letters: bytes = b"ACGT") -> np.ndarray:
    return np.random.default_rng(seed).choice(np.frombuffer(letters, np.uint8), size=bases)


def fitted(*stretches: np.ndarray) -> CopyMixture:
    return CopyMixture.fit(stretches, expected_bases=100_000)


def bits_of(stretch: np.ndarray, *training: np.ndarray) -> np.ndarray:
    (bits,) = fitted(*training).surprisal([stretch])
    return bits


def test_no_base_changes_the_bits_before_it():
    unit = random_bases(0, 700)
    text = np.concatenate([unit, reverse_complement(unit), unit, random_bases(1, 100)])
    mixture = fitted(unit[:300])
    (bits,) = mixture.surprisal([text])
    for place in (0, 1, 650, 1000, 1800, text.size - 1):
        for letter in b"AN":
            changed = text.copy()
            changed[place] = letter if text[place] != letter else ord("C")
            (other,) = mixture.surprisal([changed])
            np.testing.assert_array_equal(other[:place], bits[:place])
            assert place == text.size - 1 or not np.array_equal(other[place + 1 :], bits[place + 1 :])


def test_four_next_bases_share_a_probability_of_one():
    unit = random_bases(2, 400)
    mixture = fitted(unit)
    contexts = [unit[:0], unit[:5], unit[:399], reverse_complement(unit)[:200], random_bases(3, 50)]
    stretches = [np.append(context, np.uint8(base)) for context in contexts for base in b"ACGT"]
    last = [next(mixture.surprisal([stretch]))[-1] for stretch in stretches]
    totals = (2.0 ** -np.array(last, np.float64)).reshape(-1, 4).sum(axis=1)
    np.testing.assert_allclose(totals, 1.0, atol=1e-6)


@pytest.mark.parametrize("other_strand", [False, True])
def test_a_repeat_costs_almost_nothing_on_either_strand(other_strand):
    unit = random_bases(4, 2000)
    again = reverse_complement(unit) if other_strand else unit
    bits = bits_of(np.concatenate([unit, random_bases(5, 500), again]))
    assert bits[:2000].mean() > 1.9
    assert bits[2540:].mean() < 0.06
    assert bits_of(again, unit)[40:].mean() < 0.06


def test_a_repeat_with_substitutions_is_followed_through_them():
    unit = random_bases(6, 3000)
    changed = unit.copy()
    changed[::20] = random_bases(7, 150)
    bits = bits_of(changed, unit)
    # Of 150 places 3/4 differ: their places are unknown, and to tell the new base takes log2 3.
    share = 0.05 * 0.75
    entropy = -share * math.log2(share) - (1 - share) * math.log2(1 - share) + share * math.log2(3)
    assert bits[100:].mean() < 1.5 * entropy


def test_random_bases_cost_two_bits_and_hardly_more():
    bits = bits_of(random_bases(8, 60_000))
    assert 1.995 < bits.mean() < 2.02
    assert bits[:2000].mean() < 2.05
    assert bits_of(random_bases(9, 10_000), random_bases(10, 60_000)).mean() < 2.02


def told(stretch: np.ndarray, share: float) -> np.ndarray:
    """Predictions that give each base that comes this share, and the others the rest evenly."""
    predictions = np.full((stretch.size, 4), (1 - share) / 3, np.float32)
    predictions[np.arange(stretch.size), codes(stretch)] = share
    return predictions


def test_a_model_from_outside_that_knows_is_trusted():
    training, first, text = (random_bases(seed, size) for seed, size in ((20, 5000), (21, 20_000), (22, 20_000)))
    mixture = fitted(training)
    learnt = mixture.with_model([first], [told(first, 0.7)])
    (bits,) = learnt.surprisal([text], [told(text, 0.7)])
    assert bits.mean() < -math.log2(0.7) + 0.03, "random bases cannot be known but by being told"
    unlearnt = mixture.with_model([], [])
    (slow,) = unlearnt.surprisal([text], [told(text, 0.7)])
    assert bits[:300].mean() < slow[:300].mean() - 0.1, "the trust was learnt before"


def test_a_model_from_outside_that_knows_nothing_changes_nothing():
    unit = random_bases(23, 3000)
    text = np.concatenate([random_bases(24, 2000), unit, np.frombuffer(b"NN", np.uint8), random_bases(25, 500)])
    mixture = fitted(unit)
    nothing = np.full((text.size, 4), 0.25, np.float32)
    nothing[codes(text) == NO_BASE] = np.nan
    (bits,) = mixture.with_model([text], [nothing]).surprisal([text], [nothing])
    (alone,) = mixture.surprisal([text])
    difference = np.abs(np.nan_to_num(bits - alone)).mean()
    assert 1e-4 < difference < 0.1, "the weights of `text` were learnt before, and none of its words"
    (bits,) = mixture.with_model([], []).surprisal([text], [nothing])
    np.testing.assert_allclose(bits, alone, atol=1e-3)


def test_a_model_from_outside_is_heard_at_its_own_base_only():
    text = random_bases(26, 1500)
    mixture = fitted(random_bases(27, 3000)).with_model([text], [told(text, 0.5)])
    predictions = told(text, 0.6)
    (bits,) = mixture.surprisal([text], [predictions])
    changed = predictions.copy()
    changed[700] = (0.97, 0.01, 0.01, 0.01)
    (other,) = mixture.surprisal([text], [changed])
    np.testing.assert_array_equal(other[:700], bits[:700])
    assert other[700] != bits[700]
    totals = np.zeros(1)
    for base in range(4):
        last = np.append(text[:700], np.frombuffer(b"ACGT", np.uint8)[base])
        totals += 2.0 ** -np.float64(next(mixture.surprisal([last], [predictions[:701]]))[-1])
    np.testing.assert_allclose(totals, 1.0, atol=1e-6)


def test_predictions_and_a_model_from_outside_belong_together():
    text = random_bases(28, 100)
    mixture = fitted(text)
    (before,) = mixture.surprisal([text])
    with_model = mixture.with_model([text], [told(text, 0.9)])
    for wrong in (lambda: mixture.surprisal([text], [told(text, 0.9)]), lambda: with_model.surprisal([text])):
        with pytest.raises(ValueError, match="predictions are for a mixture with_model"):
            next(wrong())
    (after,) = mixture.surprisal([text])
    np.testing.assert_array_equal(before, after)


def strand_symmetric_source(rng: np.random.Generator) -> np.ndarray:
    """Probabilities of the next base after two, [4, 4, 4], of a source whose strands are alike: both are counted."""
    after = rng.dirichlet(np.full(4, 0.4), size=(4, 4))
    pairs = np.full((4, 4), 1 / 16)
    for _ in range(500):
        pairs = np.einsum("ab,abc->bc", pairs, after)
    words = pairs[:, :, None] * after
    words = words + words[::-1, ::-1, ::-1].transpose(2, 1, 0)
    return words / words.sum(axis=2, keepdims=True)


def test_a_source_of_order_two_comes_near_its_entropy():
    rng = np.random.default_rng(11)
    cumulative = strand_symmetric_source(rng).cumsum(axis=2)
    bases = np.zeros(90_000, np.uint8)
    uniform = rng.random(bases.size)
    entropy_bits = 0.0
    for i in range(2, bases.size):
        after = cumulative[bases[i - 2], bases[i - 1]]
        bases[i] = min(np.searchsorted(after, uniform[i]), 3)
        if i >= 60_000:
            entropy_bits -= math.log2(np.diff(after, prepend=0)[bases[i]])
    bits = bits_of(bases[60_000:], bases[:60_000])
    assert entropy_bits / 30_000 < 1.9
    assert bits.mean() == pytest.approx(entropy_bits / 30_000, abs=0.02)


def test_other_letters_break_the_context_and_are_not_priced():
    unit = random_bases(12, 500)
    text = np.concatenate([unit, np.frombuffer(b"NnRNNN", np.uint8), unit])
    bits = bits_of(text, unit)
    np.testing.assert_array_equal(np.isnan(bits), codes(text) == NO_BASE)
    assert bits[506:508].mean() > 1.5 and bits[480:490].mean() < 0.3
    longer = np.concatenate([unit, np.full(3000, ord("N"), np.uint8), unit])
    np.testing.assert_array_equal(bits_of(longer, unit)[-500:], bits[-500:])
    assert np.isnan(bits_of(np.full(7, ord("N"), np.uint8))).all()


def test_case_codes_calls_pieces_and_streams_do_not_matter(monkeypatch):
    training, text = random_bases(13, 3000), random_bases(14, 900, b"ACGTACGTN")
    mixture = fitted(training)
    expected = list(mixture.surprisal([text, text]))
    assert expected[0].dtype == np.float32
    assert np.nanmean(expected[1]) < np.nanmean(expected[0])  # it goes on learning from stretch to stretch
    lower = np.frombuffer(text.tobytes().lower(), np.uint8)
    mixed = CopyMixture.fit(iter([codes(training)]), expected_bases=100_000)
    monkeypatch.setattr(copy_mixture, "PIECE_BASES", 37)
    in_pieces = fitted(training)
    for other, form in ((mixture, text), (mixture, lower), (mixed, codes(text)), (in_pieces, text)):
        for found, bits in zip(other.surprisal(iter([form, form])), expected, strict=True):
            np.testing.assert_array_equal(found, bits)


def test_empty_stretches_and_nothing_to_train_on():
    heard = []
    mixture = CopyMixture.fit([], expected_bases=10, progress=heard.append)
    assert not heard and list(mixture.surprisal([])) == []
    empty, one = mixture.surprisal([random_bases(15, 0), random_bases(15, 1)])
    assert empty.size == 0 and one[0] == pytest.approx(2.0)
    CopyMixture.fit([random_bases(15, 5), random_bases(15, 0), random_bases(15, 2)], progress=heard.append)
    assert heard == [5, 7]


@pytest.mark.parametrize("stretch", [np.zeros(3), np.zeros((2, 2), np.uint8)])
def test_another_array_is_refused_in_one_line(stretch):
    with pytest.raises(InputError, match="uint8") as mistake:
        CopyMixture.fit([stretch], expected_bases=10)
    assert "\n" not in str(mistake.value)


def test_memory_is_bounded_for_any_genome():
    assert new_state(None, 2**29).nbytes <= 2**29
    assert new_state(10**12, 2**28).nbytes <= 2**28
    assert new_state(1000, 2**29).nbytes < 2**27
    with pytest.raises(InputError, match="max_memory_bytes"):
        CopyMixture.fit([], max_memory_bytes=2**26)


def test_a_history_that_is_full_forgets_its_oldest_bases():
    unit, filler = random_bases(16, 1000), random_bases(17, 9000)
    mixture = CopyMixture.fit([unit, filler], expected_bases=1)
    assert mixture._state.history.size == 4096
    old, new = mixture.surprisal([unit, filler[-1000:]])
    # Counts of contexts outlast the history, so that the old stretch is not new altogether.
    assert new[50:].mean() < 0.03 and old.mean() > 0.1


def learnt_counts(text: np.ndarray):
    """Contexts after a text that went through them base by base, without any other part of the mixture."""
    state = new_state(100_000, 2**28)
    words = state.words
    for known, base in enumerate(codes(text)):
        predict_hashed(state.contexts, state.mixer.probabilities, state.mixer.confidences)
        learn_counts(state.contexts, int(base), known)
        words[0] = (words[0] << np.uint64(2)) | np.uint64(base)
        words[1] = (words[1] >> np.uint64(2)) | (np.uint64(3 - base) << np.uint64(62))
        find_contexts(state.contexts, words, known + 1)
    return state.contexts


def dictionary_counts(text: str, order: int) -> Counter:
    """(context, next base) → times on both strands; the inverted context that the last base completed still waits."""
    forward = [text[end - order : end + 1] for end in range(order, len(text))]
    inverted = [reverse_complement(word) for word in forward[:-1]]
    return Counter((word[:-1], word[-1]) for word in forward + inverted)


def word_of(context: str) -> int:
    return int("".join(str(code) for code in codes(context.encode())), 4)


def test_counts_equal_a_dictionary_of_strings():
    unit = random_bases(18, 150)
    text = np.concatenate([unit, unit, reverse_complement(unit), random_bases(19, 150)])
    contexts = learnt_counts(text)
    for model, (order, limit) in enumerate(DENSE_MODELS):
        expected = dictionary_counts(text.tobytes().decode(), order)
        if order < 4 or max(expected.values()) > limit:
            continue  # counts were halved
        size = 4 ** (order + 1)
        found = contexts.dense[contexts.offsets[model] : contexts.offsets[model] + size]
        assert found.sum() == sum(expected.values())
        for (context, base), times in expected.items():
            assert found[4 * word_of(context) + "ACGT".index(base)] == times
    for number, order in enumerate(HASHED_ORDERS):
        expected = dictionary_counts(text.tobytes().decode(), order)
        for (context, base), times in expected.items():
            word = np.uint64(hash_of(np.uint64(word_of(context) + (order << 48))))
            cell = contexts.hashed[number, _cell_of(contexts.hashed[number], word)]
            assert (int(cell) >> (4 * "ACGT".index(base))) & 15 == times


def test_mixing_steps_down_the_gradient():
    mixer = new_state(1, 2**28).mixer
    rng = np.random.default_rng(20)
    models = mixer.confidences.size
    mixer.probabilities[:] = rng.dirichlet(np.ones(4), size=models)
    mixer.by_context[3] = rng.normal(0, 0.2, size=models)
    take_logarithms(mixer, np.empty(4 * models, np.float32), np.empty(4 * models, np.int32))
    np.testing.assert_allclose(mixer.logs, np.log(mixer.probabilities), atol=2e-5)

    def nats(weights: np.ndarray) -> float:
        logits = weights @ np.log(mixer.probabilities.astype(np.float64))
        return math.log(np.exp(logits).sum()) - logits[2]

    weights = 0.15 + mixer.by_context[3].astype(np.float64)
    mix(mixer, 1, 3, 2)
    assert -math.log(mixer.mixed[2]) == pytest.approx(nats(weights), abs=1e-3)
    before = mixer.by_order[2].copy()
    learn_weights(mixer, 1, 3, 2, 2, 0)
    step = mixer.by_order[2] - before
    slopes = [(nats(weights + d) - nats(weights - d)) / 2e-4 for d in 1e-4 * np.eye(models)]
    np.testing.assert_allclose(step, -0.0025 * np.array(slopes), atol=2e-5)


@pytest.mark.data
def test_a_mitochondrion_is_known_from_its_relative(shared_data):
    def bases_of(name: str) -> np.ndarray:
        lines = gzip.decompress((shared_data / f"genomes/small/MT-{name}.fa.gz").read_bytes()).split()
        return np.frombuffer(b"".join(line for line in lines if set(line) <= set(b"ACGTN")), np.uint8)

    human, orang = bases_of("human"), bases_of("orang")
    assert human.size > 16_000 and orang.size > 16_000
    assert bits_of(orang, human).mean() < 1.2  # the best Markov model, of order 16, costs 1.77
    assert bits_of(orang).mean() < 1.96
