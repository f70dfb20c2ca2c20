"""The named architectures: plain transformers configurations, vocabulary and special tokens left to the tokenizer.

`mixtral-105m` is the tutorial's model; `mixtral-17m` and `mixtral-1m` are its published siblings (Mistral-DNA v1).
The others are for a CPU or a small genome. Any value can be changed by `model.settings` in a recipe.
"""

from typing import Any

AUTO = "auto"
"""In place of a preset: one of SIZES, chosen by `primase.training.size` when a run begins."""

_MIXTRAL_DNA = {
    "model_type": "mixtral",
    "hidden_size": 256,
    "intermediate_size": 256,
    "num_hidden_layers": 8,
    "num_attention_heads": 8,
    "num_key_value_heads": 8,
    "num_local_experts": 64,
    "num_experts_per_tok": 1,
    "max_position_embeddings": 512,
    "rope_theta": 1e6,
    "router_aux_loss_coef": 0.02,
    "output_router_logits": False,
    "sliding_window": None,
    "tie_word_embeddings": False,
}

HEAD_WIDTH = 32


def _qwen3(*, layers: int, width: int, inner: int) -> dict[str, Any]:
    return {
        "model_type": "qwen3",
        "hidden_size": width,
        "intermediate_size": inner,
        "num_hidden_layers": layers,
        "num_attention_heads": width // HEAD_WIDTH,
        "num_key_value_heads": width // HEAD_WIDTH,
        "head_dim": HEAD_WIDTH,
        "max_position_embeddings": 1024,
        "rope_theta": 1e4,
        "tie_word_embeddings": False,
    }


PRESETS: dict[str, dict[str, Any]] = {
    "mixtral-105m": _MIXTRAL_DNA,
    "mixtral-17m": _MIXTRAL_DNA | {"num_local_experts": 8},
    "mixtral-1m": _MIXTRAL_DNA
    | {
        "hidden_size": 64,
        "intermediate_size": 64,
        "num_hidden_layers": 4,
        "num_local_experts": 8,
        "max_position_embeddings": 256,
    },
    # One expert a token whose gate does learn: its softmax weight is not renormalised, and the balancing loss is on.
    "qwen3-moe-105m": {
        "model_type": "qwen3_moe",
        "hidden_size": 256,
        "intermediate_size": 256,
        "moe_intermediate_size": 256,
        "num_hidden_layers": 8,
        "num_attention_heads": 8,
        "num_key_value_heads": 8,
        "head_dim": 32,
        "num_experts": 64,
        "num_experts_per_tok": 1,
        "norm_topk_prob": False,
        "decoder_sparse_step": 1,
        "output_router_logits": True,
        "router_aux_loss_coef": 0.02,
        "max_position_embeddings": 512,
        "rope_theta": 1e6,
        "tie_word_embeddings": False,
    },
    # Dense, for a laptop: normalised queries and keys let it train at high rates.
    "qwen3-nano": _qwen3(layers=2, width=64, inner=176),
    "qwen3-tiny": _qwen3(layers=3, width=96, inner=256),
    "qwen3-mini": _qwen3(layers=4, width=128, inner=352),
    "qwen3-small": _qwen3(layers=4, width=192, inner=512),
    # Dense with grouped queries and a sliding window, as in Mistral.
    "mistral-small": {
        "model_type": "mistral",
        "hidden_size": 256,
        "intermediate_size": 704,
        "num_hidden_layers": 6,
        "num_attention_heads": 8,
        "num_key_value_heads": 2,
        "head_dim": 32,
        "sliding_window": 512,
        "max_position_embeddings": 2048,
        "rope_theta": 1e4,
        "tie_word_embeddings": False,
    },
}

SIZES = ("qwen3-nano", "qwen3-tiny", "qwen3-mini", "qwen3-small")
"""Of one family, from 0.1 to 1.8 million parameters with a vocabulary of 3-mers."""
