"""Bases a second of `primase generate` and of transformers' own `generate`, in turn, on one model: prints JSON.

    python -m benchmarks.generate_speed MODEL [--bases N] [--sequences N] [--pairs N] [--threads N]

Both draw the same number of tokens at temperature 1 from the start token. In transformers, tokens that spell no bases
are suppressed. Each pair runs one after the other, in changing order; medians are over pairs, ratios of each.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable

import torch

from primase import hardware
from primase.generation.constraints import Constraints
from primase.generation.draw import Drawer
from primase.generation.sampling import Sampling
from primase.generation.vocabulary import Vocabulary
from primase.scoring import LoadedModel, load_model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--bases", type=int, default=600)
    parser.add_argument("--sequences", type=int, default=64)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    settings = parser.parse_args()
    torch.set_num_threads(settings.threads)
    loaded = load_model(settings.model)
    k = loaded.encoder.regular_k
    if k is None or settings.bases % k:
        parser.error("give a model of bases or k-mers and a length that k divides, so that both draw as many tokens")
    ways = {"primase": _ours(loaded, settings), "transformers": _theirs(loaded, settings, settings.bases // k)}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for draw in ways.values():
        draw()  # warm
    for pair in range(settings.pairs):
        for name in sorted(ways, reverse=pair % 2 == 1):
            begun = time.perf_counter()
            ways[name]()
            seconds[name].append(time.perf_counter() - begun)
    drawn = settings.sequences * settings.bases
    ratios = [theirs / ours for ours, theirs in zip(seconds["primase"], seconds["transformers"], strict=True)]
    result = vars(settings) | {
        "device": str(loaded.model.device),
        "hardware": hardware.describe(),
        "bases_per_second": {name: round(drawn / statistics.median(taken)) for name, taken in seconds.items()},
        "times_as_fast": {"median": round(statistics.median(ratios), 2), "pairs": [round(one, 2) for one in ratios]},
    }
    print(json.dumps(result, indent=1, default=str))


def _ours(loaded: LoadedModel, settings: argparse.Namespace) -> Callable[[], object]:
    free = {"gc": None, "forbid": (), "motif": None, "motif_at": None, "left_flank": "", "right_flank": ""}
    drawer = Drawer(loaded, Constraints.checked(settings.bases, **free), Sampling(), seed=0)
    return lambda: drawer.draw([b""] * settings.sequences, settings.sequences)


def _theirs(loaded: LoadedModel, settings: argparse.Namespace, tokens: int) -> Callable[[], object]:
    vocabulary = Vocabulary(loaded.encoder)
    wanted = set(vocabulary.ids[vocabulary.fitting(vocabulary.longest)].tolist())
    others = [i for i in range(loaded.model.config.vocab_size) if i not in wanted]
    prefix = torch.tensor([loaded.encoder.prefix_ids] * settings.sequences, device=loaded.model.device)
    return lambda: loaded.model.generate(
        prefix,
        attention_mask=torch.ones_like(prefix),
        do_sample=True,
        top_k=0,
        max_new_tokens=tokens,
        min_new_tokens=tokens,
        suppress_tokens=others,
        pad_token_id=loaded.tokenizer.pad_token_id,
    )


if __name__ == "__main__":
    main()
