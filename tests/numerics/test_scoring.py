"""The one forward pass against the model called by hand; nothing but a token's own past may change its price."""

import dataclasses
import subprocess
import sys

import numpy as np
import pytest
import torch

from primase.codec.compress import compress
from primase.errors import InputError
from primase.generation.generate import generate
from primase.models.routers import find_routers
from primase.scoring import load_model, score_windows
from primase.variants.score import score as score_variants
from tests.models import tiny_model


def bases(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).choice(np.frombuffer(b"ACGT", np.uint8), count)


def by_hand(loaded, token_ids: list[int]) -> np.ndarray:
    """Nats of token_ids[1:], each given those before it, from one unpadded row."""
    with torch.no_grad():
        logits = loaded.model(torch.tensor([token_ids])).logits[0].double()
    log_probabilities = torch.log_softmax(logits, dim=-1)
    return -log_probabilities[torch.arange(len(token_ids) - 1), torch.tensor(token_ids[1:])].numpy()


@pytest.mark.parametrize("preset", ["qwen3-small", "mixtral-1m"])
@pytest.mark.parametrize("k", [1, 3])
def test_a_window_that_fits_is_scored_as_by_hand(preset, k):
    loaded = tiny_model(preset, k)
    window = bases(50)
    (score,) = score_windows(loaded, [window])
    ids = loaded.tokenizer(window.tobytes().decode())["input_ids"]
    np.testing.assert_allclose(score.nats, by_hand(loaded, ids), rtol=1e-5)
    assert score.ids.tolist() == ids[1:]


@pytest.mark.parametrize("stride_fraction", [0.25, 0.5, 1.0])
def test_a_long_window_slides_and_scores_each_token_once(stride_fraction):
    loaded = tiny_model(context_tokens=17)
    window = bases(100)
    (score,) = score_windows(loaded, [window], stride_fraction=stride_fraction)
    start, ids, capacity = loaded.encoder.prefix_ids, loaded.encoder.encode(window).tolist(), 16
    stride = int(capacity * stride_fraction)
    expected = by_hand(loaded, start + ids[:capacity]).tolist()
    while len(expected) < len(ids):
        end = min(len(expected) + stride, len(ids))
        fresh = end - len(expected)
        expected += by_hand(loaded, start + ids[end - capacity : end])[-fresh:].tolist()
    np.testing.assert_allclose(score.nats, expected, rtol=1e-5)


@pytest.mark.parametrize("preset", ["qwen3-small", "mixtral-1m", "mistral-small"])
@pytest.mark.parametrize("side", ["left", "right"])
def test_batch_mates_and_padding_side_do_not_change_a_score(preset, side):
    loaded = tiny_model(preset)
    loaded.tokenizer.padding_side = side
    windows = [bases(length, seed=length) for length in (5, 60, 33, 1, 58)]
    together = list(score_windows(loaded, windows))
    for window, score in zip(windows, together, strict=True):
        (alone,) = score_windows(loaded, [window])
        np.testing.assert_allclose(score.nats, alone.nats, rtol=2e-5, atol=1e-6)


def test_a_changed_base_changes_nothing_before_it_and_something_from_it_on():
    loaded = tiny_model(context_tokens=24)
    window = bases(90)
    (before,) = score_windows(loaded, [window])
    for position in (0, 20, 45, 89):
        changed = window.copy()
        changed[position] = ord("A") if window[position] != ord("A") else ord("C")
        (after,) = score_windows(loaded, [changed])
        np.testing.assert_array_equal(before.nats[:position], after.nats[:position])
        assert (before.nats[position:] != after.nats[position:]).any()


def test_case_does_not_change_a_score():
    loaded = tiny_model(k=3)
    window = bases(61)
    lower = np.frombuffer(window.tobytes().lower(), np.uint8)
    (upper_score,), (lower_score,) = score_windows(loaded, [window]), score_windows(loaded, [lower])
    np.testing.assert_array_equal(upper_score.nats, lower_score.nats)


def test_saving_and_loading_does_not_change_a_score(tmp_path):
    loaded = tiny_model("mixtral-1m", k=3)
    loaded.model.save_pretrained(tmp_path)
    loaded.tokenizer.model_max_length = loaded.context_tokens
    loaded.tokenizer.save_pretrained(tmp_path)
    again = load_model(tmp_path)
    assert again.context_tokens == loaded.context_tokens
    window = bases(80)
    (first,), (second,) = score_windows(loaded, [window]), score_windows(again, [window])
    np.testing.assert_array_equal(first.nats, second.nats)


@pytest.fixture
def saved(tmp_path):
    """Folder of a small mixture of wholly uneven weights, saved as transformers saves it."""
    loaded = tiny_model("mixtral-1m", k=3, hidden_size=64, intermediate_size=64, head_dim=32)
    with torch.no_grad():
        loaded.model.get_output_embeddings().weight.div_(20)
    loaded.model.save_pretrained(tmp_path)
    loaded.tokenizer.model_max_length = loaded.context_tokens
    loaded.tokenizer.save_pretrained(tmp_path)
    return tmp_path


def test_bf16_is_near_where_it_is_asked_for(saved):
    exact, rounded = (load_model(saved, precision=precision) for precision in ("fp32", "bf16"))
    windows = [bases(length, seed=length) for length in (150, 33, 150, 99)]
    of_exact, of_rounded = (
        np.concatenate([score.nats for score in score_windows(one, windows)]) for one in (exact, rounded)
    )
    assert (of_exact != of_rounded).any()
    np.testing.assert_allclose(of_rounded.mean(), of_exact.mean(), rtol=0.002)
    np.testing.assert_allclose(of_rounded, of_exact, rtol=0.05)


def test_routers_are_not_rounded_where_bf16_is_asked_for(saved):
    """As in the training: rounded logits would send tokens to other experts."""
    loaded, kinds = load_model(saved, precision="bf16"), []
    for router in find_routers(loaded.model):
        router.module.register_forward_hook(lambda module, inputs, outputs: kinds.append(outputs[0].dtype))
    list(score_windows(loaded, [bases(60)]))
    assert kinds and set(kinds) == {torch.float32}


def test_a_fresh_process_loads_for_bf16_and_computes_with_its_own_products(saved):
    """In a process that has built no model the names of the products are not registered yet."""
    script = f"""
import numpy as np
from primase.models import expert_products, short_attention
from primase.scoring import load_model, score_windows
loaded = load_model({str(saved)!r}, precision="bf16")
config = loaded.model.config
assert (config._attn_implementation, config._experts_implementation) == ("primase", "primase")
used = []
of_experts = expert_products._silu_experts
expert_products._silu_experts = lambda *arguments: used.append(arguments[-1]) or of_experts(*arguments)
kernel = expert_products.kernels.silu_experts
expert_products.kernels.silu_experts = lambda *arguments: used.append("kernel") or kernel(*arguments)
(score,) = score_windows(loaded, [np.frombuffer(b"ACGT" * 20, np.uint8)])
print({{str(one) for one in used}} <= {{"kernel", "torch.bfloat16"}} and len(used) > 0)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stdout.split()) == (0, ["True"]), done.stderr


def test_what_bears_no_rounding_refuses_it(saved, tmp_path):
    loaded = load_model(saved, precision="bf16")
    fasta = tmp_path / "g.fa"
    fasta.write_text(">r\n" + bases(300).tobytes().decode() + "\n")
    uses = [
        lambda: compress(loaded, fasta, tmp_path / "g.pdc"),
        lambda: generate(loaded, bases=30),
        lambda: score_variants(loaded, genome=fasta, regions=["r:10-20"], output=tmp_path / "s.tsv"),
    ]
    for use in uses:
        with pytest.raises(InputError, match="in fp32, and this model was loaded in bf16"):
            use()
    assert not list(tmp_path.glob("*.tsv")) and not list(tmp_path.glob("*.pdc"))


def test_another_precision_is_refused(tmp_path):
    with pytest.raises(InputError, match="precision 'half': choose fp32 or bf16"):
        load_model(tmp_path, precision="half")


def test_probabilities_of_all_short_texts_sum_to_one():
    """Over every text of two tokens: a scorer that peeked at the next token would exceed one."""
    loaded = tiny_model()
    ids = range(loaded.model.config.vocab_size)
    prefix = loaded.encoder.prefix_ids
    total = sum(np.exp(-by_hand(loaded, [*prefix, a, b]).sum()) for a in ids for b in ids)
    assert total == pytest.approx(1.0, abs=1e-4)


def test_training_mode_is_put_back_as_found():
    loaded = tiny_model()
    loaded.model.train()
    list(score_windows(loaded, [bases(10)]))
    assert loaded.model.training


def test_without_a_start_token_the_first_token_costs_a_uniform_guess():
    loaded = tiny_model()
    encoder = tiny_model().encoder
    encoder.prefix_ids = []
    bare = dataclasses.replace(loaded, encoder=encoder)
    window = bases(30)
    (score,) = score_windows(bare, [window])
    assert score.nats[0] == pytest.approx(np.log(loaded.model.config.vocab_size))
    np.testing.assert_allclose(score.nats[1:], by_hand(loaded, encoder.encode(window).tolist()), rtol=1e-5)


@pytest.mark.parametrize("side", ["left", "right"])
def test_without_a_start_token_something_precedes_each_token_of_a_long_window(side):
    """However far the rows move on: a row that scored its own first token would know nothing of what is before it."""
    loaded = tiny_model(context_tokens=17)
    loaded.tokenizer.padding_side = side
    encoder = tiny_model(context_tokens=17).encoder
    encoder.prefix_ids = []
    bare = dataclasses.replace(loaded, encoder=encoder)
    window, short = bases(100), bases(20, seed=1)
    (alone,) = score_windows(bare, [window], stride_fraction=1.0)
    _, beside = score_windows(bare, [short, window], stride_fraction=1.0)
    ids = encoder.encode(window).tolist()
    expected = by_hand(loaded, ids[:17]).tolist()
    while len(expected) < len(ids) - 1:
        end = min(len(expected) + 1 + 16, len(ids))
        expected += by_hand(loaded, ids[end - 17 : end])[-(end - len(expected) - 1) :].tolist()
    for score in (alone, beside):
        np.testing.assert_allclose(score.nats[1:], expected, rtol=1e-5)


def test_windows_with_nothing_to_predict_cost_nothing_or_a_guess():
    """Without a start token, and with no token at all: N of a tokenizer that leaves it out."""
    loaded = tiny_model()
    encoder = tiny_model().encoder
    encoder.prefix_ids = []
    bare = dataclasses.replace(loaded, encoder=encoder)
    empty, one, more = score_windows(bare, [bases(0), bases(1), bases(9)])
    assert empty.nats.size == 0 and one.nats.tolist() == [np.log(loaded.model.config.vocab_size)]
    assert more.nats.size == 9
