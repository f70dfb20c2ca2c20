"""`primase evaluate`: the held-out part through the model and through its rivals, and the verdict."""

import copy
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from primase import dna
from primase.corpus.store import Corpus, draw_windows
from primase.errors import InputError
from primase.evaluation.bits_per_base import BlockBootstrap, WindowBits, window_bits
from primase.evaluation.kmer_counts import MAX_DENSE_ORDER
from primase.evaluation.markov import MAX_LISTED_CONTEXTS, MarkovModels
from primase.models.build import build_model
from primase.recipe import Recipe
from primase.results import Estimate, Evaluation, Rival
from primase.run_folder import RunFolder
from primase.scoring import LoadedModel, WindowScore, load_model, score_windows

FEWEST_BLOCKS = 10
"""With fewer blocks to resample, an interval says more about luck than about the model."""

Entropy = Callable[[list[np.ndarray]], np.ndarray]
"""Bits of each window under the source that it was drawn from; known for a simulated genome only."""


def evaluate(
    run_folder: str | Path,
    *,
    entropy: Entropy | None = None,
    max_bases: int | None = None,
    progress: Callable[[str, float], None] = lambda what, share: None,
) -> Evaluation:
    """Measure the final model of a run on its held-out part and write evaluation.json into the run.

    Raises MissingFileError where there is no run or no final model, InputError where nothing was held out.
    """
    run = RunFolder.open(run_folder)
    windows = run.corpus().description["windows"]
    if not windows["heldout"] and not windows["validation"]:
        raise InputError(
            f"{run.folder}: trained on the whole genome, so no base is left to measure on; pretrain with "
            "split.heldout_fraction above 0"
        )
    loaded = load_model(run.folder)
    result = evaluate_on_corpus(
        loaded,
        run.recipe(),
        run.corpus(),
        name=run.folder.name,
        entropy=entropy,
        max_bases=max_bases,
        progress=progress,
    )
    result.write(run.evaluation_file)
    return result


def evaluate_on_corpus(
    loaded: LoadedModel,
    recipe: Recipe,
    corpus: Corpus,
    *,
    name: str,
    entropy: Entropy | None,
    max_bases: int | None,
    progress: Callable[[str, float], None],
) -> Evaluation:
    """The measurement itself; every predictor sees the same windows, each from its start."""
    settings = recipe.evaluation
    part = "heldout" if len(corpus.part("heldout")) else "validation"
    indices = draw_windows(corpus, part, max_bases or settings.max_bases, recipe.seed)
    windows = list(corpus.iterate(indices))
    bootstrap = BlockBootstrap(corpus.windows["length"][indices], settings.bootstrap_samples, recipe.seed)

    tokens = _TokenCount()
    forward = _model_bits(loaded, windows, settings.stride_fraction, tokens, lambda s: progress("scoring", s / 2))
    reversed_windows = [dna.reverse_complement(window) for window in windows]
    backward = _model_bits(
        loaded,
        reversed_windows,
        settings.stride_fraction,
        _TokenCount(),
        lambda s: progress("scoring", 0.5 + s / 2),
    )
    progress("counting for the Markov models", 0.0)
    markov = _markov_bits(corpus, windows, settings.markov_max_order)
    by_order = markov.sum(axis=0) / forward.bases.sum()
    best = int(np.argmin(by_order))
    progress("scoring the untrained twin", 0.0)
    untrained = _untrained_bits_per_base(loaded, recipe, windows)
    true_bits = entropy(windows) if entropy else None

    headline = bootstrap.estimate(forward.bits, forward.bases)
    rivals = [
        _rival("uniform", 2.0 * forward.bases, forward, bootstrap),
        _rival(f"Markov, order {best}, both strands", markov[:, best], forward, bootstrap),
        _rival("untrained twin", untrained * forward.bases, forward, bootstrap),
    ]
    if true_bits is not None:
        rivals.append(_rival("the simulated source itself", true_bits, forward, bootstrap))
    return Evaluation(
        model=name,
        part=part,
        split_strategy=corpus.description["split"]["strategy"],
        windows=len(windows),
        tokens=tokens.tokens,
        unknown_tokens=tokens.unknown,
        context_tokens=loaded.context_tokens,
        stride_fraction=settings.stride_fraction,
        bootstrap_blocks=bootstrap.blocks,
        nats_per_token=float(forward.bits.sum() * np.log(2) / max(tokens.tokens, 1)),
        forward=headline,
        reverse_complement=bootstrap.estimate(backward.bits, backward.bases),
        both_strands_mean=bootstrap.estimate((forward.bits + backward.bits) / 2, forward.bases),
        repeat=bootstrap.estimate(forward.repeat_bits, forward.repeat_bases),
        non_repeat=bootstrap.estimate(*forward.non_repeat()),
        rivals=rivals,
        markov_bits_per_base=by_order.tolist(),
        best_markov_order=best,
        true_entropy_bits_per_base=None if true_bits is None else float(true_bits.sum() / forward.bases.sum()),
        verdict=_verdict(headline, rivals[1], by_order, bootstrap.blocks),
    )


class _TokenCount:
    def __init__(self) -> None:
        self.tokens = self.unknown = 0


def _model_bits(
    loaded: LoadedModel,
    windows: list[np.ndarray],
    stride_fraction: float,
    count: _TokenCount,
    progress: Callable[[float], None],
) -> WindowBits:
    def counted() -> Iterator[WindowScore]:
        for done, score in enumerate(score_windows(loaded, windows, stride_fraction=stride_fraction)):
            count.tokens += len(score.ids)
            count.unknown += loaded.encoder.unknown_count(score.ids)
            progress((done + 1) / len(windows))
            yield score

    return window_bits(windows, counted(), loaded.encoder.bases_per_token)


def _markov_bits(corpus: Corpus, windows: list[np.ndarray], max_order: int) -> np.ndarray:
    """Bits of each window under each order, float64 [windows, orders]; trained on all training windows.

    Beyond the memory that the long orders are allowed, only the orders in dense tables are counted.
    """
    if 2 * corpus.part_bases("train") > MAX_LISTED_CONTEXTS:
        max_order = min(max_order, MAX_DENSE_ORDER)
    models = MarkovModels.fit(corpus.iterate(corpus.part("train")), max_order=max_order, both_strands=True)
    return models.window_bits(windows)


def _untrained_bits_per_base(loaded: LoadedModel, recipe: Recipe, windows: list[np.ndarray]) -> float:
    """The same architecture with fresh weights, on the first `evaluation.untrained_bases` bases of the windows."""
    enough = np.searchsorted(np.cumsum([len(w) for w in windows]), recipe.evaluation.untrained_bases) + 1
    some = windows[: int(enough)]
    fresh = build_model(recipe.model, copy.deepcopy(loaded.model.config), recipe.seed).eval()
    fresh.to(loaded.model.device)
    twin = LoadedModel(fresh, loaded.tokenizer, loaded.encoder, loaded.context_tokens)
    bits = _model_bits(twin, some, 1.0, _TokenCount(), lambda share: None)
    return float(bits.bits.sum() / bits.bases.sum())


def _rival(name: str, rival_bits: np.ndarray, model: WindowBits, bootstrap: BlockBootstrap) -> Rival:
    advantage = 1000 * bootstrap.ratios(rival_bits - model.bits, model.bases)
    low, high = np.quantile(advantage, (0.025, 0.975))
    bases = model.bases.sum()
    return Rival(
        name=name,
        bits_per_base=rival_bits.sum() / bases,
        model_advantage_millibits=1000 * (rival_bits.sum() - model.bits.sum()) / bases,
        low=low,
        high=high,
    )


def _verdict(headline: Estimate, markov: Rival, by_order: np.ndarray, blocks: int) -> str:
    beaten = [order for order, bits in enumerate(by_order) if headline.bits_per_base < bits]
    millibits = f"{abs(markov.model_advantage_millibits):.1f} millibits a base"
    certainty = "the interval includes zero" if markov.low <= 0 <= markov.high else "the interval excludes zero"
    if blocks < FEWEST_BLOCKS:
        certainty = f"from {blocks} stretch{'es' if blocks > 1 else ''} of the genome, too few for an interval"
    if len(beaten) == len(by_order):
        return f"beats all Markov models of order 0 to {len(beaten) - 1}, the best of them by {millibits} ({certainty})"
    some = f"it beats {_ranges(beaten)}" if beaten else "it beats no order"
    return f"does not beat counting: the best Markov model is better by {millibits} ({certainty}); {some}"


def _ranges(orders: list[int]) -> str:
    """Orders as text: 'order 0-5 and 12-16'."""
    runs: list[list[int]] = []
    for order in orders:
        if runs and order == runs[-1][-1] + 1:
            runs[-1].append(order)
        else:
            runs.append([order])
    return "order " + " and ".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)
