"""The arms of `benchmarks.training_speed`: real trainers that wait for their turn before each optimizer step."""

import json
import sys
import tempfile
import time
from pathlib import Path

import torch
import transformers
from transformers import PreTrainedConfig

from primase import hardware
from primase.corpus.prepare import prepare
from primase.corpus.store import Corpus
from primase.models.build import build_model, configuration, silence_transformers
from primase.recipe import Recipe
from primase.tokenizers import load_tokenizer
from primase.training.arguments import training_arguments
from primase.training.trainer import PretrainingTrainer
from primase.training.training_setup import TrainingSetup

STEPS = 10_000
"""More than any benchmark asks for."""


def prepare_windows(windows: list[Path], folder: Path, tokenizer: str | None) -> tuple[Path, PreTrainedConfig]:
    """The corpus that all arms read, and the configuration of their model."""
    overrides = {
        "training.evaluate_every": "never",
        "training.save_every": "evaluation",
        "split.validation_fraction": 0.0,
    }
    if tokenizer:
        overrides["tokenizer.name"] = tokenizer
    else:
        overrides |= {"tokenizer.kind": "byte-pair", "tokenizer.name": None, "tokenizer.vocabulary_tokens": 4096}
    recipe = Recipe.load("tutorial", overrides)
    (folder / "recipe.toml").write_text(recipe.to_toml(), "utf-8")
    corpus = prepare(windows, folder / "corpus", recipe)
    return corpus.folder, configuration(recipe.model, load_tokenizer(str(corpus.folder / "tokenizer")))


def run_arm(arm: dict) -> None:
    """Train until killed, a step for each line on standard input, with a line of JSON before and after each."""
    silence_transformers()
    corpus = Corpus.open(arm["corpus"])
    recipe = Recipe.load(corpus.folder.parent / "recipe.toml")
    trainer = (_primase if arm.get("is_primase") else _stock)(arm, corpus, recipe)
    trainer.add_callback(_Gate(arm, trainer))
    trainer.train()


class _Gate(transformers.TrainerCallback):
    def __init__(self, arm: dict, trainer: transformers.Trainer) -> None:
        self.windows, self.device = arm["windows"], torch.device(arm["device"])
        self.tokens, self.ended = 0, None
        inner = trainer.data_collator

        def counting(rows: list) -> dict:
            batch = inner(rows)
            self.tokens += int((batch["labels"] != -100).sum())
            return batch

        trainer.data_collator = counting

    def on_step_begin(self, *_: object, **__: object) -> None:
        # The step's batches were collated since the last one ended; other arms wait until that is done.
        self.collating = 0.0 if self.ended is None else time.perf_counter() - self.ended
        print(json.dumps({"ready": True}), flush=True)
        sys.stdin.readline()
        self.begun = time.perf_counter()

    def on_pre_optimizer_step(self, *_: object, **__: object) -> None:
        hardware.wait(self.device)
        self.computed = time.perf_counter()

    def on_step_end(self, *_: object, **__: object) -> None:
        hardware.wait(self.device)
        line = {
            "windows": self.windows,
            "tokens": self.tokens,
            "batch_seconds": self.collating + self.computed - self.begun,
            "update_seconds": time.perf_counter() - self.computed,
            "peak_memory_mb": hardware.peak_memory_bytes(self.device) / 1e6,
        }
        self.tokens = 0
        print(json.dumps(line), flush=True)
        self.ended = time.perf_counter()


def _primase(arm: dict, corpus: Corpus, recipe: Recipe) -> PretrainingTrainer:
    changes = {"training.rows_per_batch": arm["rows"], "training.accumulation_steps": arm["windows"] // arm["rows"]}
    changes |= {
        "training.steps": STEPS,
        "training.epochs": None,
        "model.attention": arm.get("attention", "primase"),
        "model.experts": arm.get("experts", "primase"),
        "training.log_every": STEPS,
        "training.precision": arm["precision"],
    }
    setup = TrainingSetup.open(recipe.replace(changes), corpus).resolved(STEPS, is_compiled=arm["is_compiled"])
    return PretrainingTrainer(
        model=build_model(setup.recipe.model, setup.config, setup.recipe.seed),
        arguments=training_arguments(
            setup.recipe, Path(tempfile.mkdtemp()), steps=STEPS, precision=setup.precision, device=setup.device
        ),
        rows=setup.rows,
        collator=setup.collator,
        settings=setup.recipe.training,
        measure=lambda model: None,
        facts={},
        peak_flops=1.0,
        callbacks=[],
    )


def _stock(arm: dict, corpus: Corpus, recipe: Recipe) -> transformers.Trainer:
    """transformers alone, set up as the tutorial does; `pads_in_thousands`: tokenized and padded 1,000 at a time."""
    tokenizer = load_tokenizer(str(corpus.folder / "tokenizer"))
    changes = {"experts": arm["experts"], "attention": arm.get("attention", "sdpa")}
    settings = recipe.model.model_copy(update=changes)
    model = build_model(settings, configuration(settings, tokenizer), recipe.seed)
    if arm["precision"] == "bf16":
        model = model.to(torch.bfloat16)
    arguments = transformers.TrainingArguments(
        output_dir=tempfile.mkdtemp(),
        max_steps=STEPS,
        per_device_train_batch_size=arm["rows"],
        gradient_accumulation_steps=arm["windows"] // arm["rows"],
        learning_rate=recipe.training.learning_rate,
        weight_decay=recipe.training.weight_decay,
        bf16=arm["precision"] == "autocast",
        use_cpu=arm["device"] == "cpu",
        logging_steps=STEPS,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
    return transformers.Trainer(
        model=model,
        args=arguments,
        train_dataset=_tokenized(corpus, tokenizer, arm.get("pads_in_thousands", False)),
        data_collator=transformers.DataCollatorForLanguageModeling(tokenizer, mlm=False),
    )


def _tokenized(corpus: Corpus, tokenizer, pads_in_thousands: bool) -> list[dict]:
    windows = [window.tobytes().decode() for window in corpus.iterate(corpus.part("train"))]
    rows = []
    for first in range(0, len(windows), 1000):
        encoded = tokenizer(windows[first : first + 1000], padding="longest" if pads_in_thousands else False)
        keys = ("input_ids", "attention_mask")
        rows += [dict(zip(keys, values, strict=True)) for values in zip(*(encoded[key] for key in keys), strict=True)]
    return rows
