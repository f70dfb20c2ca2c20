"""What the planning and the training of a run share: its corpus as rows, its model's configuration, its hardware."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from primase import dna, hardware, processes
from primase.corpus.rows import PaddingCollator, TrainingRows
from primase.corpus.store import Corpus, draw_windows
from primase.errors import ModelError, RecipeError
from primase.models.build import build_model, configuration
from primase.models.counted_start import begin_with_pairs, count_pairs
from primase.recipe import Recipe
from primase.scoring import LoadedModel, score_windows
from primase.sequence_encoder import SequenceEncoder
from primase.tokenizers import load_tokenizer
from primase.version import __version__

CORPUS_SECTIONS = ("seed", "data", "split", "tokenizer")
"""What of a recipe a corpus depends on."""

BASES_MEASURED_AT_ONCE = 50_000
"""A signal to stop waits for the measurement of so many bases: some seconds."""


@dataclass(frozen=True)
class TrainingSetup:
    """Everything that planning and training share."""

    recipe: Recipe
    corpus: Corpus
    tokenizer: PreTrainedTokenizerBase
    config: PreTrainedConfig
    rows: TrainingRows
    collator: PaddingCollator
    device: torch.device
    precision: str

    @classmethod
    def open(cls, recipe: Recipe, corpus: Corpus) -> "TrainingSetup":
        """Raises RecipeError or ModelError where the recipe cannot be carried out on this corpus or this machine."""
        device = hardware.best_device()
        hardware.keep_freed_memory(device)
        precision = hardware.resolve_precision(recipe.training.precision, device)
        tokenizer = load_tokenizer(str(corpus.folder / "tokenizer"))
        if tokenizer.pad_token_id is None:
            raise ModelError(
                f"{corpus.folder / 'tokenizer'}: the tokenizer has no padding token, which rows of unlike length need; "
                "add a pad_token to it"
            )
        config = configuration(recipe.model, tokenizer)
        positions = getattr(config, "max_position_embeddings", 1024)
        row_tokens = recipe.training.row_tokens or positions
        if row_tokens > positions:
            raise RecipeError(f"training.row_tokens is {row_tokens}, but the model has {positions} positions; lower it")
        if recipe.training.evaluate_every != "never" and not len(corpus.part("validation")):
            raise RecipeError(
                f"training.evaluate_every is {recipe.training.evaluate_every}, but there is no validation part; set "
                "split.validation_fraction above 0, or training.evaluate_every=never"
            )
        rows = TrainingRows(corpus, "train", SequenceEncoder(tokenizer), recipe.training, row_tokens, recipe.seed)
        collator = PaddingCollator(tokenizer.pad_token_id, tokenizer.padding_side)
        return cls(recipe, corpus, tokenizer, config, rows, collator, device, precision)

    def resolved(self, steps: int, *, is_compiled: bool) -> "TrainingSetup":
        """The same with a recipe that can be repeated exactly, on another machine and by another clock too.

        But for a run that has to be shortened later (`primase.training.time_limit`).
        """
        changes = {"training.steps": steps, "training.minutes": None, "training.precision": self.precision}
        changes["training.compile"] = "yes" if is_compiled else "no"
        return replace(self, recipe=self.recipe.replace(changes))

    def fresh_model(self) -> PreTrainedModel:
        """As the recipe has it begin: with weights drawn by its seed, or set to what counting pairs of tokens says."""
        model = build_model(self.recipe.model, self.config, self.recipe.seed)
        if self.recipe.model.start == "pairs":
            strands = (False, True) if self.recipe.training.strands == "random" else (False,)
            rows = [self.rows.of_strand(is_reversed=is_reversed) for is_reversed in strands]
            begin_with_pairs(model, sum(count_pairs(some, self.config.vocab_size) for some in rows))
        return model

    @property
    def facts(self) -> dict[str, Any]:
        """What a checkpoint must have in common with the run that goes on from it; `recipe` is for the message."""
        return {
            "primase_version": __version__,
            "recipe": self.recipe.model_dump(mode="json"),
            "recipe_digest": self.recipe.digest(),
            "corpus_digest": self.corpus.digest,
            "tokenizer_digest": self.corpus.description["tokenizer_sha256"][:16],
        }

    def measure_validation(
        self, model: PreTrainedModel, is_stopped: Callable[[], bool] = lambda: False
    ) -> dict[str, float] | None:
        """Bits per base and nats per token of the validation part, forward strand; None where it was stopped.

        The model runs in the number format that it is trained in; the processes share the windows.
        """
        loaded = LoadedModel(model, self.tokenizer, self.rows.encoder, self.rows.row_tokens)
        indices = draw_windows(self.corpus, "validation", self.recipe.training.validation_bases, self.recipe.seed)
        nats, tokens, bases, given_up = 0.0, 0, 0, False
        portions = list(_portions(indices, self.corpus.windows["length"]))
        # Each layer of a sharded model is put together by all processes, so all must read the same.
        is_sharded = self.recipe.training.sharding != "none"
        for some in portions if is_sharded else portions[processes.rank() :: processes.count()]:
            given_up = bool(processes.largest(is_stopped()) if is_sharded else is_stopped())
            if given_up:
                break
            windows = list(self.corpus.iterate(some))
            for score in score_windows(loaded, windows, stride_fraction=self.recipe.evaluation.stride_fraction):
                nats += score.nats.sum()
                tokens += len(score.nats)
            bases += sum(int(dna.is_acgt(window).sum()) for window in windows)
        if not is_sharded:
            nats, tokens, bases, given_up = processes.total(nats, tokens, bases, given_up)
        if given_up:
            return None
        return {
            "bits_per_base": float(nats / math.log(2) / max(bases, 1)),
            "loss_nats_per_token": float(nats / max(tokens, 1)),
        }


def _portions(indices: np.ndarray, lengths: np.ndarray) -> Iterator[np.ndarray]:
    """Windows in order, in portions of about BASES_MEASURED_AT_ONCE."""
    portion = np.cumsum(lengths[indices], dtype=np.int64) // BASES_MEASURED_AT_ONCE
    yield from np.split(indices, np.flatnonzero(np.diff(portion)) + 1)
