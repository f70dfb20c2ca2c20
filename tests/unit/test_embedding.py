"""Embedding: pooling over real tokens, whatever shares the batch, in every layer and file form."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file, save_file

from primase.embedding import embed, embed_to_file
from primase.embedding.vectors import _pool_row
from primase.errors import InputError, ModelError, OutputExistsError
from primase.scoring import load_model
from tests.models import tiny_model

SEQUENCES = ["ACGTAGCATCGGATC", "A", "ACGTAGCATCGGATCTATCTATCGACACTTGGTTATCGATCTACGAGCATCTC", "TTTGGC"]


def by_hand(loaded, sequence: str, layer: int) -> torch.Tensor:
    ids = loaded.tokenizer(sequence, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        return loaded.model.model(ids, output_hidden_states=True).hidden_states[layer][0]


@pytest.fixture(scope="module")
def loaded():
    return tiny_model("mixtral-1m")


@pytest.mark.parametrize("layer", [-1, 0, 1])
def test_pooling_is_over_the_real_tokens(loaded, layer):
    for sequence in SEQUENCES:
        hidden = by_hand(loaded, sequence, layer)
        for pooling, expected in (("mean", hidden.mean(0)), ("max", hidden.max(0)[0]), ("last", hidden[-1])):
            vector = embed(loaded, [sequence], layer=layer, pooling=pooling)[0]
            np.testing.assert_allclose(vector, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("batch_tokens", [1, 60, 10_000])
def test_batches_and_padding_do_not_change_a_vector(loaded, side, batch_tokens):
    loaded.tokenizer.padding_side = side
    together = embed(loaded, SEQUENCES, batch_tokens=batch_tokens)
    alone = np.concatenate([embed(loaded, [sequence]) for sequence in SEQUENCES])
    np.testing.assert_allclose(together, alone, rtol=1e-4, atol=1e-5)


def test_logits_are_what_the_tutorial_pools(loaded):
    ids = loaded.tokenizer(SEQUENCES[0], return_tensors="pt")["input_ids"]
    with torch.no_grad():
        expected = loaded.model(ids)[0][0].mean(0)
    vector = embed(loaded, [SEQUENCES[0]], layer="logits")[0]
    assert len(vector) == loaded.model.config.vocab_size
    np.testing.assert_allclose(vector, expected, rtol=1e-4, atol=1e-5)


def test_a_sequence_longer_than_the_context_is_pooled_over_all_its_rows(loaded):
    short = loaded.context_tokens - 1
    first, second = "ACGGT" * short, "TTGCA" * short
    long = first[:short] + second[: short // 2]
    rows = [by_hand(loaded, long[:short], -1), by_hand(loaded, long[short:], -1)]
    np.testing.assert_allclose(embed(loaded, [long])[0], torch.cat(rows).mean(0), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(embed(loaded, [long], pooling="last")[0], rows[1][-1], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(embed(loaded, [long], pooling="max")[0], torch.cat(rows).max(0)[0], rtol=1e-4, atol=1e-5)


def test_files_hold_the_same_numbers_and_the_names(tmp_path, loaded):
    folder = tmp_path / "model"
    loaded.model.save_pretrained(folder)
    loaded.tokenizer.save_pretrained(folder)
    fasta = tmp_path / "s.fa"
    fasta.write_text("".join(f">seq{i} note\n{text}\n" for i, text in enumerate(SEQUENCES)))
    assert embed_to_file(folder, [fasta], tmp_path / "v.npy").shape == [4, 32]
    embed_to_file(folder, [fasta], tmp_path / "v.parquet")
    matrix = np.load(tmp_path / "v.npy")
    table = pq.read_table(tmp_path / "v.parquet")
    assert table["name"].to_pylist() == ["seq0", "seq1", "seq2", "seq3"]
    np.testing.assert_array_equal(np.array(table["embedding"].to_pylist(), np.float32), matrix)
    np.testing.assert_allclose(matrix, embed(loaded, SEQUENCES), rtol=1e-4, atol=1e-5)
    with pytest.raises(OutputExistsError):
        embed_to_file(folder, [fasta], tmp_path / "v.npy")
    with pytest.raises(InputError, match=r"\.npy, \.parquet, \.h5ad or \.zarr"):
        embed_to_file(folder, [fasta], tmp_path / "v.txt")


def test_what_the_model_cannot_do_is_said(loaded):
    with pytest.raises(ModelError, match=r"layers 0 \(the embedding\) to 2"):
        embed(loaded, ["ACGT"], layer=9)
    with pytest.raises(InputError, match="sequence 2 is empty"):
        embed(loaded, ["ACGT", ""])
    with pytest.raises(InputError, match="mean, max, last"):
        embed(loaded, ["ACGT"], pooling="median")


def test_the_published_million_parameter_model_embeds_with_its_own_tokenizer(shared_data):
    """A classifier: its body is embedded, its missing output layer is refused."""
    folder = shared_data / "models" / "mistral-dna-v1-1m-tf0"
    example = "ACGTAGCATCGGATCTATCTATCGACACTTGGTTATCGATCTACGAGCATCTCGTTAGC"
    assert embed(folder, [example]).shape == (1, 64)
    with pytest.raises(ModelError, match="not a complete causal language model"):
        embed(folder, [example], layer="logits")


def test_a_model_with_weights_missing_is_refused(tmp_path, loaded):
    loaded.model.save_pretrained(tmp_path)
    loaded.tokenizer.save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    del weights["model.layers.0.self_attn.q_proj.weight"]
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"not a complete model \(without .*q_proj.weight\)"):
        embed(tmp_path, ["ACGT"])


def test_a_classifier_is_no_causal_model(tmp_path, loaded):
    loaded.model.save_pretrained(tmp_path)
    loaded.tokenizer.save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    weights.pop("lm_head.weight", None)
    weights["score.weight"] = weights["model.embed_tokens.weight"][:2].clone()
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((tmp_path / "config.json").read_text()) | {"tie_word_embeddings": False}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match="would be random: give the causal model that the classifier was made of"):
        load_model(tmp_path)


def test_the_last_vector_of_a_row_keeps_no_others():
    values = np.arange(24.0).reshape(2, 3, 4)
    last = _pool_row(values, "last")
    assert last.tolist() == values[:, -1].tolist() and last.base is None


def test_a_sequence_without_a_token_is_named(loaded, monkeypatch):
    encode_many = type(loaded.encoder).encode_many
    without_n = lambda self, sequences: encode_many(self, [sequence.replace(b"N", b"") for sequence in sequences])  # noqa: E731
    monkeypatch.setattr(type(loaded.encoder), "encode_many", without_n)
    with pytest.raises(InputError, match="makes no token of the sequence NNN; remove it"):
        embed(loaded, ["ACGT", "NNN"])


def test_unknown_tokens_are_told(loaded):
    told = []
    embed(loaded, ["ACGT", "AC!GT?"], on_unknown=told.append)
    assert told == [2]
    with pytest.warns(UserWarning, match="2 tokens are unknown"):
        embed(loaded, ["AC!GT?"])
    with pytest.warns(UserWarning, match="^1 token is unknown"):
        embed(loaded, ["ACGT?"])


def test_logits_need_an_output_layer(tmp_path, loaded):
    loaded.model.save_pretrained(tmp_path)
    loaded.tokenizer.save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="without an output layer"):
        embed(load_model(tmp_path, causal=False), ["ACGT"], layer="logits")
