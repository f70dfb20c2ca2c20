"""Self-tests of what must not change a score: what comes later, padding, batch mates, case, saving and loading.

Where arithmetic repeats bit for bit (one processor, one shape of the batch) nothing is forgiven; elsewhere the limits
lie far above the rounding of fp32 (about 1e-6 nats a token) and far below what a mistake moves (1e-2 and more).
"""

import dataclasses
import tempfile

import numpy as np

from primase.checks.subject import (
    LARGEST_FIGURE,
    Subject,
    checked,
    largest,
    largest_of,
    over_rows,
    row_nats,
    window_nats,
)
from primase.errors import ModelError
from primase.models.build import is_mixture
from primase.results import Check
from primase.scoring import LoadedModel, load_model

PADDED_TOKENS = 512
"""What rows are padded to, where the context allows."""

LONG_TOKENS = 1024
"""The longest row that is looked at for the future, where the context allows: a mask may fail from some length on."""

PROBES = 5
"""Places in a row that are changed to see what moves, the first and the last among them."""

FUTURE_LIMIT_NATS = 1e-4
"""The two batches have the same shape: a dense model gives 0, and in a mixture the experts' sums are ordered anew."""

BATCH_LIMIT_NATS = 1e-3
"""Batches of other shapes are summed in another order."""

GPU_LIMIT_NATS = 1e-4
"""The same arithmetic twice: 0 on a processor; a GPU may add in another order each time."""


def future(subject: Subject) -> Check:
    figure = max(over_rows(subject, _changes_before(subject, rows)) for rows in (subject.rows, [_long_row(subject)]))
    return nats_check(
        "future",
        figure,
        FUTURE_LIMIT_NATS,
        "One token was exchanged, in several places; a prediction before it that moves was made by looking ahead, and "
        "every figure of this model is too good.",
    )


def _changes_before(subject: Subject, rows: list[np.ndarray]) -> list[float]:
    """Row by row and place by place, the largest change of what was predicted before the exchanged token or is it."""
    draw, changes = np.random.default_rng(0), []
    spelling = np.flatnonzero(subject.loaded.encoder.bases_per_token > 0)
    for row in rows:
        first = len(subject.loaded.encoder.prefix_ids)
        places = np.unique(np.linspace(first, len(row) - 1, PROBES).round().astype(int)).tolist()
        changed = [row.copy() for _ in places]
        for place, copy in zip(places, changed, strict=True):
            copy[place] = draw.choice(spelling[spelling != row[place]])
        before = row_nats(subject.loaded, [row] * len(places), [row] * len(places))
        # Priced as the tokens that were there: a model that sees the one it predicts is found out at the place itself.
        after = row_nats(subject.loaded, changed, [row] * len(places))
        changes += [largest(b[:place], a[:place]) for place, b, a in zip(places, before, after, strict=True) if place]
    return changes


def _long_row(subject: Subject) -> np.ndarray:
    prefix = np.asarray(subject.loaded.encoder.prefix_ids, np.int64)
    ids = np.concatenate(subject.loaded.encoder.encode_many(subject.windows))
    longest = max(2, min(LONG_TOKENS, subject.loaded.context_tokens))
    return np.concatenate([prefix, np.resize(ids, longest)])[:longest]


def padding(subject: Subject) -> Check:
    short = [row[: max(2, len(row) // 4)] for row in subject.rows]
    longest = min(PADDED_TOKENS, subject.loaded.context_tokens)
    mate = np.resize(np.concatenate(subject.rows), max(longest, 2))
    alone = [row_nats(subject.loaded, [row], [row])[0] for row in short]
    together = row_nats(subject.loaded, [*short, mate], [*short, mate])[: len(short)]
    return nats_check(
        "padding",
        over_rows(subject, [largest(a, b) for a, b in zip(alone, together, strict=True)]),
        BATCH_LIMIT_NATS,
        f"Short sequences were filled up to {len(mate)} tokens; if that changes their score, the model reads the "
        "filling as DNA.",
    )


def mates(subject: Subject) -> Check:
    mixed = [window[: -(-len(window) // part)] for part, window in enumerate(subject.few, start=1)]
    alone = [window_nats(subject.loaded, [window])[0] for window in mixed]
    together = window_nats(subject.loaded, mixed)
    return nats_check(
        "mates",
        over_rows(subject, [largest(a, b) for a, b in zip(alone, together, strict=True)]),
        BATCH_LIMIT_NATS,
        "Sequences were scored alone and beside others of other lengths; if that changes a score, it depends on what "
        "happens to be measured with it.",
    )


def case(subject: Subject) -> Check:
    upper = [np.frombuffer(window.tobytes().upper(), np.uint8) for window in subject.few]
    lower = [np.frombuffer(window.tobytes().lower(), np.uint8) for window in subject.few]
    figure = largest_of(window_nats(subject.loaded, upper), window_nats(subject.loaded, lower))
    text = upper[0].tobytes().decode("latin-1")
    bare = [subject.loaded.tokenizer(form, add_special_tokens=False)["input_ids"] for form in (text, text.lower())]
    alone = (
        "" if bare[0] == bare[1] else " (Used without Primase, this tokenizer does tell them apart: upper-case first.)"
    )
    return nats_check(
        "case",
        figure,
        repeated_limit(subject.loaded),
        "Lower-case, soft-masked bases must be read as the same bases; if not, repeats are another language to this "
        f"model.{alone}",
    )


def reload(subject: Subject) -> Check:
    loaded = subject.loaded
    trouble = ""
    with tempfile.TemporaryDirectory(prefix=".check-", suffix=".partial", dir=subject.folder) as copy:
        loaded.model.save_pretrained(copy)
        loaded.tokenizer.save_pretrained(copy)
        try:
            figure = largest_of(window_nats(loaded, subject.few), window_nats(_again(loaded, copy), subject.few))
        except ModelError as error:
            figure, trouble = LARGEST_FIGURE, f" ({error})"
    return nats_check(
        "reload",
        figure,
        repeated_limit(loaded),
        "The model was saved and loaded again by plain transformers; if its scores differ, the saved model is not the "
        f"trained one.{trouble}",
    )


def _again(loaded: LoadedModel, folder: str) -> LoadedModel:
    """Loaded from `folder`, to run by the same arithmetic as `loaded`."""
    again = load_model(folder)
    model = again.model.to(loaded.model.device, loaded.model.dtype)
    model.set_attn_implementation(loaded.model.config._attn_implementation)
    if is_mixture(model.config):
        model.set_experts_implementation(loaded.model.get_experts_implementation())
    return dataclasses.replace(again, model=model, context_tokens=loaded.context_tokens)


def repeated_limit(loaded: LoadedModel) -> float:
    return 0.0 if loaded.model.device.type == "cpu" else GPU_LIMIT_NATS


def nats_check(name: str, figure: float, limit: float, meaning: str) -> Check:
    return checked(name=name, figure=figure, unit="nats a token", limit=limit, meaning=meaning)
