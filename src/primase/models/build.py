"""From a recipe's model settings to a transformers configuration, a fresh model, and what it costs a token."""

import copy
import difflib
import warnings
from dataclasses import dataclass
from typing import Any

import torch
import transformers
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from primase.errors import ModelError, RecipeError
from primase.hub import CONFIGURATION_FILES, local_folder
from primase.models import counted_start, expert_products, short_attention
from primase.models.presets import AUTO, PRESETS, SIZES
from primase.recipe import ModelSettings

SHORTEST_CONTEXT = 4
"""Tokens: one to begin with, some to predict."""


def silence_transformers() -> None:
    """Its progress bars and warnings would write between ours; what matters in them is raised or reported here."""
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    warnings.filterwarnings("ignore", "Initializing zero-element tensors")  # torch, of a model that is refused anyway


def configuration(settings: ModelSettings, tokenizer: PreTrainedTokenizerBase) -> PreTrainedConfig:
    """The transformers configuration that the settings mean, with the tokenizer's vocabulary and special tokens.

    Raises RecipeError for a preset or a setting that does not exist or that no model can have, ModelError for a
    configuration that cannot be read or whose vocabulary is too small for the tokenizer.
    """
    silence_transformers()
    values = _base_values(settings)
    if settings.preset is not None:
        values["vocab_size"] = len(tokenizer)
    values |= {
        "bos_token_id": _first_id(tokenizer.bos_token_id, tokenizer.cls_token_id),
        "eos_token_id": _first_id(tokenizer.eos_token_id, tokenizer.sep_token_id),
        "pad_token_id": tokenizer.pad_token_id,
    }
    model_type = values.pop("model_type")
    _refuse_unknown(settings.settings, AutoConfig.for_model(model_type))
    try:
        config = AutoConfig.for_model(model_type, **copy.deepcopy(values | settings.settings))
    except Exception as error:  # transformers validates with several exception types
        raise RecipeError(f"model.settings: {_one_line(error)}") from error
    _refuse_without_effect(settings.settings, config)
    _refuse_unusable(settings, config)
    if config.vocab_size < len(tokenizer):
        raise ModelError(
            f"the model has {config.vocab_size} token embeddings and the tokenizer {len(tokenizer)} tokens; "
            f"set model.settings.vocab_size={len(tokenizer)}"
        )
    return config


def register_products() -> None:
    """Make `primase` a name that transformers knows for experts and attention."""
    expert_products.register()
    short_attention.register()


def build_model(settings: ModelSettings, config: PreTrainedConfig, seed: int) -> PreTrainedModel:
    """A model with fresh fp32 weights; the same seed gives the same weights. The caller's random state is kept."""
    register_products()
    model_class = transformers.MODEL_FOR_CAUSAL_LM_MAPPING.get(type(config), None)
    # Attention with capped scores or sinks is not torch's, and so not ours.
    has_other_attention = settings.attention == "primase" and not getattr(model_class, "_supports_sdpa", True)
    attention = "eager" if has_other_attention else settings.attention
    arguments: dict[str, Any] = {"attn_implementation": attention, "dtype": torch.float32}
    if is_mixture(config):
        arguments["experts_implementation"] = settings.experts
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return _from_configuration(config, **arguments)


def _from_configuration(config: PreTrainedConfig, **arguments: Any) -> PreTrainedModel:
    try:
        return AutoModelForCausalLM.from_config(copy.deepcopy(config), **arguments)
    except Exception as error:  # a size of zero, an unknown activation: each model fails in its own way
        raise ModelError(
            f"a {config.model_type} model cannot be built from this configuration "
            f"({type(error).__name__}: {_one_line(error)}); change model.settings or model.config"
        ) from error


def is_mixture(config: PreTrainedConfig) -> bool:
    """Whether the model has experts."""
    return experts(config) > 1


def experts(config: PreTrainedConfig) -> int:
    """Experts a layer; 1 for a dense model."""
    return getattr(config, "num_local_experts", None) or getattr(config, "num_experts", None) or 1


@dataclass(frozen=True)
class ParameterCount:
    """Parameters of a model."""

    total: int
    active: int
    """Those that multiply a token: without the embedding table, and of the experts only the chosen ones."""
    experts: int

    @property
    def training_flops_per_token(self) -> int:
        """6 floating-point operations a parameter and token: 2 forward, 4 backward (attention scores not counted)."""
        return 6 * self.active


def count_parameters(config: PreTrainedConfig) -> ParameterCount:
    """Count without allocating any weight."""
    with torch.device("meta"):
        model = _from_configuration(config)
    total = sum(parameter.numel() for parameter in model.parameters())
    of_experts = sum(p.numel() for name, p in model.named_parameters() if ".experts." in name)
    chosen = getattr(config, "num_experts_per_tok", None) or 1
    tied = model.get_output_embeddings().weight is model.get_input_embeddings().weight
    lookup = 0 if tied else model.get_input_embeddings().weight.numel()
    idle_experts = of_experts * (experts(config) - chosen) // experts(config) if is_mixture(config) else 0
    return ParameterCount(total, total - lookup - idle_experts, of_experts)


def router_can_learn(config: PreTrainedConfig) -> bool:
    """Whether a gradient reaches the router of a mixture of experts.

    With one expert a token and the chosen weights renormalised to sum to 1 (always so in Mixtral), the weight is 1
    whatever the router says; without the balancing loss nothing else depends on it either.
    """
    if not is_mixture(config):
        return True
    renormalised = config.model_type == "mixtral" or getattr(config, "norm_topk_prob", False)
    return not (config.num_experts_per_tok == 1 and renormalised and not config.output_router_logits)


def _base_values(settings: ModelSettings) -> dict[str, Any]:
    if settings.preset is not None:
        if settings.preset == AUTO:
            raise RecipeError(f"model.preset is auto, chosen when a run begins; name one of {', '.join(SIZES)}")
        if settings.preset not in PRESETS:
            names = ", ".join([AUTO, *PRESETS])
            raise RecipeError(f"model.preset {settings.preset!r} does not exist; there are {names}")
        return dict(PRESETS[settings.preset])
    try:
        config = AutoConfig.from_pretrained(
            local_folder(settings.config, CONFIGURATION_FILES), local_files_only=True, trust_remote_code=False
        )
    except ModelError:
        raise
    except Exception as error:  # transformers raises several types, for a broken file and for an unknown architecture
        raise ModelError(
            f"model.config {settings.config}: no transformers configuration can be read from it ({_one_line(error)}); "
            "give a folder with its config.json"
        ) from error
    values = config.to_dict()
    if {"num_hidden_layers", "sliding_window", "use_sliding_window"} & settings.settings.keys():
        values.pop("layer_types", None)  # derived from these, one entry a layer
    for stale in ("transformers_version", "architectures", "_name_or_path", "dtype", "torch_dtype"):
        values.pop(stale, None)
    return values


def _refuse_unknown(settings: dict[str, Any], known: PreTrainedConfig) -> None:
    for key in settings:
        if not hasattr(known, key) and key != "rope_theta":
            close = difflib.get_close_matches(key, known.to_dict(), n=1)
            hint = f"; did you mean {close[0]}?" if close else ""
            raise RecipeError(f"model.settings.{key}: a {known.model_type} configuration has no such value{hint}")


def _refuse_unusable(settings: ModelSettings, config: PreTrainedConfig) -> None:
    """What would build and then fail in the first step, or would learn nothing."""
    if type(config) not in transformers.MODEL_FOR_CAUSAL_LM_MAPPING:
        raise RecipeError(f"transformers has no causal language model of type {config.model_type}; choose another type")
    heads = getattr(config, "num_attention_heads", None)
    if heads and heads % (getattr(config, "num_key_value_heads", None) or heads):
        raise RecipeError(
            f"model.settings.num_key_value_heads: {config.num_key_value_heads} does not divide the {heads} "
            "attention heads"
        )
    if getattr(config, "max_position_embeddings", SHORTEST_CONTEXT) < SHORTEST_CONTEXT:
        raise RecipeError(f"model.settings.max_position_embeddings: must be {SHORTEST_CONTEXT} or more")
    if getattr(config, "is_decoder", True) is False:
        raise RecipeError(
            f"a {config.model_type} model sees the bases that it predicts; set model.settings.is_decoder=true"
        )
    if is_mixture(config) and not 1 <= config.num_experts_per_tok <= experts(config):
        raise RecipeError(f"model.settings.num_experts_per_tok: must be 1 to {experts(config)}, the number of experts")
    widths = [getattr(config, name, 8) for name in ("hidden_size", "intermediate_size", "moe_intermediate_size")]
    if is_mixture(config) and settings.experts in ("grouped_mm", "primase") and any(width % 8 for width in widths):
        raise RecipeError(
            f"model.experts is {settings.experts}, which needs hidden and intermediate sizes that are multiples of 8; "
            "change them in model.settings, or set model.experts=eager"
        )
    if settings.start == "pairs":
        counted_start.refuse_other_models(config)
    if settings.attention == "flex_attention" and not torch.cuda.is_available():
        raise RecipeError("model.attention is flex_attention, which needs a GPU; set model.attention=sdpa")


def _refuse_without_effect(settings: dict[str, Any], config: PreTrainedConfig) -> None:
    """A configuration may drop a value that another one switches off; the user would train something else."""
    for key, value in settings.items():
        if key != "rope_theta" and getattr(config, key) != value:  # rope_theta moves into rope_parameters
            switch = f"; set use_{key}=true too" if hasattr(config, f"use_{key}") else ""
            raise RecipeError(
                f"model.settings.{key}: {value!r} has no effect on a {config.model_type} model, which keeps "
                f"{getattr(config, key)!r}{switch}"
            )


def _first_id(*candidates: int | None) -> int | None:
    return next((candidate for candidate in candidates if candidate is not None), None)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
