"""What a run is: frozen settings, read from and written to TOML.

A recipe is complete: together with the genome it determines the run. `Recipe.load` takes a shipped name or a file and
`--set section.key=value` overrides; an unknown key or a value out of range is refused with the nearest valid key.
"""

import hashlib
import json
import tomllib
from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

import tomli_w
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from primase.errors import RecipeError
from primase.recipe_problems import first_problem, flattened


class Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)


EPOCHS = 24.0
EPOCHS_OF_A_SMALL_GENOME = 12.0
SMALL_GENOME_BASES = 500_000
"""Of the training part."""

Steps = Annotated[int, Field(ge=1)]
"""A number of optimizer steps."""


class DataSettings(Settings):
    """How records become windows."""

    window_bases: int = Field(200, ge=2)
    """Length of a window in bases; windows do not overlap."""
    unknown_bases: Literal["drop", "keep"] = "drop"
    """Windows with a base other than A, C, G, T: dropped, or kept with such bases as N."""
    short_records: Literal["error", "skip", "keep"] = "error"
    """Records shorter than a window: refused, left out, or kept as one shorter window (so are record ends)."""
    column: str | None = None
    """Column of a table that holds the sequences; `text`, then `sequence`, where not named."""


class SplitSettings(Settings):
    """Which windows are trained on, which choose the checkpoint, and which are held out for the measurement."""

    strategy: Literal["auto", "random", "records", "regions", "blocks", "homology"] = "auto"
    """random: single windows (neighbours leak); records: whole records; regions: the stretches that are named;
    blocks: long contiguous stretches, drawn; homology: blocks, with all stretches that resemble each other on one side.
    auto: blocks for a genome of one record, records where some add up to the fraction asked for, random for a table."""
    validation_fraction: float = Field(0.05, ge=0, lt=1)
    """Share of the windows that choose the best checkpoint and stop the training early."""
    heldout_fraction: float = Field(0.1, ge=0, lt=1)
    """Share of the windows that nothing looks at before the final measurement."""
    heldout_records: tuple[str, ...] = ()
    """Names of the records to hold out (strategy records); chosen by the seed where empty."""
    heldout_regions: tuple[str, ...] = ()
    """Stretches to hold out (strategy regions), as in chr2:1000001-1500000: counted from 1, both ends included."""
    block_bases: int = Field(100_000, ge=1)
    """Length of a block (strategies blocks and homology, and the validation part of strategies records and regions)."""
    gap_bases: int = Field(1_000, ge=0)
    """Training windows nearer than this to a validation or held-out block are left out."""
    homology_share: float = Field(0.05, gt=0, le=1)
    """Stretches of 5,000 bases resemble each other (strategy homology) where they share so much of their minimizers:
    0.05 is reached by 250 identical bases or by 1,700 that are 90 % identical; the gap is one such stretch at least."""

    @model_validator(mode="after")
    def _leave_something_to_train_on(self) -> "SplitSettings":
        if self.validation_fraction + self.heldout_fraction >= 1:
            raise ValueError("validation_fraction and heldout_fraction leave nothing to train on; lower one")
        return self

    @model_validator(mode="after")
    def _what_is_named_is_held_out(self) -> "SplitSettings":
        for setting, strategy in (("heldout_records", "records"), ("heldout_regions", "regions")):
            if getattr(self, setting) and self.strategy not in ("auto", strategy):
                raise ValueError(f"{setting} has no effect on a {self.strategy} split; set split.strategy={strategy}")
        if self.heldout_records and self.heldout_regions:
            raise ValueError("give heldout_records or heldout_regions, one of them; a whole record is a region too")
        if self.strategy == "regions" and not self.heldout_regions:
            raise ValueError("strategy regions needs heldout_regions, as in ['chr2:1000001-1500000']")
        return self


class TokenizerSettings(Settings):
    """How bases become tokens."""

    kind: Literal["base", "kmer", "byte-pair", "pretrained"] = "base"
    k: int = Field(3, ge=2, le=8)
    """Bases a token (kind kmer)."""
    vocabulary_tokens: int = Field(4096, ge=32, le=65_536)
    """Size of the vocabulary (kind byte-pair), special tokens included."""
    max_token_bases: int = Field(16, ge=2)
    """Longest token in bases (kind byte-pair)."""
    name: str | None = None
    """Folder or Hub name (kind pretrained)."""
    padding_side: Literal["left", "right"] = "right"

    @model_validator(mode="after")
    def _pretrained_needs_a_name(self) -> "TokenizerSettings":
        if self.kind == "pretrained" and not self.name:
            raise ValueError("kind 'pretrained' needs tokenizer.name: a folder or a Hub name")
        return self


class ModelSettings(Settings):
    """The architecture: a preset of Primase or a transformers configuration, with single values changed."""

    preset: str | None = None
    """Name of a preset (see `primase.models.presets`); auto: a small dense model of the size that the time is worth."""
    config: str | None = None
    """Folder, file or Hub name of a transformers causal-LM configuration."""
    settings: dict[str, Any] = {}
    """Values of the transformers configuration to change, under transformers' own names
    (`num_key_value_heads`, `sliding_window`, `num_local_experts`, …)."""
    start: Literal["random", "pairs"] = "random"
    """Fresh weights. pairs: embedding and output layer begin at what counting pairs of tokens in the training part
    predicts, which saves the first steps of a model with a large vocabulary."""
    attention: Literal["primase", "sdpa", "eager", "flash_attention_2", "flex_attention"] = "primase"
    """How attention is computed; the result is the same. primase: sdpa but on a CPU, where that is slow in bf16 and
    where `compile` builds what is quicker in fp32 too."""
    experts: Literal["primase", "eager", "grouped_mm", "batched_mm"] = "primase"
    """How the products of a mixture of experts are computed; the result is the same. primase: grouped_mm but on a CPU,
    where products of few shapes are quicker."""

    @model_validator(mode="after")
    def _one_source(self) -> "ModelSettings":
        if (self.preset is None) == (self.config is None):
            raise ValueError("give model.preset or model.config, one of them")
        return self


class TrainingSettings(Settings):
    """The optimization."""

    epochs: Annotated[float, Field(gt=0)] | Literal["auto"] | None = None
    """Passes over the training windows at most; auto: as `most_epochs` says."""
    steps: int | None = Field(None, ge=1)
    """Optimizer steps at most; wins over epochs."""
    minutes: float | None = Field(None, gt=0)
    """Wall time at most: the number of steps is set from the speed measured on this machine, and written down; a run
    that turns out slower is given fewer."""
    rows_per_batch: int = Field(32, ge=1)
    """Rows of one forward pass; several processes share those of a step, which do not depend on their number."""
    accumulation_steps: int = Field(1, ge=1)
    """Forward passes that make up one optimizer step."""
    row_tokens: int | None = Field(None, ge=4)
    """Longest row, special tokens included; a longer window is cut into rows. The model's positions where not set."""
    strands: Literal["forward", "random"] = "forward"
    """random: each window of each epoch, and so all its rows, is read from a strand drawn by the seed."""
    shift_rows: bool = False
    """Rows cut from a longer window begin at another base every epoch (all frames of a k-mer are seen)."""
    optimizer: Literal["adamw", "muon"] = "adamw"
    """muon: torch.optim.Muon for the matrices inside the layers, AdamW for the rest."""
    learning_rate: float = Field(5e-4, gt=0)
    muon_learning_rate: float = Field(0.02, gt=0)
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    """How the learning rate goes from its peak to zero after the warm-up."""
    warmup_fraction: float = Field(0.0, ge=0, lt=1)
    """Share of the steps over which the learning rate rises from zero."""
    weight_decay: float = Field(0.01, ge=0)
    beta2: float = Field(0.999, gt=0, lt=1)
    max_gradient_norm: float = Field(1.0, ge=0)
    precision: Literal["auto", "bf16", "fp16", "fp32"] = "auto"
    """auto: bf16 autocast where the hardware has it, fp32 elsewhere. Weights are kept in fp32."""
    compile: Literal["auto", "yes", "no"] = "auto"
    """The layers through torch.compile: a minute at the start for a quicker step. auto: where that pays, in a run of
    more than some minutes on a CPU of x86 (AVX2) with a C++ compiler."""
    sharding: Literal["none", "fsdp2"] = "none"
    """In several processes. none: each has the whole model (DDP); fsdp2: each has a shard of weights and optimizer."""
    evaluate_every: Steps | Literal["epoch", "never"] = "epoch"
    """Steps between measurements on the validation part, or each epoch."""
    save_every: Steps | Literal["epoch", "evaluation"] = "evaluation"
    """Steps between checkpoints, or each epoch, or after each measurement (each epoch where nothing is measured)."""
    log_every: int = Field(10, ge=1)
    """Steps between lines of metrics.jsonl."""
    patience: int | None = Field(None, ge=1)
    """Stop after this many measurements without a better one."""
    keep_best: bool = True
    """`final/` holds the checkpoint that was best on the validation part, not the last."""
    keep_checkpoints: int = Field(2, ge=1)
    """Checkpoints kept on disk besides the best."""
    validation_bases: int | None = Field(None, ge=1)
    """Measure on a fixed draw of about so many bases of the validation part; all of it where not set."""
    report_to: tuple[Literal["tensorboard", "wandb", "trackio"], ...] = ()
    """Trackers of transformers: tensorboard, wandb, trackio. None is installed by default."""

    def most_epochs(self, train_bases: int) -> float | None:
        """`epochs` for a training part of so many bases; where they are auto, what was best for a small model.

        A part of up to 150,000 bases was learnt by heart in 24 passes; one of 600,000 to 750,000 was not
        (docs/experiments.md).
        """
        if self.epochs != "auto":
            return self.epochs
        return EPOCHS_OF_A_SMALL_GENOME if train_bases < SMALL_GENOME_BASES else EPOCHS

    @model_validator(mode="after")
    def _has_an_end(self) -> "TrainingSettings":
        if self.epochs is None and self.steps is None and self.minutes is None:
            raise ValueError("the training has no end: set training.epochs, training.steps or training.minutes")
        return self

    @model_validator(mode="after")
    def _can_be_sharded(self) -> "TrainingSettings":
        if self.sharding == "fsdp2" and self.optimizer == "muon":
            raise ValueError("sharding fsdp2 cuts the matrices that muon needs whole; set training.optimizer=adamw")
        if self.sharding == "fsdp2" and self.precision == "fp16":
            raise ValueError("sharding fsdp2 has no scaling of fp16 gradients; set training.precision=bf16")
        return self


class EvaluationSettings(Settings):
    """The measurement on the held-out part."""

    markov_max_order: int = Field(16, ge=0, le=16)
    """Highest order of the Markov rivals."""
    max_bases: int | None = Field(None, ge=1)
    """Measure on a fixed draw of about so many held-out bases; all of them where not set."""
    stride_fraction: float = Field(0.5, gt=0, le=1)
    """Windows longer than the model's context are scored with a sliding context that advances by this share of it."""
    ensembles: bool = True
    """Measure the mean over the reading frames too, and the model together with the copy mixture: k more passes."""
    bootstrap_samples: int = Field(1000, ge=10)
    untrained_bases: int = Field(50_000, ge=1)
    """Bases on which the untrained twin is scored: its figure is near log2(vocabulary) / bases a token everywhere."""


class Recipe(Settings):
    """All settings of a run."""

    name: str
    seed: int = Field(0, ge=0, lt=2**31)
    data: DataSettings = DataSettings()
    split: SplitSettings = SplitSettings()
    tokenizer: TokenizerSettings = TokenizerSettings()
    model: ModelSettings
    training: TrainingSettings
    evaluation: EvaluationSettings = EvaluationSettings()

    @classmethod
    def load(cls, name_or_file: str | Path, overrides: Iterable[str] | Mapping[str, Any] = ()) -> "Recipe":
        """Read a shipped recipe by name, or a TOML file, and change single values.

        `overrides` are `section.key=value` texts (values in TOML; a bare word is a text) or a mapping of dotted keys.
        Raises RecipeError: no such recipe, not TOML, unknown key, value out of range.
        """
        source, text = _recipe_text(name_or_file)
        try:
            values = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise RecipeError(f"{source}: not a TOML file ({error}); see a shipped recipe for the form") from error
        pairs = overrides.items() if isinstance(overrides, Mapping) else map(_parse_override, overrides)
        for dotted_key, value in pairs:
            _set_dotted(values, dotted_key, value)
        return cls._validated(values, source)

    @classmethod
    def _validated(cls, values: Mapping[str, Any], source: str) -> "Recipe":
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise RecipeError(f"{source}: {first_problem(error, cls)}") from error

    def replace(self, overrides: Mapping[str, Any]) -> "Recipe":
        """A copy with dotted keys changed, validated again; None unsets an optional key."""
        values = self.model_dump(mode="json")
        for dotted_key, value in overrides.items():
            _set_dotted(values, dotted_key, value)
        return self._validated(values, f"recipe {self.name}")

    def resolved_like(self, other: "Recipe") -> "Recipe":
        """A copy with what a run has set for itself: steps for minutes or epochs, and what it took in place of auto."""
        mine, theirs = self.training, other.training
        changes: dict[str, Any] = {}
        if mine.steps is None or mine.minutes is not None:
            changes["training.steps"] = theirs.steps
        changes["training.minutes"] = theirs.minutes
        if mine.precision == "auto":
            changes["training.precision"] = theirs.precision
        if mine.compile == "auto":
            changes["training.compile"] = theirs.compile
        if self.model.preset == "auto" and other.model.preset is not None:
            changes["model.preset"] = other.model.preset
        return self.replace(changes)

    def to_toml(self) -> str:
        """The whole recipe, defaults written out; optional settings that are not set are left out."""
        return tomli_w.dumps(self.model_dump(mode="json", exclude_none=True))

    def digest(self, *sections: str) -> str:
        """Short hash of the settings (of the named sections), by which corpora and checkpoints know their recipe."""
        values = self.model_dump(mode="json", include=set(sections) or None)
        if "split" in values:  # settings without effect are left out: corpora and runs of before them stay valid
            if self.split.strategy != "homology":
                del values["split"]["homology_share"]
            if not self.split.heldout_regions:
                del values["split"]["heldout_regions"]
        if "training" in values and self.training.sharding == "none":
            del values["training"]["sharding"]
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]

    def differences(self, other: "Recipe") -> list[str]:
        """Lines `section.key: mine, not theirs` for every setting in which two recipes differ."""
        mine, theirs = (flattened(recipe.model_dump(mode="json")) for recipe in (self, other))
        return [
            f"{key}: {mine.get(key)!r}, not {theirs.get(key)!r}"
            for key in sorted(mine.keys() | theirs.keys())
            if mine.get(key) != theirs.get(key)
        ]


def shipped_recipes() -> list[str]:
    """Names of the recipes that come with the package."""
    folder = resources.files("primase") / "recipes"
    return sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml"))


def _recipe_text(name_or_file: str | Path) -> tuple[str, str]:
    name = str(name_or_file)
    if name in shipped_recipes():
        return f"recipe {name}", (resources.files("primase") / "recipes" / f"{name}.toml").read_text("utf-8")
    try:
        return name, Path(name).read_text("utf-8")
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise RecipeError(
            f"{name}: no readable recipe file, and no shipped recipe ({', '.join(shipped_recipes())})"
        ) from error


def _parse_override(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise RecipeError(f"--set {text}: write section.key=value, for example --set training.epochs=3")
    try:
        return key.strip(), tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return key.strip(), value.strip()


def _set_dotted(values: dict[str, Any], dotted_key: str, value: Any) -> None:
    *parents, last = dotted_key.split(".")
    for parent in parents:
        values = values.setdefault(parent, {})
        if not isinstance(values, dict):
            raise RecipeError(f"{dotted_key}: {parent} is a value, not a section")
    values[last] = value
    if dotted_key in ("model.preset", "model.config"):  # two ways to name the model: the one that is set is meant
        values.pop("config" if last == "preset" else "preset", None)
