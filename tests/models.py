"""Tiny models for tests: fresh weights, or weights whose answer is known by heart."""

import torch

from primase.models.build import build_model, configuration
from primase.recipe import ModelSettings
from primase.scoring import LoadedModel
from primase.sequence_encoder import SequenceEncoder
from primase.tokenizers import base_tokenizer, kmer_tokenizer

TINY = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
}


def tiny_model(preset: str = "qwen3-small", k: int = 1, context_tokens: int = 64, **settings) -> LoadedModel:
    """A model with fresh weights, made uneven enough that every token matters."""
    tokenizer = base_tokenizer() if k == 1 else kmer_tokenizer(k)
    model_settings = ModelSettings(preset=preset, settings=TINY | settings)
    model = build_model(model_settings, configuration(model_settings, tokenizer), seed=0).eval()
    with torch.no_grad():
        model.get_output_embeddings().weight.mul_(20)
    return LoadedModel(model, tokenizer, SequenceEncoder(tokenizer), context_tokens)


def uniform_model(k: int = 1) -> LoadedModel:
    """A model that gives every token of the vocabulary the same probability."""
    loaded = tiny_model(k=k)
    with torch.no_grad():
        loaded.model.get_output_embeddings().weight.zero_()
    return loaded
