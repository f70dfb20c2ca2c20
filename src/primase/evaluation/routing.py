"""What the experts of a mixture do: who is asked, for which bases, and whether the routers learn whom to ask.

A stretch is cut into rows side by side, each with the context that it holds itself. Rows are drawn evenly where there
are more tokens than are looked at.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from primase import dna
from primase.models.build import experts
from primase.models.routers import RouterGradient, find_routers, router_gradients, watching_choices
from primase.results import LayerRouting, Routing
from primase.scoring import LoadedModel, layer_outputs, padded
from primase.sequence_encoder import SequenceEncoder

TOKENS = 200_000
"""Tokens that are looked at, at most."""

GRADIENT_TOKENS = 1_024
"""Tokens that the gradient is taken on, and tokens of a batch."""

BASES_PER_TOKEN = 4
"""A guess for tokenizers of tokens of any length: rows are cut by bases before they are encoded."""

NO_CLASS = 255
"""Label of a base that belongs to none of the classes."""


def measure_routing(
    loaded: LoadedModel,
    stretches: list[np.ndarray],
    labels: list[np.ndarray] | None,
    class_names: Sequence[str],
    *,
    max_tokens: int = TOKENS,
) -> Routing | None:
    """Load, dead experts, gradients and the taste of each expert; None for a dense model.

    `stretches`: uint8 ASCII [bases] each. `labels`: uint8 [bases] each, the place of every base's class in
    `class_names`, NO_CLASS for none. A token belongs to the class of most of its A, C, G and T (of the earlier class
    where two have as many), to none where most of them have none. Tokens of the sequence are counted, special tokens
    and padding are not. Also None where the routers do not say what they choose (Llama 4).
    Raises ValueError where a stretch and its labels are not of one length.
    """
    routers = find_routers(loaded.model)
    rows = _drawn_rows(loaded, stretches, labels, max_tokens) if routers else []
    if not rows:
        return None
    counter = _ChoiceCounter(loaded, len(routers), len(class_names))
    with watching_choices(loaded.model, counter.look):
        for batch in _batches(rows):
            counter.batch = batch
            for _ in layer_outputs(loaded, [row.ids for row in batch], -1):
                pass
    if not counter.choices.any():
        return None
    gradients = _gradients(loaded, rows)
    layers = [
        _layer(gradient, choices, by_class, class_names)
        for gradient, choices, by_class in zip(gradients, counter.choices, counter.by_class, strict=True)
    ]
    tokens = sum(len(row.classes) for row in rows)
    return Routing(
        experts=counter.choices.shape[1],
        experts_per_token=round(int(counter.choices[0].sum()) / tokens),
        tokens=tokens,
        layers=layers,
        learns=not any(gradient.is_nil for gradient in gradients),
    )


def dead_router_warning(routing: Routing | None) -> str | None:
    """One line where a router never learns; None where all do, and for a dense model."""
    layers = routing.layers if routing else []
    dead = [
        layer.layer
        for layer in layers
        if RouterGradient(layer.layer, layer.router_gradient, layer.expert_gradient).is_nil
    ]
    if not dead:
        return None
    which = f"layer{'s' if len(dead) > 1 else ''} {', '.join(map(str, dead))}"
    return (
        f"WARNING: the router of {which} receives no gradient: its experts are chosen by a random projection that "
        "never learns"
    )


# ---- rows ----


@dataclass(frozen=True)
class _Row:
    ids: np.ndarray
    """int64 [prefix + tokens]"""
    classes: np.ndarray
    """uint8 [tokens]: the class of each token, NO_CLASS for none."""


def _drawn_rows(
    loaded: LoadedModel, stretches: list[np.ndarray], labels: list[np.ndarray] | None, max_tokens: int
) -> list[_Row]:
    """Rows evenly over all stretches, of at most `max_tokens` in all."""
    encoder = loaded.encoder
    capacity = max(1, loaded.context_tokens - len(encoder.prefix_ids))
    row_bases = capacity * (encoder.regular_k or BASES_PER_TOKEN)
    if labels is None:
        labels = [np.full(len(stretch), NO_CLASS, np.uint8) for stretch in stretches]
    places = []
    for number, (stretch, of_bases) in enumerate(zip(stretches, labels, strict=True)):
        if len(stretch) != len(of_bases):
            raise ValueError(f"stretch {number} has {len(stretch)} bases and {len(of_bases)} labels")
        places += [(number, start) for start in range(0, len(stretch), row_bases)]
    tokens = sum(map(len, stretches)) / (encoder.regular_k or BASES_PER_TOKEN)
    count = min(len(places), max(1, int(len(places) * max_tokens / max(tokens, 1))))
    rows, left = [], max_tokens
    for place in np.linspace(0, len(places) - 1, count).round().astype(int).tolist():
        number, start = places[place]
        piece = slice(start, start + row_bases)
        row = _row(encoder, stretches[number][piece], labels[number][piece], min(capacity, left))
        left -= len(row.classes)
        rows += [row] if len(row.classes) else []
    return rows


def _row(encoder: SequenceEncoder, bases: np.ndarray, labels: np.ndarray, capacity: int) -> _Row:
    ids = encoder.encode(bases)[:capacity]
    classes = token_classes(labels[dna.is_acgt(bases)], encoder.bases_per_token[ids])
    return _Row(np.concatenate([encoder.prefix_ids, ids]).astype(np.int64), classes)


def token_classes(labels: np.ndarray, token_bases: np.ndarray) -> np.ndarray:
    """uint8 [tokens]: the class of most bases of each token, of the earlier class where two have as many.

    `labels` uint8: of the A, C, G and T one after another; `token_bases` [tokens]: how many of them each token spells.
    """
    ends = np.minimum(np.cumsum(token_bases, dtype=np.int64), len(labels))
    starts = np.r_[0, ends[:-1]]
    classes = np.full(len(token_bases), NO_CLASS, np.uint8)
    most = np.zeros(len(token_bases), np.int64)
    for label in np.unique(labels).tolist():  # NO_CLASS is the last of them
        before = np.r_[0, np.cumsum(labels == label)]
        bases = before[ends] - before[starts]
        classes[bases > most] = label
        most = np.maximum(most, bases)
    return classes


def _batches(rows: list[_Row]) -> Iterator[list[_Row]]:
    """Rows of like length together, of about GRADIENT_TOKENS."""
    rows = sorted(rows, key=lambda row: len(row.ids), reverse=True)
    while rows:
        count = max(1, GRADIENT_TOKENS // len(rows[0].ids))
        yield rows[:count]
        rows = rows[count:]


# ---- counting ----


class _ChoiceCounter:
    """Counts how often each expert is chosen, by all tokens and by those of each class."""

    def __init__(self, loaded: LoadedModel, layers: int, classes: int) -> None:
        self.prefix, self.is_left = len(loaded.encoder.prefix_ids), loaded.tokenizer.padding_side == "left"
        self.experts = experts(loaded.model.config)
        self.choices = np.zeros((layers, self.experts), np.int64)
        self.by_class = np.zeros((layers, classes, self.experts), np.int64)
        self.batch: list[_Row] = []

    def look(self, layer: int, chosen: torch.Tensor) -> None:
        longest = max(len(row.ids) for row in self.batch)
        choices = chosen.reshape(len(self.batch), longest, -1).cpu().numpy()
        for row, row_choices in zip(self.batch, choices, strict=True):
            last = longest if self.is_left else len(row.ids)
            of_tokens = row_choices[last - len(row.ids) + self.prefix : last]
            self.choices[layer] += np.bincount(of_tokens.ravel(), minlength=self.experts)
            for label in np.unique(row.classes[row.classes != NO_CLASS]).tolist():
                of_class = of_tokens[row.classes == label]
                self.by_class[layer, label] += np.bincount(of_class.ravel(), minlength=self.experts)


def _layer(
    gradient: RouterGradient, choices: np.ndarray, by_class: np.ndarray, class_names: Sequence[str]
) -> LayerRouting:
    load = choices / choices.sum()
    smoothed = _smoothed_share(choices)
    return LayerRouting(
        layer=gradient.layer,
        load=load.tolist(),
        entropy_bits=float(-(load[load > 0] * np.log2(load[load > 0])).sum()),
        dead_experts=int((choices == 0).sum()),
        router_gradient=gradient.router,
        expert_gradient=gradient.experts,
        # A class without a token prefers no expert.
        enrichment={
            name: np.log2(_smoothed_share(of_class) / smoothed).tolist()
            for name, of_class in zip(class_names, by_class, strict=True)
            if of_class.any()
        },
    )


def _smoothed_share(choices: np.ndarray) -> np.ndarray:
    return (choices + 0.5) / (choices + 0.5).sum()


def _gradients(loaded: LoadedModel, rows: list[_Row]) -> list[RouterGradient]:
    """On rows drawn evenly, of about GRADIENT_TOKENS in all."""
    tokens = sum(len(row.ids) for row in rows)
    count = min(len(rows), max(1, len(rows) * GRADIENT_TOKENS // tokens))
    some = [rows[place].ids for place in np.linspace(0, len(rows) - 1, count).round().astype(int).tolist()]
    return router_gradients(loaded.model, padded(loaded, some)[0])
