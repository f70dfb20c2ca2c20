"""Fresh weights that begin where counting pairs of tokens ends, instead of at even odds.

With thousands of tokens a network spends its first minutes on how often each of them occurs and what follows what;
counting knows that in seconds. Here the embedding and the output layer are set such that they predict, as nearly as so
few dimensions allow, what smoothed counts do; the layers between add nothing at first, and learn the rest. The
dimensions that counting does not need are drawn as ever, so that tokens of like successors differ.
"""

import math
from collections.abc import Sequence

import torch
from transformers import PreTrainedConfig, PreTrainedModel

from primase.errors import RecipeError

MODEL_TYPES = ("llama", "mistral", "mixtral", "qwen3", "qwen3_moe")
"""Whose layers add to the embedding as it is, with one root-mean-square norm before the output layer."""

MOST_TOKENS = 8192
"""Of a vocabulary: pairs are counted in a square table, 268 MB of so many tokens."""

DISCOUNT = 0.9
"""Taken off the count of each pair that was seen, for those that were not: most pairs of a small genome are seen once
or never."""

PRIOR_PAIRS = 50.0
"""What a token's successors are taken to be before they are counted: so many tokens drawn regardless of it."""

PAIR_DIMENSIONS = 60
"""Dimensions given to pairs, a quarter of the width at most."""

FITTING_STEPS, FITTING_RATE = 20, 0.1
"""Steps on all pairs at once by which what is predicted comes nearer to the counts, and their size beside the weights.
So few do not come to the table itself, but predict other text better than it does (docs/experiments.md)."""

FREQUENCY_SHARE, PAIR_SHARE = 0.25, 0.4
"""Parts of an embedding's squared length: the direction that all tokens share, and at most that of the pairs."""

EMBEDDING_SCALE = 0.3
"""Root mean square of an embedding. Beside one of 0.02 or 0.1 what the layers add in their first steps, at the rates
of `fast`, drowns what was counted; one of 1 moves a little slower (docs/experiments.md)."""

OUTSIDE_PAIRS = 0.002
"""Standard deviation of the output layer's other weights: a tenth of the usual, so that counting is hardly blurred."""

MOST_ROWS_COUNTED = 200_000
"""Of more, so many from everywhere are counted."""

ROWS_AT_ONCE = 10_000


def count_pairs(rows: Sequence[torch.Tensor], vocabulary: int) -> torch.Tensor:
    """float32 [vocabulary, vocabulary]: how often the second token comes after the first in rows, int64 [tokens]."""
    counts = torch.zeros(vocabulary**2)
    every = math.ceil(len(rows) / MOST_ROWS_COUNTED)
    places = range(0, len(rows), every)
    for first in range(0, len(places), ROWS_AT_ONCE):
        some = [rows[place] for place in places[first : first + ROWS_AT_ONCE]]
        pairs = torch.cat([row[:-1] for row in some]) * vocabulary + torch.cat([row[1:] for row in some])
        counts += torch.bincount(pairs, minlength=vocabulary**2)
    return counts.view(vocabulary, vocabulary)


def refuse_other_models(config: PreTrainedConfig) -> None:
    """Raises RecipeError where the weights of such a model cannot be set to counts."""
    reason = None
    if config.model_type not in MODEL_TYPES:
        reason = f"is not made for a {config.model_type} model (but for {', '.join(MODEL_TYPES)})"
    elif config.tie_word_embeddings:
        reason = "needs an output layer of its own: set model.settings.tie_word_embeddings=false"
    elif config.vocab_size > MOST_TOKENS:
        reason = f"counts the pairs of {MOST_TOKENS:,} tokens at most, and the vocabulary has {config.vocab_size:,}"
    if reason:
        raise RecipeError(f"model.start is pairs, which {reason}; or set model.start=random")


@torch.no_grad()
def begin_with_pairs(model: PreTrainedModel, counts: torch.Tensor) -> None:
    """Set embedding, output layer and what the layers add, so that the model predicts as smoothed `counts` do.

    `counts` [vocabulary, vocabulary]: how often the second token came after the first.
    """
    embedding, head = model.get_input_embeddings().weight, model.get_output_embeddings().weight
    width = embedding.shape[1]
    dimensions = min(PAIR_DIMENSIONS, width // 4)
    of_first, of_second, bias = _factors(counts, dimensions)

    # The norm before the output layer divides all embeddings by their scale, which is one for all.
    length = EMBEDDING_SCALE * width**0.5
    of_first, of_second = _scaled(of_first, of_second, PAIR_SHARE**0.5 * length)
    shared = FREQUENCY_SHARE**0.5 * length
    pairs, rest = slice(1, 1 + dimensions), slice(1 + dimensions, None)
    embedding[:, 0] = shared
    embedding[:, pairs] = of_first
    missing = (length**2 - embedding[:, : 1 + dimensions].square().sum(1)).sqrt()
    drawn = embedding[:, rest].norm(dim=1).clamp(min=1e-12)  # transformers gives a padding token zeros
    embedding[:, rest] *= (missing / drawn)[:, None]
    head[:, 0] = bias * EMBEDDING_SCALE / shared
    head[:, pairs] = of_second * EMBEDDING_SCALE
    head[:, rest] *= OUTSIDE_PAIRS / head[:, rest].std()
    for name, parameter in model.named_parameters():
        if name.endswith(("o_proj.weight", "down_proj.weight", "experts.down_proj")):
            parameter.zero_()


def smoothed(counts: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """[vocabulary, vocabulary]: the probability of the second token after the first; [vocabulary]: after any.

    Interpolated Kneser-Ney (Chen and Goodman, 1999, "An empirical study of smoothing techniques for language
    modeling"): what is taken off the pairs that were seen goes to all tokens, by how many others each of them follows.
    """
    is_seen = counts > 0
    follows = is_seen.sum(0) + 0.5
    follows /= follows.sum()
    given = DISCOUNT * is_seen.sum(1) + PRIOR_PAIRS
    after = (counts - DISCOUNT).clamp_(min=0).addcmul_(given[:, None], follows)
    return after.div_(after.sum(1, keepdim=True)), follows


def _factors(counts: torch.Tensor, dimensions: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """[vocabulary, dimensions] twice and [vocabulary]: of_first @ of_second.T + bias are the logits of smoothed counts.

    Begun by a singular value decomposition of what a pair is worth beyond its second token, weighted by how often both
    tokens occur; then by Adam on the cross-entropy of all pairs, whose gradients are divided by those same weights.
    """
    after, follows = smoothed(counts)
    first, second = (counts.sum(axis) + 0.5 for axis in (1, 0))
    first, second = first / first.sum(), second / second.sum()
    of_first, of_second = _directions((after / follows).log_(), first.sqrt(), second.sqrt(), dimensions)
    bias = follows.log()
    factors = of_first, of_second, bias  # which Adam changes in place
    sizes = [FITTING_RATE * float(factor.square().mean().sqrt()) for factor in factors]
    adam = torch.optim.Adam(
        [{"params": [factor], "lr": size} for factor, size in zip(factors, sizes, strict=True)], betas=(0.8, 0.95)
    )
    for _ in range(FITTING_STEPS):
        error = torch.addmm(bias, of_first, of_second.T).softmax(1).sub_(after)  # the gradient, but for `first`
        of_first.grad = error @ of_second
        error *= first[:, None]
        of_second.grad = error.T @ of_first / second[:, None]
        bias.grad = error.sum(0) / second
        adam.step()
    return of_first, of_second, bias - (second * bias).sum()


def _directions(
    matrix: torch.Tensor, row_weights: torch.Tensor, column_weights: torch.Tensor, dimensions: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """[rows, dimensions] and [columns, dimensions], whose products are the matrix as nearly as the weights ask for."""
    weighted = matrix * row_weights[:, None] * column_weights
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        left, values, right = torch.svd_lowrank(weighted, q=min(dimensions + 20, len(matrix)), niter=3)
    left, right = left[:, :dimensions], right[:, :dimensions]
    return left / row_weights[:, None], right * values[:dimensions] / column_weights[:, None]


def _scaled(of_first: torch.Tensor, of_second: torch.Tensor, longest: float) -> tuple[torch.Tensor, torch.Tensor]:
    """With rows of the first no longer than `longest`: all are scaled, and the longest hundredth is cut."""
    lengths = of_first.norm(dim=1, keepdim=True)
    factor = longest / lengths.quantile(0.99).clamp(min=1e-12)
    of_first, lengths = of_first * factor, lengths * factor
    return of_first * (longest / lengths.clamp(min=1e-12)).clamp(max=1), of_second / factor
