"""A run on paper: tokens, hours and memory of a recipe on a genome and on GPUs that are not at hand.

Each figure is a formula over a few numbers; `origins` says of each whether it was given, assumed, measured or computed.
"""

from dataclasses import dataclass

from transformers import PreTrainedConfig, PreTrainedTokenizerBase

from primase.corpus.store import Corpus
from primase.errors import RecipeError
from primase.models.build import configuration, count_parameters
from primase.models.presets import AUTO, SIZES
from primase.recipe import Recipe
from primase.tokenizers import base_tokenizer, kmer_tokenizer, load_tokenizer
from primase.training.plan import BYTES_OF_TRAINING_STATE

ASSUMED_MFU = 0.3
"""Of the published peak. Models of a few million parameters reach far less: give what `metrics.jsonl` says of yours."""
A100_FLOPS = 312e12
"""Dense 16-bit floating-point operations a second (NVIDIA A100 data sheet)."""
ASSUMED = {"gpus": 1, "gpu_flops": A100_FLOPS, "mfu": ASSUMED_MFU, "epochs": 1.0}


@dataclass(frozen=True)
class ScalePlan:
    """What a run would take elsewhere."""

    genome_bases: int
    epochs: float
    gpus: int
    gpu_flops: float
    """Published peak of one GPU, floating-point operations a second."""
    mfu: float
    """Share of the peak that is reached, 0 to 1."""
    bases_per_token: float
    train_bases: int
    tokens: int
    parameters: int
    active_parameters: int
    training_flops: float
    hours: float
    """Of the optimizer steps; measurements, checkpoints and the start come on top."""
    training_state_bytes: int
    """On each GPU: every one holds the whole model."""
    activation_bytes: int
    """On each GPU, for one batch."""
    origins: dict[str, str]
    """Of each figure above: given, assumed, measured or computed."""

    @property
    def memory_bytes(self) -> int:
        """On each GPU, without what the libraries take."""
        return self.training_state_bytes + self.activation_bytes

    @property
    def formulas(self) -> dict[str, str]:
        """How the figures come about, with the numbers in place."""
        return {
            "tokens": f"{self.epochs:g} epochs x {self.train_bases:,} bases / {self.bases_per_token:.4g} bases a token",
            "hours": (
                f"6 x {self.active_parameters:,} active parameters x {self.tokens:,} tokens "
                f"/ ({self.gpus:,} GPUs x {self.gpu_flops:.4g} FLOP/s x {self.mfu:g} MFU) / 3,600"
            ),
            "memory": (
                f"{BYTES_OF_TRAINING_STATE} bytes x {self.parameters:,} parameters "
                f"+ {self.activation_bytes:,} bytes of activations, on each GPU"
            ),
        }


def plan_at_scale(
    recipe: Recipe,
    *,
    genome_bases: int,
    gpus: int | None = None,
    gpu_flops: float | None = None,
    mfu: float | None = None,
    epochs: float | None = None,
    bases_per_token: float | None = None,
    corpus: Corpus | None = None,
) -> ScalePlan:
    """The cost of a recipe on a genome of `genome_bases` and on `gpus` GPUs.

    Not given, they are ASSUMED: one GPU, A100_FLOPS, ASSUMED_MFU, and one epoch where the recipe has none either.
    bases_per_token: single bases and k-mers have a fixed number; that of other tokenizers is measured on `corpus`, a
    prepared part of the genome, or given.
    Special tokens and attention scores are not counted. Raises RecipeError for numbers that cannot be, and where the
    bases a token are not known.
    """
    train_bases = round(genome_bases * (1 - recipe.split.validation_fraction - recipe.split.heldout_fraction))
    given = {"genome_bases": genome_bases, "gpus": gpus, "gpu_flops": gpu_flops, "mfu": mfu}
    given["epochs"] = recipe.training.most_epochs(train_bases) if epochs is None else epochs
    origins = {name: "assumed" if value is None else "given" for name, value in given.items()}
    values = given | {name: value for name, value in ASSUMED.items() if given[name] is None}
    for name, value in values.items():
        if not 0 < value < (float("inf") if name != "mfu" else 1 + 1e-9):
            raise RecipeError(f"{name} is {value}: give a number above 0" + (", at most 1" if name == "mfu" else ""))
    per_token, origin = _bases_per_token(recipe, bases_per_token, corpus)
    config = _configuration(recipe, corpus)
    parameters = count_parameters(config)
    tokens = round(values["epochs"] * train_bases / per_token)
    flops = float(parameters.training_flops_per_token) * tokens
    rows = recipe.training.rows_per_batch * _row_tokens(recipe, config, per_token)
    computed = ("train_bases", "tokens", "parameters", "active_parameters", "training_flops", "hours")
    return ScalePlan(
        **values,
        bases_per_token=per_token,
        train_bases=train_bases,
        tokens=tokens,
        parameters=parameters.total,
        active_parameters=parameters.active,
        training_flops=flops,
        hours=flops / (values["gpus"] * values["gpu_flops"] * values["mfu"]) / 3600,
        training_state_bytes=BYTES_OF_TRAINING_STATE * parameters.total,
        activation_bytes=rows * activation_bytes_per_token(config),
        origins=origins
        | {"bases_per_token": origin}
        | dict.fromkeys((*computed, "training_state_bytes", "activation_bytes"), "computed"),
    )


def activation_bytes_per_token(config: PreTrainedConfig) -> int:
    """What the forward pass keeps of a token for the backward pass, in 16-bit autocast, attention scores not kept.

    Each layer: two norms with their inputs (12 bytes an element of the hidden state), queries, keys, values and
    the output of attention, and gate, its activation, up and their product in the feed-forward network of each expert
    that the token goes to (2 bytes each); at the end logits and their gradient in 32 bits (8 bytes a vocabulary item).
    That is too much where the output layer is a plain product: the loss is priced in portions, and they are not kept.
    """
    hidden, heads = config.hidden_size, config.num_attention_heads
    head_width = getattr(config, "head_dim", None) or hidden // heads
    key_value_heads = getattr(config, "num_key_value_heads", None) or heads
    experts = getattr(config, "num_experts_per_tok", None) or 1
    feed_forward = getattr(config, "moe_intermediate_size", None) or getattr(config, "intermediate_size", 4 * hidden)
    layer = 12 * hidden + 4 * head_width * (heads + key_value_heads) + 8 * feed_forward * experts
    return config.num_hidden_layers * layer + 8 * config.vocab_size


def _row_tokens(recipe: Recipe, config: PreTrainedConfig, bases_per_token: float) -> int:
    """The longest row: a window, or what the recipe or the model cuts it to."""
    longest = recipe.training.row_tokens or getattr(config, "max_position_embeddings", 1024)
    return min(longest, 1 + round(recipe.data.window_bases / bases_per_token))


def _bases_per_token(recipe: Recipe, given: float | None, corpus: Corpus | None) -> tuple[float, str]:
    if given is not None:
        if not 0 < given < float("inf"):
            raise RecipeError(f"bases_per_token is {given}: give a number above 0")
        return given, "given"
    kind = recipe.tokenizer.kind
    if kind in ("base", "kmer"):
        return float(recipe.tokenizer.k if kind == "kmer" else 1), "computed"
    if corpus is None:
        raise RecipeError(
            f"tokenizer.kind is {kind}: its bases a token depend on the genome; give a genome too, a part is enough, "
            "or --bases-per-token N"
        )
    return int(corpus.windows["length"].sum(dtype=int)) / corpus.description["tokens"], "measured"


def _configuration(recipe: Recipe, corpus: Corpus | None) -> PreTrainedConfig:
    tokenizer: PreTrainedTokenizerBase
    model, kind = recipe.model, recipe.tokenizer.kind
    if model.preset == AUTO:  # on GPUs, where time is not what the size is limited by
        model = model.model_copy(update={"preset": SIZES[-1]})
    if corpus is not None:
        tokenizer = load_tokenizer(str(corpus.folder / "tokenizer"))
    elif kind == "kmer":
        tokenizer = kmer_tokenizer(recipe.tokenizer.k)
    else:
        tokenizer = base_tokenizer()
    if corpus is None and kind in ("byte-pair", "pretrained") and model.preset is not None:
        sizes = {"vocab_size": recipe.tokenizer.vocabulary_tokens}
        model = model.model_copy(update={"settings": sizes | model.settings})
    return configuration(model, tokenizer)
