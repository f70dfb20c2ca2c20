"""A fresh model that begins at counted pairs predicts what counting predicts."""

import pytest
import torch

from primase.errors import RecipeError
from primase.models.build import build_model, configuration
from primase.models.counted_start import DISCOUNT, PRIOR_PAIRS, begin_with_pairs, count_pairs, smoothed
from primase.recipe import ModelSettings
from primase.tokenizers import kmer_tokenizer
from primase.training.run import pretrain
from tests.training.runs import DENSE, metrics, tiny_recipe

MODELS = {
    "dense": {"preset": "qwen3-small"},
    "grouped queries": {"preset": "mistral-small"},
    "tutorial": {"preset": "mixtral-1m"},
    "experts": {"preset": "qwen3-moe-105m", "settings": {"num_experts": 4, "num_hidden_layers": 2}},
}
TOKENS = kmer_tokenizer(3)


def model_of(**settings):
    settings = ModelSettings(**settings, start="pairs")
    return build_model(settings, configuration(settings, TOKENS), seed=0).eval()


@pytest.fixture(scope="module")
def chain():
    """300,000 tokens of a chain in which few successors are likely, and its vocabulary."""
    vocabulary = len(TOKENS)
    draw = torch.Generator().manual_seed(1)
    likely = torch.randn(vocabulary, 4, generator=draw) @ torch.randn(4, vocabulary, generator=draw)
    steps = (likely + torch.randn(vocabulary, generator=draw)).softmax(1)
    tokens = torch.zeros(100, 3001, dtype=torch.int64)
    for place in range(1, tokens.shape[1]):
        tokens[:, place] = steps[tokens[:, place - 1]].multinomial(1, generator=draw).squeeze(1)
    return tokens, vocabulary


def nats(logits, targets):
    return torch.nn.functional.cross_entropy(logits.flatten(0, -2), targets.flatten()).item()


def test_counts():
    rows = [torch.tensor([0, 1, 1, 2]), torch.tensor([1]), torch.tensor([0, 1])]
    assert count_pairs(rows, 3).tolist() == [[0, 2, 0], [0, 1, 1], [0, 0, 0]]


def test_smoothing():
    """Token 2 was never seen, 1 follows two others and itself, 0 follows 1 alone."""
    counts = torch.tensor([[0, 4, 0], [2, 1, 0], [0, 0, 0]], dtype=torch.float32)
    after, follows = smoothed(counts)
    assert follows.tolist() == pytest.approx([1.5 / 4.5, 2.5 / 4.5, 0.5 / 4.5])
    seen_after, count = {0: 1, 1: 2, 2: 0}, {(0, 1): 4, (1, 0): 2, (1, 1): 1}
    for first in range(3):
        for second in range(3):
            kept = max(0, count.get((first, second), 0) - DISCOUNT)
            given = (DISCOUNT * seen_after[first] + PRIOR_PAIRS) * follows[second].item()
            expected = (kept + given) / (sum(n for (a, _), n in count.items() if a == first) + PRIOR_PAIRS)
            assert after[first, second].item() == pytest.approx(expected)


@pytest.mark.parametrize("name", MODELS)
def test_begins_where_counting_ends(name, chain):
    tokens, vocabulary = chain
    counts = count_pairs(list(tokens), vocabulary)
    frequency = counts.sum(0) + 0.5
    frequency /= frequency.sum()
    counted = smoothed(counts)[0].log()
    inputs, targets = tokens[:8, :200], tokens[:8, 1:201]
    by_frequency = nats(frequency.log().expand(*targets.shape, -1), targets)
    by_pairs = nats(counted[inputs], targets)
    assert by_pairs < by_frequency - 0.3

    model = model_of(**MODELS[name])
    with torch.no_grad():
        before = nats(model(input_ids=inputs).logits, targets)
        begin_with_pairs(model, counts)
        after = nats(model(input_ids=inputs).logits, targets)
    assert before > by_frequency
    assert abs(after - by_pairs) < 0.1 * (by_frequency - by_pairs)


def test_a_training_begins_there(tmp_path):
    """In the first step already, on a genome of one word over and over."""
    (tmp_path / "genome.fa").write_text(">one\n" + "ACGTTGCAAGTC" * 500 + "\n")
    first = {}
    for start in ("random", "pairs"):
        recipe = tiny_recipe(DENSE, model__start=start, training__steps=1, training__log_every=1)
        first[start] = metrics(pretrain(tmp_path / "genome.fa", tmp_path / start, recipe).run)[0]["bits_per_base"]
    assert first["random"] > 2 and first["pairs"] < 1.5


def test_all_weights_learn(chain):
    """But those before a matrix of zeros, from the second step on."""
    tokens, vocabulary = chain
    model = model_of(**MODELS["dense"]).train()
    begin_with_pairs(model, count_pairs(list(tokens), vocabulary))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(
            model(input_ids=tokens[:8, :200]).logits.flatten(0, 1), tokens[:8, 1:201].flatten()
        ).backward()
        optimizer.step()
    assert [name for name, weight in model.named_parameters() if not weight.grad.abs().sum() > 0] == []


def test_tokens_of_like_successors_differ(chain):
    _, vocabulary = chain
    model = model_of(**MODELS["dense"])
    begin_with_pairs(model, torch.zeros(vocabulary, vocabulary))
    embedding = torch.cat([model.get_input_embeddings().weight[: (pad := TOKENS.pad_token_id)],
        model.get_input_embeddings().weight[pad + 1 :]])  # fmt: skip
    lengths = embedding.norm(dim=1)
    assert lengths.std() / lengths.mean() < 1e-3
    assert torch.pdist(embedding).min() > 0.5 * lengths.mean()


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"preset": "qwen3-small", "settings": {"tie_word_embeddings": True}}, "an output layer of its own"),
        ({"preset": "qwen3-small", "settings": {"vocab_size": 9000}}, "8,192 tokens at most, .* vocabulary has 9,000"),
    ],
)
def test_refused(settings, reason):
    with pytest.raises(RecipeError, match=reason):
        configuration(ModelSettings(**settings, start="pairs"), TOKENS)
