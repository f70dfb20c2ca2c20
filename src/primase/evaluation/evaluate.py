"""`primase evaluate`: bases through the model and through its rivals, and the verdict."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from primase.corpus.leakage import write_certificate
from primase.corpus.store import Corpus, draw_runs
from primase.errors import InputError
from primase.evaluation.bits_per_base import BlockBootstrap
from primase.evaluation.copy_mixture import CopyMixture
from primase.evaluation.ensembles import LEARNING_BASES, as_ensemble, can_be_member, price_ensembles
from primase.evaluation.leaked import leaked_loss
from primase.evaluation.loci import choose_loci
from primase.evaluation.model_bits import ModelBits, model_bits
from primase.evaluation.overlap import share_in_training
from primase.evaluation.rivals import (
    Counted,
    MarkovRivals,
    Priced,
    TrainingBases,
    as_rival,
    copy_rival,
    markov_rivals,
    read_copy_mixture,
    source_rival,
    untrained_bits_per_base,
)
from primase.evaluation.routing import measure_routing
from primase.evaluation.sample import Sample, Tally
from primase.evaluation.verdict import verdict
from primase.formats.annotations import Annotations, read_annotations
from primase.recipe import EvaluationSettings, ModelSettings
from primase.report.card import write_card
from primase.report.page import write_report
from primase.results import Evaluation, Locus
from primase.run_folder import RunFolder
from primase.scoring import LoadedModel, Precision, load_model

Progress = Callable[[str, float], None]
Source = Callable[[list[np.ndarray]], list[np.ndarray]]
"""Bits of each base of stretches under the source that they were drawn from; known for a simulated genome only."""


def evaluate(
    model: str | Path,
    *,
    sequences: str | Path | Sequence[str | Path] = (),
    count_on: str | Path | Sequence[str | Path] = (),
    annotations: str | Path | None = None,
    source: Source | None = None,
    max_bases: int | None = None,
    stride_fraction: float | None = None,
    context_tokens: int | None = None,
    ensembles: bool | None = None,
    precision: Precision = "fp32",
    column: str | None = None,
    progress: Progress = lambda what, share: None,
) -> Evaluation:
    """Measure a model on bases that it has not seen, beside its rivals.

    `model`: a run, whose held-out part is measured, with the result in its evaluation.json and its report; or any
    causal model folder or Hub name, for which `sequences` (FASTA files or tables) must be given. With `sequences`
    nothing is written. `count_on`: what the counting rivals count on, where it is not a run's training part.
    `annotations`: GFF3, GTF or BED of the measured records. `source`: the simulated source of the genome.
    `stride_fraction`: a context that is full slides by this share of itself. `context_tokens`: a shorter context than
    the model was made for, where that one takes too much memory or time. `ensembles`: whether the model is measured in
    company too (see `primase.evaluation.ensembles`); as the recipe says where not given. `precision`: of the model's
    forward passes, as `load_model` takes it.

    Raises MissingFileError where there is no run or no final model, InputError where nothing was held out or a file
    cannot be used, ModelError where the model's tokenizer cannot spell the bases.
    """
    sequences, count_on = ([files] if isinstance(files, str | Path) else list(files) for files in (sequences, count_on))
    if sequences and max_bases is not None:
        raise InputError("--max-bases draws from a held-out part, and --sequences are measured whole; leave one out")
    run = RunFolder(Path(model))
    is_run = run.recipe_file.is_file()
    if not is_run and not sequences:
        raise InputError(
            f"{model}: no run here (recipe.toml is missing); give a folder that primase pretrain wrote, or say what to "
            "measure with --sequences"
        )
    corpus = run.corpus() if is_run and not (sequences and count_on) else None
    damage = corpus.damage() if corpus is not None else None
    if damage:
        raise InputError(f"{damage}: the corpus is damaged; restore it, or prepare and pretrain again")
    if not sequences:
        run.refuse_newer_files()
        _refuse_without_heldout_part(run, corpus)
    marks = read_annotations(annotations) if annotations else None
    changes = {"stride_fraction": stride_fraction, "ensembles": ensembles}
    method = Method.of_run(run, changes) if is_run else Method.of_model(changes)
    loaded = load_model(model, precision=precision)
    if context_tokens is not None:
        loaded = loaded.with_context(context_tokens)
    if sequences:
        subject = Subject.of_files(sequences, column, marks)
    else:
        if corpus.leakage() is None:  # prepared by an older Primase
            write_certificate(corpus, method.seed, progress)
        subject = Subject.held_out(corpus, max_bases or method.settings.max_bases, method.seed, marks)
    training = _training(corpus, count_on, column)
    result = measure(
        loaded,
        method,
        subject,
        training,
        name=Path(model).name or Path(model).resolve().name,
        source=source,
        progress=progress,
    )
    if is_run and not sequences:
        result.write(run.evaluation_file)
        write_report(run.folder)
        write_card(run.folder)
    return result


def _refuse_without_heldout_part(run: RunFolder, corpus: Corpus) -> None:
    windows = corpus.description["windows"]
    if not windows["heldout"] and not windows["validation"]:
        raise InputError(
            f"{run.folder}: trained on the whole genome, so no base is left to measure on; pretrain with "
            "split.heldout_fraction above 0, or give other sequences with --sequences"
        )


@dataclass(frozen=True)
class Method:
    """How to measure, and how to build the untrained twin."""

    settings: EvaluationSettings
    model: ModelSettings
    seed: int

    @classmethod
    def of_run(cls, run: RunFolder, changes: dict[str, Any]) -> "Method":
        """As the run's recipe says, with `changes` to its settings; None is no change."""
        recipe = run.recipe()
        return cls(_changed(recipe.evaluation, changes), recipe.model, recipe.seed)

    @classmethod
    def of_model(cls, changes: dict[str, Any]) -> "Method":
        """For a model without a recipe."""
        # The twin is built from the loaded model's configuration: of the model settings, only the kernels matter.
        return cls(_changed(EvaluationSettings(), changes), ModelSettings(config="-", experts="eager"), 0)


def _changed(settings: EvaluationSettings, changes: dict[str, Any]) -> EvaluationSettings:
    return settings.model_copy(update={name: value for name, value in changes.items() if value is not None})


@dataclass(frozen=True)
class Subject:
    """What is measured, and what it is called."""

    sample: Sample
    part: str
    split_strategy: str
    corpus: Corpus | None

    @classmethod
    def held_out(cls, corpus: Corpus, max_bases: int | None, seed: int, marks: Annotations | None) -> "Subject":
        part = "heldout" if len(corpus.part("heldout")) else "validation"
        sample = Sample.of_corpus(corpus, draw_runs(corpus, part, max_bases, seed), marks)
        return cls(sample, part, corpus.description["split"]["strategy"], corpus)

    @classmethod
    def of_files(cls, files: Sequence[str | Path], column: str | None, marks: Annotations | None) -> "Subject":
        return cls(Sample.of_files(files, column, marks), ", ".join(Path(file).name for file in files), "given", None)


def _training(corpus: Corpus | None, count_on: Sequence[str | Path], column: str | None) -> TrainingBases | None:
    """What counting rivals learn from: the files named for it, else the run's training part, if there is a run."""
    if count_on:
        stretches = Sample.of_files(count_on, column, None).stretches
        return TrainingBases(lambda: stretches, sum(map(len, stretches)))
    if corpus is None:
        return None
    return TrainingBases(lambda: corpus.iterate_stretches(corpus.part("train")), corpus.part_bases("train"))


def measure(
    loaded: LoadedModel,
    method: Method,
    subject: Subject,
    training: TrainingBases | None,
    *,
    name: str,
    source: Source | None = None,
    progress: Progress = lambda what, share: None,
) -> Evaluation:
    """The measurement itself; every predictor prices the same stretches, each from its start.

    Raises InputError where the subject holds no base, ModelError where the tokenizer cannot spell one.
    """
    sample, settings = subject.sample, method.settings
    bases = sample.base_counts()
    if not bases.total:
        raise InputError(f"the {subject.part} part holds no A, C, G or T, so there is nothing to measure on")
    bootstrap = BlockBootstrap(sample.lengths, settings.bootstrap_samples, method.seed)
    estimate = bootstrap.estimate
    scored = model_bits(loaded, sample, settings.stride_fraction, progress)
    counting = _count(sample, training, source, settings, progress)
    progress("scoring the untrained twin", 0.0)
    untrained = untrained_bits_per_base(loaded, method.model, method.seed, sample, settings.untrained_bases)
    together = _together(loaded, subject, counting, settings, method.seed, progress)
    forward, markov = scored.forward, counting.markov
    others = [Priced("model", "the model alone", forward), *counting.of_training()]
    ensembles = [as_ensemble(one, others, bases, bootstrap, sample.class_names) for one in together]
    by_order = markov.by_order if markov else None
    rivals = [
        as_rival(Priced("uniform", "uniform", _constant(2.0, bases)), forward, bases, bootstrap),
        *(as_rival(rival, forward, bases, bootstrap, sample.class_names) for rival in counting.all()),
        as_rival(Priced("untrained", "untrained twin", _constant(untrained, bases)), forward, bases, bootstrap),
    ]
    headline = estimate(forward.cells, bases.cells)
    progress("measuring the experts", 0.0)
    return Evaluation(
        model=name,
        part=subject.part,
        split_strategy=subject.split_strategy,
        stretches=len(sample.stretches),
        windows=sample.cells,
        tokens=scored.tokens,
        unknown_tokens=scored.unknown_tokens,
        precision=loaded.precision,
        context_tokens=loaded.context_tokens,
        stride_fraction=settings.stride_fraction,
        bootstrap_blocks=bootstrap.blocks,
        nats_per_token=float(forward.total * np.log(2) / max(scored.tokens, 1)),
        forward=headline,
        reverse_complement=estimate(scored.backward.cells, bases.cells),
        both_strands_mean=estimate((forward.cells + scored.backward.cells) / 2, bases.cells),
        classes={
            class_name: figure
            for column, class_name in enumerate(sample.class_names)
            if (figure := estimate(forward.classes[:, column], bases.classes[:, column]))
        },
        rivals=rivals,
        ensembles=ensembles,
        markov_bits_per_base=None if by_order is None else by_order.tolist(),
        best_markov_order=markov.best_order if markov else None,
        true_entropy_bits_per_base=next((rival.bits_per_base for rival in rivals if rival.kind == "source"), None),
        leaked=leaked_loss(subject.corpus, sample, forward, bases, markov.best.tally if markov else None, estimate),
        share_in_training=share_in_training(sample, training) if training and sample.windows is None else None,
        calibration=scored.calibration.bins(),
        calibration_error=scored.calibration.error() if scored.calibration.bins() else 0.0,
        routing=measure_routing(loaded, sample.stretches, sample.finest_labels(), sample.class_names),
        loci=_loci(sample, scored, counting, bases),
        verdict=verdict(headline, rivals, by_order, bootstrap.blocks, ensembles),
    )


@dataclass(frozen=True)
class Counting:
    """The rivals that price base by base."""

    markov: MarkovRivals | None
    """None where there was nothing to count on."""
    copying: Counted
    mixture: CopyMixture
    """The copy mixture that has read the training bases and not the sample."""
    source: Counted | None

    def all(self) -> list[Counted]:
        """Those that there are, in the order of the table."""
        return [rival for rival in (self.markov and self.markov.best, self.copying, self.source) if rival]

    def of_training(self) -> list[Counted]:
        """Those that have read the training bases."""
        return [rival for rival in self.all() if rival is not self.source]


def _count(
    sample: Sample,
    training: TrainingBases | None,
    source: Source | None,
    settings: EvaluationSettings,
    progress: Progress,
) -> Counting:
    markov = None
    if training is not None:
        progress("counting for the Markov models", 0.0)
        markov = markov_rivals(sample, training, settings.markov_max_order)
    mixture = read_copy_mixture(sample, training, lambda share: progress("reading for the copy mixture", share))
    copying = copy_rival(sample, mixture)
    return Counting(markov, copying, mixture, source_rival(sample, source) if source else None)


def _together(
    loaded: LoadedModel,
    subject: Subject,
    counting: Counting,
    settings: EvaluationSettings,
    seed: int,
    progress: Progress,
) -> list[Priced]:
    if not settings.ensembles or not can_be_member(loaded):
        return []
    validation: list[np.ndarray] = []
    if subject.corpus is not None and subject.part == "heldout" and len(subject.corpus.part("validation")):
        drawn = draw_runs(subject.corpus, "validation", LEARNING_BASES, seed)
        validation = list(subject.corpus.iterate_stretches(drawn))
    return price_ensembles(
        loaded,
        subject.sample,
        counting.mixture,
        validation,
        settings.stride_fraction,
        lambda share: progress("scoring together with the copy mixture", share),
    )


def _constant(bits_per_base: float, bases: Tally) -> Tally:
    return Tally(bits_per_base * bases.cells, bits_per_base * bases.classes)


def _loci(sample: Sample, scored: ModelBits, counting: Counting, bases: Tally) -> list[Locus]:
    """Chosen by the advantage over the best Markov model, or over the copy mixture where nothing was counted."""
    markov = counting.markov and counting.markov.best
    difference = (markov or counting.copying).tally.cells - scored.forward.cells
    advantage = np.divide(difference, bases.cells, out=np.zeros(sample.cells), where=bases.cells > 0)
    return choose_loci(sample, advantage, scored.base_bits, markov and markov.base_bits, counting.copying.base_bits)
