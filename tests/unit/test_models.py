"""From settings to a configuration: what a setting changes, and what is refused because it would change nothing."""

import json

import pytest
from transformers import AutoConfig

from primase.errors import RecipeError
from primase.models.build import configuration, count_parameters, router_can_learn
from primase.models.presets import PRESETS
from primase.recipe import ModelSettings
from primase.tokenizers import kmer_tokenizer

TOKENIZER = kmer_tokenizer(3)


def configured(preset: str, **settings):
    return configuration(ModelSettings(preset=preset, settings=settings), TOKENIZER)


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_take_the_tokenizers_vocabulary(preset):
    config = configured(preset)
    assert config.vocab_size == len(TOKENIZER)
    assert (config.bos_token_id, config.pad_token_id) == (TOKENIZER.bos_token_id, TOKENIZER.pad_token_id)
    counted = count_parameters(config)
    assert 0 < counted.active <= counted.total


def test_grouped_queries_sliding_window_and_experts_are_settings():
    config = configured("mixtral-1m", num_key_value_heads=2, sliding_window=16, num_local_experts=4)
    assert (config.num_key_value_heads, config.sliding_window, config.num_local_experts) == (2, 16, 4)
    assert count_parameters(config).total < count_parameters(configured("mixtral-1m")).total
    assert configured("qwen3-small", sliding_window=16, use_sliding_window=True).sliding_window == 16


def test_a_setting_without_effect_is_refused_with_its_switch():
    with pytest.raises(RecipeError, match=r"sliding_window: 16 has no effect on a qwen3 .*use_sliding_window=true"):
        configured("qwen3-small", sliding_window=16)


def test_a_saved_configuration_can_be_resized(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(configured("qwen3-small").to_dict()))
    assert len(AutoConfig.from_pretrained(tmp_path).layer_types) == 4
    settings = ModelSettings(config=str(tmp_path), settings={"num_hidden_layers": 2})
    assert len(configuration(settings, TOKENIZER).layer_types) == 2


def test_which_routers_can_learn():
    assert not router_can_learn(configured("mixtral-105m"))
    assert router_can_learn(configured("mixtral-105m", output_router_logits=True))
    assert router_can_learn(configured("mixtral-105m", num_experts_per_tok=2))
    assert router_can_learn(configured("qwen3-moe-105m"))
    assert router_can_learn(configured("qwen3-small"))
