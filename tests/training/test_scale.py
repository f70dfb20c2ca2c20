"""A plan on paper, against sums done by hand."""

import dataclasses
import json

import pytest
from typer.testing import CliRunner

import primase
from primase.cli import app
from primase.errors import RecipeError
from primase.models.build import build_model, configuration
from primase.recipe import Recipe
from primase.tokenizers import kmer_tokenizer
from primase.training.scale import A100_FLOPS, ASSUMED_MFU, ScalePlan, activation_bytes_per_token, plan_at_scale

SMALL = Recipe.load("default", {"model.preset": "qwen3-small", "training.epochs": None})


def test_the_small_recipe_on_a_human_genome():
    plan = plan_at_scale(SMALL, genome_bases=3_100_000_000, gpus=8, gpu_flops=1e15, mfu=0.25, epochs=2)
    config = configuration(SMALL.model, kmer_tokenizer(3))
    model = build_model(SMALL.model, config, seed=0)
    parameters = sum(p.numel() for p in model.parameters())
    active = parameters - model.get_input_embeddings().weight.numel()
    tokens = 2 * 2_635_000_000 / 3  # 5 % validate, 10 % are held out; 3-mers
    assert (plan.train_bases, plan.tokens) == (2_635_000_000, round(tokens))
    assert (plan.parameters, plan.active_parameters) == (parameters, active)
    assert plan.hours == pytest.approx(6 * active * tokens / (8 * 1e15 * 0.25) / 3600, rel=1e-6)
    assert plan.training_state_bytes == 16 * parameters
    assert plan.memory_bytes == 16 * parameters + 8 * 341 * activation_bytes_per_token(config)
    assert {field.name for field in dataclasses.fields(ScalePlan)} == {*plan.origins, "origins"}


def test_of_a_size_that_is_left_open_the_largest():
    left_open = plan_at_scale(Recipe.load("default"), genome_bases=10**9, epochs=1)
    assert left_open == plan_at_scale(SMALL, genome_bases=10**9, epochs=1)


def test_activations_of_a_layer_counted_by_hand():
    """192 wide, 6 heads of 32 and as many for keys and values, 512 in the feed-forward, 4 layers, 73 tokens."""
    layer = 12 * 192 + 2 * (192 + 192 + 192 + 192) + 2 * 4 * 512
    assert activation_bytes_per_token(configuration(SMALL.model, kmer_tokenizer(3))) == 4 * layer + 8 * 73


def test_what_changes_what():
    base = plan_at_scale(SMALL, genome_bases=10**7)
    assert (base.mfu, base.epochs, base.gpus, base.gpu_flops) == (ASSUMED_MFU, 1, 1, A100_FLOPS)
    assert {base.origins[name] for name in ("mfu", "epochs", "gpus", "gpu_flops")} == {"assumed"}
    given = plan_at_scale(SMALL, genome_bases=10**7, gpus=1, gpu_flops=A100_FLOPS, epochs=1)
    assert {given.origins[name] for name in ("epochs", "gpus", "gpu_flops", "genome_bases")} == {"given"}
    assert plan_at_scale(SMALL, genome_bases=10**7, gpus=4).hours == pytest.approx(base.hours / 4)
    assert plan_at_scale(SMALL, genome_bases=10**7, gpus=4).memory_bytes == base.memory_bytes
    assert plan_at_scale(SMALL, genome_bases=10**9).hours == pytest.approx(100 * base.hours)
    assert plan_at_scale(SMALL, genome_bases=10**7, epochs=0.5).tokens == pytest.approx(base.tokens / 2, abs=1)
    with_epochs = Recipe.load("default", {"training.epochs": 3})
    of_recipe = plan_at_scale(with_epochs, genome_bases=10**7)
    assert of_recipe.tokens == pytest.approx(3 * base.tokens, abs=2) and of_recipe.origins["epochs"] == "given"


def test_only_the_experts_that_are_chosen_work():
    recipe = Recipe.load("default", {"model.preset": "mixtral-17m"})
    dense = Recipe.load("default", {"model.preset": "mixtral-17m", "model.settings.num_local_experts": 1})
    one, other = (plan_at_scale(some, genome_bases=10**7) for some in (recipe, dense))
    assert one.parameters > 3 * other.parameters
    assert one.hours == pytest.approx(other.hours, rel=0.01)  # the router's own products


@pytest.mark.parametrize(
    ("name", "value"), [("genome_bases", 0), ("gpus", -1), ("gpu_flops", 0), ("mfu", 1.1), ("mfu", 0), ("epochs", 0)]
)
def test_numbers_that_cannot_be(name, value):
    with pytest.raises(RecipeError, match=f"{name} is {value}: give a number above 0"):
        plan_at_scale(SMALL, **({"genome_bases": 10**7} | {name: value}))


def test_bases_of_a_byte_pair_are_measured_or_given(tmp_path):
    byte_pairs = {"tokenizer.kind": "byte-pair", "tokenizer.vocabulary_tokens": 64, "training.epochs": None}
    recipe = Recipe.load("default", byte_pairs)
    with pytest.raises(RecipeError, match="its bases a token depend on the genome; give a genome too"):
        plan_at_scale(recipe, genome_bases=10**7)
    given = plan_at_scale(recipe, genome_bases=10**7, bases_per_token=4)
    assert (given.tokens, given.origins["bases_per_token"]) == (2_125_000, "given")
    with pytest.raises(RecipeError, match="bases_per_token is 0"):
        plan_at_scale(recipe, genome_bases=10**7, bases_per_token=0)

    genome = tmp_path / "genome.fa"
    primase.simulate_to_file(genome, bases=400_000)
    corpus = primase.prepare([genome], tmp_path / "corpus", recipe)
    measured = primase.plan_at_scale(recipe, genome_bases=10**7, corpus=corpus)
    tokens = sum(len(corpus.tokens(window)) for window in range(len(corpus.windows)))
    assert measured.bases_per_token == corpus.windows["length"].sum() / tokens
    assert measured.origins["bases_per_token"] == "measured"
    assert measured.parameters == given.parameters


def test_the_command_without_a_genome():
    arguments = ["plan", "--genome-bases", "3100000000", "--gpus", "8", "--gpu-flops", "989e12", "--mfu", "0.4"]
    plan = plan_at_scale(SMALL, genome_bases=3_100_000_000, gpus=8, gpu_flops=989e12, mfu=0.4, epochs=2)
    result = CliRunner().invoke(app, [*arguments, "--epochs", "2", "--json"])
    assert result.exit_code == 0, result.output
    facts = json.loads(result.stdout)["at_scale"]
    assert (facts["hours"], facts["tokens"], facts["origins"]) == (plan.hours, plan.tokens, plan.origins)
    lines = CliRunner().invoke(app, [*arguments, "--epochs", "2"]).stdout
    assert f"{plan.tokens:,} (computed) = 2 epochs x 2,635,000,000 bases / 3 bases a token" in lines
    assert "8 GPUs x 9.89e+14 FLOP/s x 0.4 MFU" in lines and "9.89e+14 FLOP/s a GPU (given)" in lines
    assert "3.12e+14 FLOP/s a GPU (assumed)" in CliRunner().invoke(app, arguments[:3]).stdout


def test_the_tutorial_on_paper():
    arguments = ["plan", "--recipe", "tutorial", "--genome-bases", "10000000", "--epochs", "1", "--json"]
    assert "--bases-per-token N" in str(CliRunner().invoke(app, arguments).exception)
    result = CliRunner().invoke(app, [*arguments, "--bases-per-token", "5"])
    assert result.exit_code == 0, result.output
    facts = json.loads(result.stdout)["at_scale"]
    assert (facts["tokens"], facts["parameters"]) == (1_600_000, 104_993_024)  # a fifth of it validates
    assert facts["origins"]["bases_per_token"] == "given"


def test_the_command_needs_one_of_the_two():
    result = CliRunner().invoke(app, ["plan"])
    assert result.exit_code != 0
    assert "--genome-bases N" in str(result.exception)
