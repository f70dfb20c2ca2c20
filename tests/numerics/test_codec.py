"""The coder against the parallel pass: token by token the same prices, every byte back, and a leak that shows."""

import dataclasses
import math

import numpy as np
import pytest
import torch

from primase.codec.compress import compress, decompress
from primase.codec.container import read_container
from primase.codec.passes import code_lanes
from primase.codec.schedule import choose_lanes, cut_lanes, tokens_of_lanes
from primase.errors import InputError, ModelError, OutputExistsError
from primase.models.build import build_model, configuration
from primase.recipe import ModelSettings
from primase.scoring import LoadedModel, score_windows
from primase.sequence_encoder import SequenceEncoder
from primase.tokenizers import load_tokenizer
from tests.models import TINY, tiny_model, uniform_model


def bases(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).choice(np.frombuffer(b"ACGT", np.uint8), count)


def without_a_start_token() -> LoadedModel:
    loaded = tiny_model(context_tokens=24)
    loaded.encoder.prefix_ids = []
    return loaded


def with_the_tokenizer_of(folder) -> LoadedModel:
    tokenizer = load_tokenizer(folder)
    settings = ModelSettings(preset="mixtral-1m", settings=TINY)
    model = build_model(settings, configuration(settings, tokenizer), seed=0).eval()
    return LoadedModel(model, tokenizer, SequenceEncoder(tokenizer), 32)


def gpt2() -> LoadedModel:
    """Positions that are learnt, and an older way to keep keys and values."""
    from transformers import GPT2Config, GPT2LMHeadModel

    loaded = tiny_model(k=3, context_tokens=32)
    torch.manual_seed(0)
    sizes = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 32}
    model = GPT2LMHeadModel(GPT2Config(vocab_size=loaded.model.config.vocab_size, **sizes)).eval()
    return dataclasses.replace(loaded, model=model)


MODELS = {
    "base": lambda: tiny_model(context_tokens=30),
    "3-mer": lambda: tiny_model(k=3, context_tokens=30),
    "experts": lambda: tiny_model("mixtral-1m", k=3, context_tokens=30),
    "sliding window": lambda: tiny_model("mistral-small", k=3, context_tokens=30, sliding_window=11),
    "no start token": without_a_start_token,
    "gpt2": gpt2,
}


def prices_of_lanes(loaded: LoadedModel, lanes: list[np.ndarray]) -> list[np.ndarray]:
    """Nats of the tokens of each lane by the incremental passes."""
    ids = tokens_of_lanes(loaded, lanes)
    nats = [np.full(len(lane_ids), np.nan) for lane_ids in ids]

    def choose(probabilities, rows, place):
        symbols = np.array([ids[lane][place] for lane in rows])
        for row, lane in enumerate(rows):
            assert np.isnan(nats[lane][place]), "each token is coded once"
            nats[lane][place] = -math.log(probabilities[row, symbols[row]])
        return symbols

    coded = code_lanes(loaded, np.array([len(lane_ids) for lane_ids in ids]), 0.5, choose)
    assert coded.bits == pytest.approx(sum(lane.sum() for lane in nats) / math.log(2))
    return nats


@pytest.mark.parametrize("name", MODELS)
def test_each_token_is_predicted_from_the_context_of_the_parallel_pass(name):
    """Lanes of all lengths, so that their last rows slide by strides of all lengths."""
    loaded = MODELS[name]()
    lanes = [bases(count, seed=count) for count in (200, 1, 95, 158, 30, 3, 90)]
    incremental = prices_of_lanes(loaded, lanes)
    for nats, score in zip(incremental, score_windows(loaded, lanes), strict=True):
        np.testing.assert_allclose(nats, score.nats[: len(nats)], rtol=2e-4, atol=2e-5)


@pytest.mark.data
def test_a_byte_pair_tokenizer_with_an_end_token(dnabert2_tokenizer_folder, tmp_path):
    loaded = with_the_tokenizer_of(dnabert2_tokenizer_folder)
    assert loaded.encoder.suffix_ids, "the end token moves the last row"
    lanes = [bases(count, seed=count) for count in (600, 40, 431, 160)]
    for nats, score in zip(prices_of_lanes(loaded, lanes), score_windows(loaded, lanes), strict=True):
        np.testing.assert_allclose(nats, score.nats[: len(nats)], rtol=2e-4, atol=2e-5)
    assert round_trip(loaded, tmp_path, TEXT, lanes=3).agrees


TEXT = (
    b"\n>chr1 the first ACGT\r\n" + bases(500, 1).tobytes() + b"\r\n" + bases(200, 2).tobytes().lower() + b"NNNNnnRYK\n"
    b">empty\n>chr2\n" + bases(301, 3).tobytes() + b"\n\n-*U\n" + bases(5, 4).tobytes()
)


def round_trip(loaded: LoadedModel, folder, text: bytes, **options):
    folder.mkdir(exist_ok=True)
    source, packed, back = folder / "a.fa", folder / "a.prm", folder / "back.fa"
    source.write_bytes(text)
    result = compress(loaded, source, packed, **options)
    decompress(loaded, packed, back)
    assert back.read_bytes() == text
    assert packed.stat().st_size == result.total_bytes
    return result


def test_of_a_few_bases_the_last_words_are_too_large_a_share_to_prove_the_figure(tmp_path):
    result = round_trip(MODELS["base"](), tmp_path, b">short\nACGTACGTAC\n")
    assert result.agrees and not result.proves


@pytest.mark.parametrize("name", ["base", "3-mer", "experts"])
def test_the_file_is_as_large_as_the_parallel_pass_says(name, tmp_path):
    loaded = MODELS[name]()
    result = round_trip(loaded, tmp_path, TEXT, lanes=8)
    assert result.agrees and result.bases == 1006 and result.lanes == 8
    assert result.proves
    expected_bits = read_container(tmp_path / "a.prm").header.expected_bits
    assert expected_bits == pytest.approx(result.scored_bits_per_base * result.bases, rel=1e-5)
    assert -1 <= 8 * result.payload_bytes - expected_bits <= 64, "the coder loses two words at most"


def test_a_uniform_model_takes_the_logarithm_of_its_vocabulary(tmp_path):
    loaded = uniform_model(k=3)
    result = round_trip(loaded, tmp_path, b">a\n" + bases(1500).tobytes() + b"\n", lanes=8)
    assert result.scored_bits_per_base == pytest.approx(math.log2(loaded.model.config.vocab_size) / 3)
    assert result.payload_bits_per_base == pytest.approx(result.scored_bits_per_base, abs=64 / 1500)
    assert result.two_bit_bytes == 375 and result.side_bytes < 100


@pytest.mark.parametrize("count", [1, 2, 3, 4, 64])
def test_short_sequences(count, tmp_path):
    assert round_trip(tiny_model(k=3), tmp_path, b">a\n" + bases(count).tobytes()).bases == count


def test_a_model_that_was_trained_without_a_causal_mask_is_found_out(tmp_path, monkeypatch):
    """It learns to copy the next base, and prints that random bases cost nothing. The file takes two bits of each."""
    from transformers.models.qwen3 import modeling_qwen3

    def see_all(*, inputs_embeds, past_key_values=None, **_):
        rows, queries, _ = inputs_embeds.shape
        keys = queries + (past_key_values.get_seq_length() if past_key_values is not None else 0)
        return torch.ones(rows, 1, queries, keys, dtype=torch.bool)

    monkeypatch.setattr(modeling_qwen3, "create_causal_mask", see_all)
    loaded = tiny_model(context_tokens=16)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        with torch.no_grad():
            loaded.model.get_output_embeddings().weight.div_(20)
        optimizer = torch.optim.AdamW(loaded.model.train().parameters(), lr=1e-2)
        for _ in range(80):
            rows = torch.randint(4, 8, (32, 16))
            rows[:, 0] = loaded.encoder.prefix_ids[0]
            loaded.model(rows, labels=rows, use_cache=False).loss.backward()
            optimizer.step()
            optimizer.zero_grad()
    loaded.model.eval()
    leaky = round_trip(loaded, tmp_path, b">random\n" + bases(300).tobytes() + b"\n", lanes=4)
    assert leaky.scored_bits_per_base < 0.1, "what would be printed"
    assert leaky.payload_bits_per_base > 1.9 and not leaky.agrees and leaky.relative_difference > 10


def test_a_parallel_pass_that_peeks_at_the_next_token_is_found_out(tmp_path, monkeypatch):
    """It prints a wonderful figure. The file is no smaller for it, and still decodes."""
    loaded = tiny_model(k=3, context_tokens=30)
    forward = loaded.model.forward

    def peeking(input_ids, **options):
        output = forward(input_ids, **options)
        if not options.get("use_cache"):
            output.logits[:, :-1].scatter_add_(2, input_ids[:, 1:, None], torch.full_like(output.logits[:, :-1], 9.0))
        return output

    honest = round_trip(loaded, tmp_path, TEXT, lanes=4)
    monkeypatch.setattr(loaded.model, "forward", peeking)
    leaky = round_trip(loaded, tmp_path / "again", TEXT, lanes=4)
    assert leaky.scored_bits_per_base < 0.5 * honest.scored_bits_per_base
    assert leaky.payload_bytes == honest.payload_bytes
    assert not leaky.agrees and leaky.relative_difference > 1


def test_lanes_are_nearly_equal_and_cut_between_tokens():
    loaded = tiny_model(k=3, context_tokens=10)
    letters = bases(2000)
    lanes = cut_lanes(loaded, letters, 7)
    np.testing.assert_array_equal(np.concatenate(lanes), letters)
    assert [len(lane) % 3 for lane in lanes[:-1]] == [0] * 6
    assert max(map(len, lanes)) - min(map(len, lanes)) <= 5
    assert choose_lanes(loaded, letters) == 2000 // 3 // 80
    assert choose_lanes(loaded, letters[:5]) == 1 and choose_lanes(loaded, bases(200_000)) == 64


def test_threads_are_those_of_the_encoder_and_put_back(tmp_path):
    loaded = uniform_model()
    before = torch.get_num_threads()
    (tmp_path / "a.fa").write_bytes(b">a\nACGT\n")
    seen = []
    forward = loaded.model.forward

    def watched(*arguments, **options):
        seen.append(torch.get_num_threads())
        return forward(*arguments, **options)

    try:
        torch.set_num_threads(2)
        compress(loaded, tmp_path / "a.fa", tmp_path / "a.prm")
        torch.set_num_threads(1)
        loaded.model.forward = watched
        decompress(loaded, tmp_path / "a.prm", tmp_path / "b.fa")
        assert set(seen) == {2} and torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


def test_a_tokenizer_that_cannot_spell_the_letters_is_refused(tmp_path):
    loaded = tiny_model()
    (tmp_path / "a.fa").write_bytes(b">a\nACGTACGT\n")

    class Deaf(SequenceEncoder):
        def encode_many(self, sequences):
            return [ids[:-1] for ids in super().encode_many(sequences)]

    class Confused(SequenceEncoder):
        def encode_many(self, sequences):
            return [ids[::-1] for ids in super().encode_many(sequences)]

    for kind, message in ((Deaf, "its tokens hold 7 of 8 bases"), (Confused, "does not give back the bases")):
        deaf = dataclasses.replace(loaded, encoder=kind(loaded.tokenizer))
        with pytest.raises(ModelError, match=message):
            compress(deaf, tmp_path / "a.fa", tmp_path / "a.prm")
    assert not (tmp_path / "a.prm").exists()


def test_another_model_tokenizer_context_or_machine_is_refused(tmp_path, monkeypatch):
    loaded = tiny_model()
    (tmp_path / "a.fa").write_bytes(b">a\nACGTACGT\n")
    compress(loaded, tmp_path / "a.fa", tmp_path / "a.prm")
    other = tiny_model()
    with torch.no_grad():
        other.model.get_input_embeddings().weight[0, 0] += 1e-6
    renamed = tiny_model()
    renamed.tokenizer.add_tokens(["NEW"])
    for model, message in (
        (other, r"another model \(model [0-9a-f]{12}, not [0-9a-f]{12}\)"),
        (renamed, r"another model \(tokenizer [0-9a-f]{12}, not [0-9a-f]{12}\)"),
        (dataclasses.replace(loaded, context_tokens=63), r"context in tokens 64, not 63"),
    ):
        with pytest.raises(ModelError, match=message):
            decompress(model, tmp_path / "a.prm", tmp_path / "b.fa", other_machine=True)
    monkeypatch.setattr(torch, "__version__", "9.9")
    with pytest.raises(ModelError, match=r"compressed with torch .*, and here it is 9\.9.*--other-machine"):
        decompress(loaded, tmp_path / "a.prm", tmp_path / "b.fa")
    assert not (tmp_path / "b.fa").exists()
    decompress(loaded, tmp_path / "a.prm", tmp_path / "b.fa", other_machine=True)
    assert (tmp_path / "b.fa").read_bytes() == b">a\nACGTACGT\n"


def test_other_arithmetic_is_stopped_and_writes_nothing(tmp_path, monkeypatch):
    """Probabilities that are off by a ten-thousandth, as no checksum of weights could show."""
    loaded = tiny_model(k=3, context_tokens=30)
    (tmp_path / "a.fa").write_bytes(TEXT)
    compress(loaded, tmp_path / "a.fa", tmp_path / "a.prm", lanes=2)
    softmax = torch.softmax
    monkeypatch.setattr(torch, "softmax", lambda logits, **options: softmax(logits * 1.0001, **options))
    shares = []
    with pytest.raises(ModelError, match=r"a\.prm: decoding went astray, and nothing was written"):
        decompress(loaded, tmp_path / "a.prm", tmp_path / "b.fa", progress=lambda what, share: shares.append(share))
    assert max(shares) < 0.2, "stopped at the first block that differs"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.fa", "a.prm"]


def test_arguments_and_outputs(tmp_path):
    loaded = uniform_model()
    (tmp_path / "a.fa").write_bytes(b">a\nACGT\n")
    (tmp_path / "n.fa").write_bytes(b">a\nNNNN\n")
    with pytest.raises(InputError, match=r"n\.fa: no A, C, G or T"):
        compress(loaded, tmp_path / "n.fa", tmp_path / "n.prm")
    with pytest.raises(InputError, match="lanes 0: must be 1 or more"):
        compress(loaded, tmp_path / "a.fa", tmp_path / "a.prm", lanes=0)
    compress(loaded, tmp_path / "a.fa", tmp_path / "a.prm")
    with pytest.raises(OutputExistsError, match="--overwrite"):
        compress(loaded, tmp_path / "a.fa", tmp_path / "a.prm")
    with pytest.raises(OutputExistsError, match="--overwrite"):
        decompress(loaded, tmp_path / "a.prm", tmp_path / "a.fa")
    loaded.model.train()
    compress(loaded, tmp_path / "a.fa", tmp_path / "a.prm", overwrite=True)
    assert loaded.model.training, "the caller's model is put back as found"
