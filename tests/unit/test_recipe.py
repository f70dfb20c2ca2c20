"""Recipes: shipped ones load, overrides land, mistakes are named."""

import tomllib

import pytest

from primase.errors import RecipeError
from primase.recipe import Recipe, shipped_recipes


@pytest.mark.parametrize("name", shipped_recipes())
def test_shipped_recipe_survives_a_round_trip_and_carries_its_name(name):
    recipe = Recipe.load(name)
    assert recipe.name == name
    assert Recipe.model_validate(tomllib.loads(recipe.to_toml())) == recipe


def test_overrides_take_toml_values_and_bare_words():
    recipe = Recipe.load(
        "default",
        [
            "training.minutes=2.5",
            "tokenizer.kind=base",
            'split.heldout_records=["IV", "XVI"]',
            "model.settings.num_hidden_layers=2",
        ],
    )
    assert recipe.training.minutes == 2.5
    assert recipe.tokenizer.kind == "base"
    assert recipe.split.heldout_records == ("IV", "XVI")
    assert recipe.model.settings == {"num_hidden_layers": 2}


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("training.epoch=3", "unknown key training.epoch; did you mean training.epochs?"),
        ("data.window_bases=1", "data.window_bases: .*greater than or equal to 2.*given: 1"),
        ("training.epochs", "--set training.epochs: write section.key=value"),
        ("split.heldout_fraction=0.99", "leave nothing to train on"),
        ("tokenizer.kind=pretrained", "needs tokenizer.name"),
        ("name.x=1", "name is a value, not a section"),
    ],
)
def test_a_mistake_is_named_in_one_line(override, message):
    with pytest.raises(RecipeError, match=message) as raised:
        Recipe.load("default", [override])
    assert "\n" not in str(raised.value)


def test_naming_the_model_one_way_takes_the_place_of_the_other(tmp_path):
    assert Recipe.load("tutorial", ["model.config=folder"]).model.preset is None
    assert Recipe.load("tutorial", ["model.config=folder", "model.preset=qwen3-small"]).model.config is None
    both = tmp_path / "both.toml"
    both.write_text(Recipe.load("tutorial").to_toml().replace("[model]\n", '[model]\nconfig = "folder"\n'))
    with pytest.raises(RecipeError, match=r"give model\.preset or model\.config, one of them"):
        Recipe.load(both)


def test_a_run_needs_an_end():
    with pytest.raises(RecipeError, match="the training has no end"):
        Recipe.load("default").replace({"training.minutes": None, "training.epochs": None})


def test_missing_and_broken_files_are_named(tmp_path):
    with pytest.raises(RecipeError, match=r"no readable recipe file.*default"):
        Recipe.load(tmp_path / "absent.toml")
    broken = tmp_path / "broken.toml"
    broken.write_text("name = ")
    with pytest.raises(RecipeError, match=r"broken.toml: not a TOML file"):
        Recipe.load(broken)


def test_digest_and_differences_see_every_setting():
    recipe = Recipe.load("tutorial")
    other = recipe.replace({"training.learning_rate": 1e-3})
    assert recipe.digest() != other.digest()
    assert recipe.digest("data", "split") == other.digest("data", "split")
    assert recipe.differences(other) == ["training.learning_rate: 0.0005, not 0.001"]
    assert recipe.differences(recipe) == []
