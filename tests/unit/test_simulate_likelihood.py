"""The exact likelihood of a simulated source, against sums over enumerated hidden paths and against known answers."""

from itertools import pairwise, product

import numpy as np
import pytest

from primase import dna
from primase.errors import InputError
from primase.simulate import (
    Gene,
    GenomeDesign,
    GenomeModel,
    RepeatFamily,
    demo_genome_model,
    entropy_bits_per_base,
    forward,
    log2_likelihood,
    simulate,
    surprisal_bits,
    window_bits,
)


def bases(letters: str) -> np.ndarray:
    return np.frombuffer(letters.encode(), np.uint8)


def all_sequences(length: int) -> list[np.ndarray]:
    return [bases("".join(letters)) for letters in product("ACGT", repeat=length)]


@pytest.fixture(scope="module")
def demo() -> GenomeModel:
    return demo_genome_model(0)


@pytest.fixture(scope="module")
def genome(demo: GenomeModel) -> np.ndarray:
    return simulate(demo, [300_000], seed=3)[0].bases


def random_model(order: int, states: int, seed: int) -> GenomeModel:
    rng = np.random.default_rng(seed)
    return GenomeModel(
        order,
        tuple(map(str, range(states))),
        rng.dirichlet(np.full(states, 0.5), size=states),
        rng.dirichlet(np.ones(4), size=(states, 4**order)),
        np.zeros(states, bool),
    )


def small_genome_model() -> GenomeModel:
    """All parts of the demo, in few states."""
    chain = np.full((4, 4), 0.2) + 0.2 * np.eye(4)[::-1]  # own reverse complement, as word frequencies
    background = {"".join("ACGT"[i] for i in w): chain[w[0], w[1]] * chain[w[1], w[2]] / 4 for w in np.ndindex(4, 4, 4)}
    gene = Gene(
        share=0.6,
        motif=((0.7, 0.1, 0.1, 0.1),),
        spacer_bases=1,
        codons={"GCA": 0.6, "GCC": 0.1, "TTC": 0.3},
        stop_codons={"TAA": 0.5, "TGA": 0.5},
        mean_codons=2,
    )
    repeat = RepeatFamily(share=0.4, consensus="GAT", substituted_fraction=0.2)
    return GenomeDesign(background=background, mean_background_bases=3, genes=(gene,), repeats=(repeat,)).model()


def stationary_by_product_chain(model: GenomeModel) -> np.ndarray:
    """Joint of state and context as the fixed point of the chain on pairs, written out in full."""
    states, contexts = model.states, model.contexts
    chain = np.zeros((states, contexts, states, contexts))
    for state, context, base in np.ndindex(states, contexts, 4):
        chain[state, context, :, (context * 4 + base) % contexts] += (
            model.emissions[state, context, base] * model.transitions[state]
        )
    pairs = states * contexts
    balance = np.vstack([chain.reshape(pairs, pairs).T - np.eye(pairs), np.ones(pairs)])
    joint = np.linalg.lstsq(balance, np.eye(pairs + 1)[-1], rcond=None)[0]
    return joint.reshape(states, contexts)


def sum_over_paths(model: GenomeModel, joint: np.ndarray, sequence: np.ndarray) -> float:
    """P(sequence): every path of hidden states and every context before the sequence, one by one."""
    successors = [np.flatnonzero(row).tolist() for row in model.transitions]

    def rest(state: int, context: int, codes: list[int]) -> float:
        emitted = model.emissions[state, context, codes[0]]
        if len(codes) == 1 or emitted == 0:
            return emitted
        after = (context * 4 + codes[0]) % model.contexts
        return emitted * sum(model.transitions[state, s] * rest(s, after, codes[1:]) for s in successors[state])

    codes = dna.codes(sequence).tolist()
    return sum(joint[pair] * rest(*pair, codes) for pair in np.ndindex(joint.shape))


@pytest.mark.parametrize(("order", "states"), [(0, 3), (1, 4), (2, 3), (3, 2)])
def test_likelihood_is_the_sum_over_all_paths(order, states):
    model = random_model(order, states, seed=order)
    joint = stationary_by_product_chain(model)
    np.testing.assert_allclose(model.stationary, joint, atol=1e-12)
    for sequence in map(bases, ("A", "GT", "TTG", "CATG", "GATTA", "ACCGTA")):
        expected = np.log2(sum_over_paths(model, joint, sequence))
        assert log2_likelihood(model, sequence) == pytest.approx(expected, abs=1e-9)


def test_likelihood_of_the_genome_structure_is_the_sum_over_all_paths():
    model = small_genome_model()
    joint = stationary_by_product_chain(model)
    np.testing.assert_allclose(model.stationary, joint, atol=1e-11)
    for sequence in map(bases, ("C", "AT", "ATG", "ATGGCA", "TTAGAA", "GATCAT", "GGGGGG")):
        expected = np.log2(sum_over_paths(model, joint, sequence))
        assert log2_likelihood(model, sequence) == pytest.approx(expected, abs=1e-8)


def test_likelihood_of_the_demo_is_the_sum_over_all_paths(demo):
    joint = demo.stationary
    emitted = joint[:, :, None] * demo.emissions
    moved = demo.transitions.T @ emitted.reshape(demo.states, 4, demo.contexts).sum(axis=1)
    np.testing.assert_allclose(moved, joint, atol=1e-14)
    for sequence in map(bases, ("ATGG", "TTACA", "CCGTA")):
        expected = np.log2(sum_over_paths(demo, joint, sequence))
        assert log2_likelihood(demo, sequence) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("length", range(1, 7))
def test_probabilities_of_all_sequences_sum_to_one(demo, length):
    for model in (demo, small_genome_model(), random_model(1, 4, seed=7)):
        total = np.exp2(-window_bits(model, all_sequences(length))).sum()
        assert total == pytest.approx(1.0, abs=1e-10)


def test_a_window_is_as_likely_as_all_records_that_hold_it(demo):
    window = bases("GATGC")
    longer = [np.concatenate([left, window]) for left in all_sequences(3)]
    total = np.exp2(-window_bits(demo, longer)).sum()
    assert np.log2(total) == pytest.approx(log2_likelihood(demo, window), abs=1e-9)


def test_one_state_is_a_plain_markov_chain():
    chain = np.array([[0.4, 0.3, 0.2, 0.1], [0.1, 0.4, 0.4, 0.1], [0.3, 0.2, 0.1, 0.4], [0.25, 0.25, 0.25, 0.25]])
    model = GenomeModel(1, ("only",), np.ones((1, 1)), chain[None], np.array([False]))
    share = np.linalg.matrix_power(chain, 200)[0]
    expected = -np.log2([share[2], chain[2, 0], chain[0, 3], chain[3, 3]])
    np.testing.assert_allclose(surprisal_bits(model, [bases("GATT")])[0], expected, rtol=1e-12)
    entropy_rate = -(share[:, None] * chain * np.log2(chain)).sum()
    drawn = [record.bases for record in simulate(model, [200_000], seed=0)]
    assert entropy_bits_per_base(model, drawn) == pytest.approx(entropy_rate, abs=0.004)


def test_an_impossible_base_costs_infinitely_many_bits():
    emissions = np.array([[[1.0, 0, 0, 0]], [[0, 1.0, 0, 0]]])
    model = GenomeModel(0, ("A", "C"), np.full((2, 2), 0.5), emissions, np.zeros(2, bool))
    assert log2_likelihood(model, bases("ACCA")) == -4
    assert log2_likelihood(model, bases("ACGA")) == -np.inf
    assert log2_likelihood(random_model(2, 3, seed=0), bases("")) == 0


@pytest.mark.parametrize("bases_at_once", [1000, 2**24])
def test_windows_do_not_influence_each_other(demo, genome, monkeypatch, bases_at_once):
    monkeypatch.setattr(forward, "BASES_AT_ONCE", bases_at_once)
    cuts = np.cumsum([0, 500, 0, 1, 2, 3, 1500, 40, *([7] * 80)])
    windows = [genome[start:end] for start, end in pairwise(cuts)]
    together = surprisal_bits(demo, windows)
    assert [len(bits) for bits in together] == [len(window) for window in windows]
    for window, bits in zip(windows[:10], together, strict=False):
        np.testing.assert_allclose(surprisal_bits(demo, [window])[0], bits, rtol=1e-9)


def test_case_is_ignored(demo, genome):
    upper = np.frombuffer(genome[:3000].tobytes().upper(), np.uint8)
    assert dna.is_soft_masked(genome[:3000]).any()
    assert log2_likelihood(demo, upper) == log2_likelihood(demo, genome[:3000])


def test_both_strands_are_equally_likely(demo, genome):
    foreign = np.random.default_rng(0).choice(bases("ACGT"), 2000)
    windows = [*genome[:60_000].reshape(-1, 3000), foreign, bases("ATGG"), bases("C")]
    flipped = [dna.reverse_complement(window) for window in windows]
    np.testing.assert_allclose(window_bits(demo, flipped), window_bits(demo, windows), rtol=1e-10)


def test_two_independent_draws_have_the_same_entropy(demo):
    per_window = [
        window_bits(demo, record.bases.reshape(-1, 5000)) / 5000
        for record in simulate(demo, [250_000, 250_000], seed=11)
    ]
    means = [bits.mean() for bits in per_window]
    standard_error = np.sqrt(sum(bits.var(ddof=1) / len(bits) for bits in per_window))
    assert abs(means[0] - means[1]) < 4 * standard_error
    assert standard_error < 0.03


def test_only_the_source_itself_reaches_the_entropy(demo, genome):
    windows = genome[:100_000].reshape(-1, 5000)
    entropy = entropy_bits_per_base(demo, windows)
    shuffled = np.random.default_rng(0).permuted(windows, axis=1)
    assert entropy_bits_per_base(demo, shuffled) > 2.0 > entropy + 0.2
    assert entropy_bits_per_base(demo_genome_model(1), windows) > entropy + 0.2


def test_longer_windows_cost_fewer_bits_a_base(demo, genome):
    by_length = [entropy_bits_per_base(demo, genome.reshape(-1, length)) for length in (100, 1000, 10_000)]
    assert by_length[0] > by_length[1] > by_length[2]


@pytest.mark.parametrize(("letters", "where"), [("ACGNA", "window 1, base 3: 'N'"), ("-", "window 1, base 0: '-'")])
def test_other_letters_are_refused_with_their_place(letters, where):
    with pytest.raises(InputError, match=where):
        window_bits(random_model(1, 2, seed=0), [bases("ACGT"), bases(letters)])


def test_no_bases_have_no_entropy():
    with pytest.raises(InputError, match="no base"):
        entropy_bits_per_base(random_model(1, 2, seed=0), [bases("")])


def test_a_model_that_is_none_is_refused():
    good = random_model(1, 2, seed=0)
    parts = (good.order, good.labels, good.transitions, good.emissions, good.soft_masked)
    with pytest.raises(InputError, match="row of transitions"):
        GenomeModel(*parts[:2], good.transitions * 0.9, *parts[3:])
    with pytest.raises(InputError, match=r"emissions has shape \(2, 4, 4\); give \(2, 16, 4\)"):
        GenomeModel(2, *parts[1:])
    with pytest.raises(InputError, match="cannot be reached"):
        _ = GenomeModel(*parts[:2], np.eye(2), *parts[3:]).stationary
