"""The named architectures: plain transformers configurations, vocabulary and special tokens left to the tokenizer.

`mixtral-105m` is the tutorial's model; `mixtral-17m` and `mixtral-1m` are its published siblings (Mistral-DNA v1).
The others are for a CPU or a small genome. Any value can be changed by `model.settings` in a recipe.
"""

from typing import Any

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

_QWEN3_SMALL = {
    "model_type": "qwen3",
    "hidden_size": 192,
    "intermediate_size": 512,
    "num_hidden_layers": 4,
    "num_attention_heads": 6,
    "num_key_value_heads": 6,
    "head_dim": 32,
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
    "qwen3-tiny": _QWEN3_SMALL
    | {
        "hidden_size": 96,
        "intermediate_size": 256,
        "num_hidden_layers": 3,
        "num_attention_heads": 3,
        "num_key_value_heads": 3,
    },
    "qwen3-small": _QWEN3_SMALL,
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
