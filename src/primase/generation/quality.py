"""The quality table: generated sequences beside held-out DNA and a Markov sample of the same number and lengths."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from primase.corpus.kmer_spectrum import both_strands, kmer_counts
from primase.errors import MissingFileError
from primase.formats import read_records, sequence_files
from primase.generation.copies import longest_copies
from primase.generation.results import SampleQuality
from primase.generation.yardsticks import (
    MARKOV_ORDER,
    SPECTRUM_BASES,
    divergence_bits,
    markov_sample,
    real_pieces,
)
from primase.run_folder import RunFolder
from primase.scoring import LoadedModel, score_windows

Stretches = Callable[[], Iterable[np.ndarray]]


@dataclass(frozen=True)
class Genome:
    """What the model was trained on, as far as it is known; stretches are uint8 ASCII [bases]."""

    name: str
    training: Stretches
    heldout: Stretches | None
    heldout_name: str = ""


def training_genome(model: str | Path | LoadedModel, compare_with: Sequence[str | Path]) -> Genome | None:
    """The user's files, or else the corpus of a run; None where there is neither. Raises InputError as the readers."""
    if compare_with:
        sequence_files(compare_with)
        name = ", ".join(map(str, compare_with))
        return Genome(name, lambda: (_letters(record.sequence) for record in read_records(compare_with)), None)
    if isinstance(model, LoadedModel) or not RunFolder(Path(model)).recipe_file.is_file():
        return None
    try:
        corpus = RunFolder(Path(model)).corpus()
    except MissingFileError:  # a run works without its corpus
        return None

    def part(name: str) -> Stretches:
        return lambda: corpus.iterate_stretches(corpus.part(name))

    training = f"{model}, training part"
    for name, title in (("heldout", "held-out DNA"), ("validation", "validation DNA")):
        if len(corpus.part(name)):
            return Genome(training, part("train"), part(name), title)
    return Genome(training, part("train"), None)


def _letters(sequence: str) -> np.ndarray:
    return np.frombuffer(sequence.encode("ascii"), np.uint8)


@dataclass(frozen=True)
class Measured:
    """Figures of single sequences."""

    gc_share: np.ndarray
    bits: np.ndarray
    """float64 [sequences]: of the drawn bases, given those before."""
    copies: np.ndarray | None
    """int64 [sequences]."""


def quality_table(
    loaded: LoadedModel,
    sequences: Sequence[bytes],
    drawn: Sequence[tuple[int, int]],
    genome: Genome | None,
    seed: int,
    progress: Callable[[str, float], None],
) -> tuple[list[SampleQuality], Measured]:
    """The generated sequences first, then the yardsticks; and the figures of each generated sequence.

    Spectrum, GC content and copies are of the drawn bases (`drawn`: their half-open places); bits per base too, given
    the bases before them.
    """
    spectrum = genome and both_strands(kmer_counts(genome.training(), SPECTRUM_BASES))
    lengths = [end - start for start, end in drawn]
    samples = [("generated", "generated", list(sequences), list(drawn))]
    if genome is not None:
        stream = np.random.default_rng([seed, 1])  # apart from the streams of sequences, whose keys are three numbers
        pieces = real_pieces(genome.heldout(), lengths, stream) if genome.heldout else None
        if pieces:
            samples.append(("held-out", genome.heldout_name, pieces, [(0, length) for length in lengths]))
        order = both_strands(kmer_counts(genome.training(), MARKOV_ORDER + 1))
        pieces = markov_sample(order, lengths, stream)
        samples.append(("markov", f"Markov, order {MARKOV_ORDER}", pieces, [(0, length) for length in lengths]))
    table = []
    for number, (kind, name, texts, places) in enumerate(samples):
        progress("measuring", number / len(samples))
        figures = _measure(loaded, texts, places, genome)
        parts = [text[start:end] for text, (start, end) in zip(texts, places, strict=True)]
        table.append(_summary(kind, name, parts, figures, spectrum))
        if kind == "generated":
            generated = figures
    progress("measuring", 1.0)
    return table, generated


def _measure(loaded: LoadedModel, texts: list[bytes], places: list[tuple[int, int]], genome: Genome | None) -> Measured:
    bits = []
    windows = (np.frombuffer(text, np.uint8) for text in texts)
    for (start, end), score in zip(places, score_windows(loaded, windows), strict=True):
        letters = loaded.encoder.letters_per_token[score.ids]
        some = letters > 0
        # A token that reaches across the border of what was drawn counts by its share of bases.
        of_base = (score.nats[some] / letters[some]).repeat(letters[some])
        bits.append(of_base[start:end].sum() / math.log(2))
    parts = [text[start:end] for text, (start, end) in zip(texts, places, strict=True)]
    copies = None if genome is None else longest_copies(parts, genome.training)
    gc = np.array([text.count(b"G") + text.count(b"C") for text in texts]) / np.array([len(text) for text in texts])
    return Measured(gc, np.array(bits), copies)


def _summary(kind: str, name: str, parts: list[bytes], figures: Measured, spectrum: np.ndarray | None) -> SampleQuality:
    bases = sum(map(len, parts))
    own = both_strands(kmer_counts(parts, SPECTRUM_BASES))
    known = spectrum is not None and own.sum() and spectrum.sum()
    return SampleQuality(
        kind=kind,
        name=name,
        sequences=len(parts),
        bases=bases,
        gc_share=sum(part.count(b"G") + part.count(b"C") for part in parts) / bases,
        bits_per_base=float(figures.bits.sum()) / bases,
        spectrum_divergence_bits=divergence_bits(own, spectrum) if known else None,
        longest_copy_bases=None if figures.copies is None else int(figures.copies.max()),
        median_copy_bases=None if figures.copies is None else float(np.median(figures.copies)),
    )
