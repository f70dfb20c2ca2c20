"""Probabilities of single bases, each got a second time by adding up the vocabulary in a loop."""

import numpy as np
import pytest
import torch

from primase.base_predictions import PrefixSums, predict_bases, surprisal
from primase.errors import ModelError
from primase.models.build import build_model, configuration
from primase.recipe import ModelSettings
from primase.scoring import LoadedModel, score_windows
from primase.sequence_encoder import SequenceEncoder
from primase.tokenizers import kmer_tokenizer, train_byte_pair_tokenizer
from tests.models import TINY, tiny_model


def sequence(bases: int, seed: int = 0, letters: bytes = b"ACGT") -> np.ndarray:
    return np.random.default_rng(seed).choice(np.frombuffer(letters, np.uint8), bases)


def byte_pair_model() -> LoadedModel:
    tokenizer = train_byte_pair_tokenizer([sequence(5000, 9).tobytes()], vocab_size=60)
    settings = ModelSettings(preset="qwen3-small", settings=TINY)
    model = build_model(settings, configuration(settings, tokenizer), seed=0).eval()
    with torch.no_grad():
        model.get_output_embeddings().weight.mul_(20)
    return LoadedModel(model, tokenizer, SequenceEncoder(tokenizer), 64)


def in_a_loop(loaded: LoadedModel, text: bytes) -> np.ndarray:
    """float [bases, 4] in one frame: token by token, base by base, over the strings of the vocabulary."""
    encoder = loaded.encoder
    ids = encoder.encode(text)
    row = torch.tensor([[*encoder.prefix_ids, *ids.tolist()]])
    with torch.inference_mode():
        probabilities = loaded.model(row).logits[0].double().softmax(-1).numpy()
    rows = []
    for place, token in enumerate(ids.tolist()):
        for begun in range(len(encoder.spelled[token])):
            before = encoder.spelled[token][:begun]
            sums = dict.fromkeys((b"A", b"C", b"G", b"T"), 0.0)
            for i, spelled in enumerate(encoder.spelled):
                if b"N" not in spelled and len(spelled) > begun and spelled.startswith(before):
                    sums[spelled[begun : begun + 1]] += probabilities[len(encoder.prefix_ids) - 1 + place, i]
            ended = 0.0
            for end in range(1, begun + 1):  # a token that spells no more than this, then bases all alike
                alone = [i for i, spelled in enumerate(encoder.spelled) if spelled == before[:end]]
                ended += sum(probabilities[len(encoder.prefix_ids) - 1 + place, i] for i in alone) / 4 ** (begun - end)
            bases = np.array([sums[letter] for letter in (b"A", b"C", b"G", b"T")]) + ended / 4
            rows.append(bases / bases.sum())
    return np.array(rows)


@pytest.mark.parametrize("ahead", [30, 60, 200])
def test_a_model_that_is_sure_of_another_token_still_predicts(ahead):
    encoder = tiny_model(k=3).encoder
    target, sure_of = (int(encoder.encode(text)[0]) for text in (b"TTT", b"AAA"))
    logits = torch.zeros(1, len(encoder.spelled))
    logits[0, sure_of] = ahead
    _, _, values = PrefixSums.of(encoder, torch.device("cpu")).predict(logits, torch.tensor([target]))
    assert values.shape == (3, 4) and np.isfinite(values).all()
    np.testing.assert_allclose(values.sum(axis=1), 1, rtol=1e-5)


@pytest.mark.parametrize("k", [1, 2, 3])
def test_the_first_frame_is_the_sum_over_the_vocabulary(k):
    loaded = tiny_model(k=k)
    text = sequence(10 * k)
    (predictions,) = predict_bases(loaded, [text], all_frames=False)
    np.testing.assert_allclose(predictions, in_a_loop(loaded, text.tobytes()), rtol=1e-4)
    np.testing.assert_allclose(predictions.sum(axis=1), 1, rtol=1e-5)


def test_byte_pairs():
    loaded = byte_pair_model()
    text = sequence(80)
    (predictions,) = predict_bases(loaded, [text])
    np.testing.assert_allclose(predictions, in_a_loop(loaded, text.tobytes()), rtol=1e-4)
    assert (predictions > 0).all(), "a token that may have ended leaves no base impossible"


def test_the_bases_of_a_kmer_multiply_to_the_kmer():
    """Where the model gives nothing to the tokens that are no 3-mer, which do not come within a sequence."""
    loaded = tiny_model(k=3)

    def only_kmers(_module, _inputs, output):
        output.logits[..., :9] = -1e9
        return output

    loaded.model.register_forward_hook(only_kmers)
    text = sequence(60)
    (predictions,) = predict_bases(loaded, [text], all_frames=False)
    (score,) = score_windows(loaded, [text])
    bits = surprisal(predictions, text).reshape(-1, 3).sum(axis=1)
    np.testing.assert_allclose(bits * np.log(2), score.nats, rtol=1e-4)


def test_all_frames_are_their_mean():
    loaded = tiny_model(k=3)
    text = sequence(40, 1)
    (predictions,) = predict_bases(loaded, [text])
    frames = [next(predict_bases(loaded, [text[frame:]], all_frames=False)) for frame in range(3)]
    padded = np.full((3, 40, 4), np.nan)
    for frame, values in enumerate(frames):
        padded[frame, frame:] = values
    np.testing.assert_allclose(predictions, np.nanmean(padded, axis=0), rtol=1e-4)


@pytest.mark.parametrize("model", [lambda: tiny_model(k=3), byte_pair_model])
def test_nothing_is_known_of_what_comes_later(model):
    """With byte pairs a later base may move the borders of tokens before it, so only the exchanged base's own past that
    is spelled by the same tokens is looked at."""
    loaded = model()
    text = sequence(50, 2)
    place = 31
    changed = text.copy()
    changed[place] = ord("ACGT"[("ACGT".index(chr(text[place])) + 1) % 4])
    before, after = predict_bases(loaded, [text, changed])
    same = place + 1
    if loaded.encoder.regular_k is None:
        ids = [loaded.encoder.encode(bases).tolist() for bases in (text, changed)]
        alike = next(i for i, (a, b) in enumerate(zip(*ids, strict=False)) if a != b)
        same = int(loaded.encoder.letters_per_token[ids[0][:alike]].sum())
        assert same > 10
    np.testing.assert_allclose(before[:same], after[:same], atol=1e-6)
    assert np.abs(before[same:] - after[same:]).max() > 1e-3


def test_long_sequences_slide_and_group_mates_do_not_matter():
    loaded = tiny_model(k=3, context_tokens=16)
    texts = [sequence(bases, bases) for bases in (400, 7, 0, 90, 1)]
    together = list(predict_bases(loaded, texts))
    for text, prediction in zip(texts, together, strict=True):
        (alone,) = predict_bases(loaded, [text])
        assert prediction.shape == (len(text), 4)
        np.testing.assert_allclose(prediction, alone, atol=1e-5)
    (finer,) = predict_bases(loaded, texts[:1], stride_fraction=0.1)
    assert np.abs(finer - together[0]).max() > 1e-3


def test_other_letters_have_no_prediction_and_case_does_not_matter():
    loaded = tiny_model(k=2)
    text = np.frombuffer(b"ACGTTGCANNRACGGTCA", np.uint8)
    predictions, folded = predict_bases(loaded, [text, np.frombuffer(text.tobytes().lower(), np.uint8)])
    assert np.isnan(predictions[8:11]).all() and not np.isnan(np.delete(predictions, [8, 9, 10], 0)).any()
    np.testing.assert_array_equal(predictions, folded)
    assert np.isnan(surprisal(predictions, text)[8:11]).all()
    assert surprisal(np.array([[0.5, 0.25, 0.125, 0.125]]), np.frombuffer(b"g", np.uint8)) == 3


def test_a_base_that_was_given_no_probability_costs_a_finite_number_of_bits():
    impossible = np.array([[0.0, 0.5, 0.5, 0.0]], np.float32)
    assert 126 < surprisal(impossible, np.frombuffer(b"A", np.uint8))[0] < 127


def test_a_tokenizer_that_cannot_spell_a_base_is_refused():
    loaded = byte_pair_model()
    broken = loaded.encoder
    broken.letters_per_token = broken.letters_per_token.copy()
    broken.letters_per_token[9:] = 0
    with pytest.raises(ModelError, match="cannot spell this sequence letter by letter"):
        list(predict_bases(loaded, [sequence(50)]))


def test_six_mers_sum_over_four_thousand_tokens():
    tokenizer = kmer_tokenizer(6)
    settings = ModelSettings(preset="qwen3-small", settings=TINY)
    model = build_model(settings, configuration(settings, tokenizer), seed=0).eval()
    loaded = LoadedModel(model, tokenizer, SequenceEncoder(tokenizer), 64)
    text = sequence(36)
    (predictions,) = predict_bases(loaded, [text], all_frames=False)
    np.testing.assert_allclose(predictions, in_a_loop(loaded, text.tobytes()), rtol=1e-4)
