"""Variants a second: shared passes against a forward pass for each sequence, in alternating pairs; prints JSON.

    python -m benchmarks.variants_speed [--model RUN] [--token-scores] [--variants N] [--per-kilobase N] [--pairs N]

The rival scores each variant as is usually done: reference and alternative, each strand, and each reading frame of a
k-mer model, is a row of its own in a forward pass of its own, cut where the score ends, with the same context. It gives
the same scores; how closely is in the output. With --whole-windows it reads each window to its end, as programs do that
score windows of one length, and adds up as many bases as before. With --token-scores both add up whole tokens of one
reading: the rival makes four forward passes a variant. Times are of the processor on one thread, so that what else runs
on the machine counts little.
"""

import argparse
import json
import statistics
import time
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from primase.base_predictions import predict_bases
from primase.formats import Genome
from primase.models.build import build_model, configuration
from primase.recipe import ModelSettings
from primase.scoring import LoadedModel, load_model, score_windows
from primase.sequence_encoder import SequenceEncoder
from primase.tokenizers import kmer_tokenizer
from primase.variants.changes import Change
from primase.variants.edits import cumulative_nats, edited, ends
from primase.variants.layout import layout_for
from primase.variants.strands import StrandScorer

ACGT = np.frombuffer(b"ACGT", np.uint8)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", help="a run or a model folder; by default preset qwen3-small with fresh weights")
    parser.add_argument(
        "--context-tokens", type=int, default=341, help="of the fresh model; 341 3-mers are 1,023 bases"
    )
    parser.add_argument("--token-scores", action="store_true", help="sums over whole tokens, by both")
    parser.add_argument("--whole-windows", action="store_true", help="read by the rival to their end; scores by base")
    parser.add_argument("--variants", type=int, default=400)
    parser.add_argument("--rival-variants", type=int, default=12, help="how many of them the rivals score")
    parser.add_argument("--per-kilobase", type=float, default=28.0, help="density; 28 is that of 1000 Genomes")
    parser.add_argument("--pairs", type=int, default=5)
    settings = parser.parse_args()
    if settings.token_scores and settings.whole_windows:
        parser.error("--whole-windows is for scores by base: with the window's end other tokens would be added up")
    torch.set_num_threads(1)
    loaded = load_model(settings.model) if settings.model else fresh_model(settings.context_tokens)
    with TemporaryDirectory() as folder:
        file = Path(folder, "genome.fa")
        bases = int(settings.variants / settings.per_kilobase * 1000) + 4000
        file.write_bytes(b">chr1\n" + np.random.default_rng(0).choice(ACGT, bases).tobytes() + b"\n")
        with Genome(file) as genome:
            print(json.dumps(vars(settings) | measure(loaded, genome, settings), indent=1))


def fresh_model(context_tokens: int) -> LoadedModel:
    """Preset qwen3-small with fresh weights: 1.8 M parameters, 3-mers."""
    settings, tokenizer = ModelSettings(preset="qwen3-small"), kmer_tokenizer(3)
    model = build_model(settings, configuration(settings, tokenizer), seed=0).eval()
    return LoadedModel(model, tokenizer, SequenceEncoder(tokenizer), context_tokens)


def measure(loaded: LoadedModel, genome: Genome, settings: argparse.Namespace) -> dict[str, float]:
    layout = layout_for(loaded)
    draw = np.random.default_rng(1)
    length = genome.lengths["chr1"]
    places = np.sort(draw.choice(np.arange(2000, length - 2000), settings.variants, replace=False)).tolist()
    changes = []
    for place in places:
        ref = genome.bases("chr1", place, place + 1)[0]
        changes.append(Change("chr1", place, place + 1, bytes([draw.choice(ACGT[ref != ACGT])])))
    some = [int(number) for number in draw.choice(len(changes), settings.rival_variants, replace=False)]
    rates: dict[str, list[float]] = {"shared": [], "separate": []}
    scorer = StrandScorer(loaded, genome, layout, token_scores=settings.token_scores)
    rival = one_by_one_tokens if settings.token_scores else partial(one_by_one, is_whole=settings.whole_windows)
    for _ in range(settings.pairs):
        begun = time.process_time()
        ours = scorer.nats(changes)
        rates["shared"].append(len(changes) / (time.process_time() - begun))
        begun = time.process_time()
        theirs = np.array([rival(loaded, scorer, changes[number]) for number in some])
        rates["separate"].append(len(some) / (time.process_time() - begun))
    difference = float(np.abs(theirs - ours[some]).max())
    medians = {f"{name}_variants_per_second": round(statistics.median(values), 2) for name, values in rates.items()}
    ratio = statistics.median(a / b for a, b in zip(rates["shared"], rates["separate"], strict=True))
    return medians | {
        "times_separate": round(ratio, 2),
        "largest_difference_nats": difference,
        "before_bases": layout.before_bases,
        "cell_bases": layout.cell_bases,
        "after_bases": layout.after_bases,
        "shares_passes": scorer.shares_passes,
    }


def _pairs(scorer: StrandScorer, change: Change) -> list[list[tuple[np.ndarray, int]]]:
    """Of each strand the window and the changed window, each with where its sum ends."""
    pairs = []
    for window, _, _ in scorer.windows([change]):
        (edit,) = window.edits
        texts = window.bases, edited(window.bases, edit)
        pairs.append(list(zip(texts, ends(window, edit, scorer.layout.after_bases), strict=True)))
    return pairs


def one_by_one(loaded: LoadedModel, scorer: StrandScorer, change: Change, *, is_whole: bool) -> list[float]:
    nats = []
    for pair in _pairs(scorer, change):
        read = [(text if is_whole else text[:end], end) for text, end in pair]
        before, after = (_nats(next(predict_bases(loaded, [text]))[:end], text[:end]) for text, end in read)
        nats.append(after - before)
    return nats


def one_by_one_tokens(loaded: LoadedModel, scorer: StrandScorer, change: Change) -> list[float]:
    nats = []
    for pair in _pairs(scorer, change):
        before, after = (next(score_windows(loaded, [text[:end]])).nats.sum() for text, end in pair)
        nats.append(before - after)
    return nats


def _nats(predictions: np.ndarray, text: np.ndarray) -> float:
    chosen = predictions[np.arange(len(text)), np.searchsorted(ACGT, text)]
    return float(cumulative_nats(chosen, text)[-1])


if __name__ == "__main__":
    main()
