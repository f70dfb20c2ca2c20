"""How much sooner embedding and scoring are done than the usual loops, on one model, in alternating rounds.

    python -m benchmarks.inference_speed [MODEL] [--tokenizer FOLDER] [--windows N] [--scored-bases N] [--rounds N]

MODEL: a folder; without it the tutorial's architecture (105 M parameters) with fresh weights. Embedding: windows of 200
random bases with `primase.embed`, beside the tutorial's way, one sequence a call (a part of the windows, since it is
slow; the figure is windows a second). Scoring: the nats of every token by `score_windows`, beside a stock loop over
batches of 32 padded to their longest in the order of the file. All compute in fp32, but for the last arm of each,
`precision="bf16"`, which rounds; by how much the scores then differ is printed too.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

import numpy as np
import torch

from primase import hardware
from primase.embedding import embed
from primase.models.build import build_model, configuration
from primase.recipe import ModelSettings
from primase.scoring import LoadedModel, context_tokens, load_model, score_windows
from primase.tokenizers import load_tokenizer, train_byte_pair_tokenizer

ACGT = np.frombuffer(b"ACGT", np.uint8)
ONE_BY_ONE = 100
"""Windows that are embedded one a call."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", nargs="?")
    parser.add_argument("--tokenizer", help="for the fresh model; without it byte pairs are trained on random bases")
    parser.add_argument("--windows", type=int, default=2000)
    parser.add_argument("--scored-bases", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=3)
    settings = parser.parse_args()
    with fresh(settings.tokenizer) if not settings.model else nullcontext(settings.model) as folder:
        loaded, rounded = (load_model(folder, precision=precision) for precision in ("fp32", "bf16"))
    rng = np.random.default_rng(0)
    windows = [rng.choice(ACGT, 200).tobytes() for _ in range(settings.windows)]
    # Of many lengths, as records of a table are.
    lengths = rng.integers(100, 301, settings.scored_bases // 200)
    scored = [rng.choice(ACGT, length) for length in lengths]
    result = {
        "machine": hardware.describe(),
        "embedding": alternate(
            {
                "one sequence a call": (ONE_BY_ONE, lambda: embed_one_by_one(loaded, windows[:ONE_BY_ONE])),
                "primase": (len(windows), lambda: embed(loaded, windows)),
                "primase, bf16": (len(windows), lambda: embed(rounded, windows)),
            },
            settings.rounds,
        ),
        "scoring": alternate(
            {
                "stock, padded batches of 32": (int(lengths.sum()), lambda: score_stock(loaded, scored)),
                "primase": (int(lengths.sum()), lambda: list(score_windows(loaded, scored))),
                "primase, bf16": (int(lengths.sum()), lambda: list(score_windows(rounded, scored))),
            },
            settings.rounds,
        ),
        "bits_per_base": {
            one.precision: sum(score.nats.sum() for score in score_windows(one, scored)) / lengths.sum() / np.log(2)
            for one in (loaded, rounded)
        },
    }
    print(json.dumps(result, indent=1))


def alternate(arms: dict[str, tuple[int, Callable[[], object]]], rounds: int) -> dict:
    """Units (windows, or bases) a second of each arm, medians, and the ratio of each to the first."""
    speeds: dict[str, list[float]] = {name: [] for name in arms}
    for turn in range(rounds + 1):
        for name, (units, run) in arms.items():
            begun = time.perf_counter()
            run()
            if turn:  # the first warms up
                speeds[name].append(units / (time.perf_counter() - begun))
    first = next(iter(speeds.values()))
    ratios = {
        name: round(statistics.median(ours / theirs for ours, theirs in zip(values, first, strict=True)), 2)
        for name, values in speeds.items()
    }
    return {"a_second": {name: round(statistics.median(values), 1) for name, values in speeds.items()}, "ratio": ratios}


@torch.inference_mode()
def embed_one_by_one(loaded: LoadedModel, windows: list[bytes]) -> list[np.ndarray]:
    """As the tutorial does: a call a sequence, the mean over its tokens."""
    vectors = []
    for window in windows:
        inputs = loaded.tokenizer(window.decode(), return_tensors="pt")["input_ids"]
        hidden = loaded.model.base_model(inputs)[0]
        vectors.append(hidden[0].mean(dim=0).numpy())
    return vectors


@torch.inference_mode()
def score_stock(loaded: LoadedModel, windows: list[np.ndarray]) -> list[float]:
    """A loop as it is usually written: tokenize, pad to the longest, forward, cross-entropy, mask."""
    nats = []
    for first in range(0, len(windows), 32):
        texts = [window.tobytes().decode() for window in windows[first : first + 32]]
        inputs = loaded.tokenizer(texts, return_tensors="pt", padding=True)
        logits = loaded.model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"]).logits
        losses = torch.nn.functional.cross_entropy(
            logits[:, :-1].transpose(1, 2), inputs["input_ids"][:, 1:], reduction="none"
        )
        nats += (losses * inputs["attention_mask"][:, 1:]).sum(dim=1).tolist()
    return nats


@contextmanager
def fresh(tokenizer_folder: str | None) -> Iterator[str]:
    """A folder with such a model, for as long as the block lasts."""
    if tokenizer_folder:
        tokenizer = load_tokenizer(tokenizer_folder)
    else:
        text = np.random.default_rng(1).choice(ACGT, 200_000).tobytes()
        tokenizer = train_byte_pair_tokenizer([text], vocab_size=4096)
    settings = ModelSettings(preset="mixtral-105m", attention="sdpa", experts="grouped_mm")
    with tempfile.TemporaryDirectory() as folder:
        model = build_model(settings, configuration(settings, tokenizer), seed=0)
        tokenizer.model_max_length = context_tokens(model, tokenizer)
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        yield folder


if __name__ == "__main__":
    main()
