"""Fine-tuning (`primase finetune`): a pretrained model becomes a classifier, measured beside its rivals. The order."""

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from primase.finetuning import card, classifier, cnn_rival, kmer_rival, model_training
from primase.finetuning.examples import MEASURED, Examples, gather
from primase.finetuning.fit import Fitting
from primase.finetuning.folder import FinetuningFolder
from primase.finetuning.prediction_table import PredictionTable, true_labels
from primase.finetuning.results import Finetuning
from primase.finetuning.settings import FinetuningSettings
from primase.finetuning.verdict import Measured, compare, verdict
from primase.finetuning.windows import TokenRows, token_rows
from primase.scoring import LoadedModel
from primase.sequence_encoder import unknown_in_words

Progress = Callable[[str, float], None]


def finetune(
    model: str | Path,
    data: str | Path,
    output: str | Path,
    *,
    label: str | Sequence[str],
    overwrite: bool = False,
    on_note: Callable[[str], None] = lambda note: None,
    progress: Progress = lambda what, share: None,
    **options: Any,
) -> Finetuning:
    """Make a classifier (or a regression) of a pretrained model and say what it is worth.

    `model`: a run, a model folder, or a Hub name. `data`: a CSV, TSV or Parquet file, or a folder with train, dev and
    test files. `label`: the column, or columns, of the labels. `options`: the fields of `FinetuningSettings`. The
    folder `output` is whole or is not there (see `folder`); its `final/` loads with plain
    AutoModelForSequenceClassification. `on_note` is told what was decided without being asked, as it happens.

    Raises InputError for data that cannot be used, RecipeError for options, ModelError for the model,
    OutputExistsError, MissingExtraError for lora without peft, NonFiniteLossError.
    """
    begun = time.perf_counter()
    settings = FinetuningSettings.of(label=(label,) if isinstance(label, str) else tuple(label), **options)
    notes: list[str] = []

    def note(text: str) -> None:
        notes.append(text)
        on_note(text)

    examples = gather(data, settings, notes.append)
    body = classifier.load_body(model, examples.task, settings.seed)
    with FinetuningFolder.creating(output, overwrite=overwrite) as run:
        for text in notes:  # nothing is told of a fine-tuning that is refused
            on_note(text)
        run.settings_file.write_text(settings.to_toml(str(model), str(data)), "utf-8")
        rows = {name: token_rows(body, part.sequences) for name, part in examples.parts.items()}
        _note_rows(rows, body, note)
        work = _Work(examples, settings, rows, run, progress)
        best, seed, measured = work.model(body)
        classifier.save(best, run.final)
        _write_test_predictions(run, examples, measured.logits[settings.all_seeds.index(seed)])
        rivals = work.rivals(body) if settings.rivals else []
        predictors = compare(examples.task, examples.test.targets, [measured, *rivals])
        result = Finetuning(
            run=str(output),
            model=str(model),
            method=settings.method,
            task=examples.task.kind,
            labels=list(examples.task.labels),
            leading_metric=examples.task.leading_metric,
            parts=[part.facts(examples.task) for part in examples.parts.values()],
            duplicates=examples.duplicates,
            notes=notes,
            seeds=settings.all_seeds,
            chosen_seed=seed,
            predictors=predictors,
            verdict=verdict(examples.task, predictors, len(examples.test.records)),
            seconds=round(time.perf_counter() - begun, 3),
        )
        card.write(run, result)
        result.write(run.results_file)  # the last: it says that the folder is complete
    return result


class _Work:
    """The trainings, all on the same rows and by the same settings."""

    def __init__(
        self,
        examples: Examples,
        settings: FinetuningSettings,
        rows: dict[str, TokenRows],
        run: FinetuningFolder,
        progress: Progress,
    ) -> None:
        self.examples, self.settings, self.run, self.progress = examples, settings, run, progress
        self.rows = {name: part.rows for name, part in rows.items()}

    def model(self, body: LoadedModel) -> tuple[LoadedModel, int, Measured]:
        """The classifier that is best on the validation rows, its seed, and the logits of all."""
        return self._seeds("model", f"this model ({self.settings.method})", lambda seed: body)

    def rivals(self, body: LoadedModel) -> list[Measured]:
        """k-mers, the convolutional net, the untrained twin."""
        parts = [self.examples.parts[name].sequences for name in ("train", *MEASURED)]
        kmer = kmer_rival.train(*parts, self._fitting("kmer", "k-mer rival"))
        _, _, untrained = self._seeds("untrained", "untrained twin", lambda seed: classifier.fresh_twin(body, seed))
        nets = [
            cnn_rival.train(*parts, self._fitting("cnn", self._what("convolutional rival", seed)), seed)
            for seed in self.settings.all_seeds
        ]
        return [
            untrained,
            Measured("cnn", "convolutional net", [net.validation for net in nets], [net.logits for net in nets]),
            Measured("kmer", kmer.name, [kmer.validation], [kmer.logits]),
        ]

    def _seeds(self, kind: str, name: str, body_of: Callable[[int], LoadedModel]) -> tuple[LoadedModel, int, Measured]:
        best, chosen, metrics, logits = None, self.settings.seed, [], []
        for seed in self.settings.all_seeds:
            fitting = self._fitting(kind, self._what("training" if kind == "model" else name, seed))
            trained, metric = model_training.train(
                body_of(seed), self.rows["train"], self.rows["validation"], fitting, seed
            )
            if best is None or metric > max(metrics):
                best, chosen = trained, seed
            metrics.append(metric)
            logits.append(classifier.logits_of(trained, self.rows["test"]))
        return best, chosen, Measured(kind, name, metrics, logits)

    def _what(self, name: str, seed: int) -> str:
        return name if self.settings.seeds == 1 else f"{name} of seed {seed}"

    def _fitting(self, predictor: str, what: str) -> Fitting:
        def log(line: dict) -> None:
            with open(self.run.metrics_file, "a", encoding="utf-8") as file:
                file.write(json.dumps({"predictor": predictor} | line) + "\n")

        return Fitting(
            task=self.examples.task,
            settings=self.settings,
            train_targets=self.examples.train.targets,
            validation_targets=self.examples.validation.targets,
            log=log,
            progress=lambda share: self.progress(what, share),
        )


def _note_rows(rows: dict[str, TokenRows], body: LoadedModel, note: Callable[[str], None]) -> None:
    long = sum(part.long_sequences for part in rows.values())
    if long:
        plural, verb = ("s", "are") if long != 1 else ("", "is")
        note(
            f"{long:,} sequence{plural} {verb} longer than the context of {body.context_tokens:,} tokens: cut into "
            "windows side by side of about equal length, their logits averaged, in training and prediction"
        )
    unknown = sum(part.unknown_tokens for part in rows.values())
    if unknown:
        note(f"warning: {unknown_in_words(unknown)}: it cannot spell every letter")


def _write_test_predictions(run: FinetuningFolder, examples: Examples, logits: np.ndarray) -> None:
    test = examples.test
    with PredictionTable.open(run.predictions_file, examples.task, truth=True) as table:
        truth = true_labels(examples.task, test.records, test.targets)
        table.write([record.name for record in test.records], logits, truth=truth)
