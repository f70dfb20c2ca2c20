"""Self-tests of what a model can know: every base, both strands, and which expert to ask."""

import math

import numpy as np

from primase import dna
from primase.checks.subject import BASES, Subject, checked, window_nats
from primase.models.routers import SMALLEST_GRADIENT_RATIO, router_gradients
from primase.results import Check
from primase.scoring import padded

STRANDS_LIMIT_BITS = 0.05
"""Generous: over BASES the difference had a standard error of 0.003 in a small model of yeast. Fewer bases get more."""


def tokenizer(subject: Subject) -> Check:
    encoder = subject.loaded.encoder
    lost = bases = unknown = 0
    with_gap = subject.few[0].copy()
    with_gap[len(with_gap) // 2 : len(with_gap) // 2 + 3] = ord("N")
    for window in [*subject.windows, with_gap]:
        ids = encoder.encode(window)
        text = dna.to_acgtn(window).tobytes().upper()
        lost += _lost_bases(text, encoder.decode(ids))
        bases += int(dna.is_acgt(text).sum())
        unknown += encoder.unknown_count(ids)
    plural, verb = ("s", "were") if unknown != 1 else ("", "was")
    return checked(
        name="tokenizer",
        figure=lost / max(bases, 1),
        unit="of the bases lost",
        limit=0.0,
        meaning="Sequences were turned into tokens and back; a base that does not come back is one that the model "
        f"never saw. {unknown:,} token{plural} {verb} unknown (N, where the tokenizer has none for it).",
    )


def strands(subject: Subject) -> Check:
    bases = max(sum(int(dna.is_acgt(window).sum()) for window in subject.windows), 1)
    reverse = [dna.reverse_complement(window) for window in subject.windows]
    forward_nats, reverse_nats = (
        sum(float(nats.sum()) for nats in window_nats(subject.loaded, windows))
        for windows in (subject.windows, reverse)
    )
    return checked(
        name="strands",
        figure=abs(forward_nats - reverse_nats) / math.log(2) / bases,
        unit="bits per base",
        limit=STRANDS_LIMIT_BITS * max(1.0, math.sqrt(BASES / bases)),
        meaning="The same DNA was read from its other strand; a model that was trained on one strand alone may know "
        "the other less well, and its scores then depend on the strand that a sequence was written down from.",
    )


def router(subject: Subject) -> Check:
    """Fails too where a mixture's routers are not found: nobody knows then whether they learn."""
    inputs, _ = padded(subject.loaded, subject.rows)
    layers = router_gradients(subject.loaded.model, inputs)
    if not layers:
        return checked(
            name="router",
            figure=0.0,
            unit="of the experts' gradient",
            limit=SMALLEST_GRADIENT_RATIO,
            meaning="This model has experts, and Primase does not know the routers of its kind: they may never learn.",
            at_least=True,
        )
    dead = [layer.layer for layer in layers if layer.is_nil]
    return checked(
        name="router",
        figure=float(np.min([layer.ratio for layer in layers])),
        unit="of the experts' gradient",
        limit=SMALLEST_GRADIENT_RATIO,
        meaning="The pull of the training loss on the router that picks an expert for each token; without any "
        + (f"(here in {len(dead)} of {len(layers)} layers) " if dead else "")
        + "the experts are picked by a random projection that never learns.",
        at_least=True,
    )


def _lost_bases(text: bytes, decoded: bytes) -> int:
    """A, C, G and T of `text` that `decoded` does not hold in their place."""
    if text == decoded:
        return 0
    if len(text) != len(decoded):  # a tokenizer may have one unknown token for several N
        text, decoded = text.replace(b"N", b""), decoded.replace(b"N", b"")
    if len(text) != len(decoded):
        return max(len(text) - len(decoded), 1)
    ours, theirs = np.frombuffer(text, np.uint8), np.frombuffer(decoded, np.uint8)
    return int(((ours != theirs) & dna.is_acgt(ours)).sum())
