"""Time and memory of the rivals that count: train on 10 Mb, price 1 Mb, print JSON.

    python -m benchmarks.rivals_speed [--train-bases N] [--scored-bases N]

What is timed is what `primase evaluate` does: Markov models of order 0 to 16, all of them and then the best one base by
base, and the copy mixture. The bases are random, the worst case for lists and tables: few long contexts come twice.
"""

import argparse
import json
import resource
import time

import numpy as np

from primase.evaluation.copy_mixture import CopyMixture
from primase.evaluation.markov import MarkovModels

ACGT = np.frombuffer(b"ACGT", np.uint8)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--train-bases", type=int, default=10_000_000)
    parser.add_argument("--scored-bases", type=int, default=1_000_000)
    settings = parser.parse_args()
    rng = np.random.default_rng(0)
    training, scored = (rng.choice(ACGT, bases) for bases in (settings.train_bases, settings.scored_bases))
    _run(ACGT.repeat(20), ACGT.repeat(20))  # compiles
    print(json.dumps(vars(settings) | _run(training, scored), indent=1))


def _run(training: np.ndarray, scored: np.ndarray) -> dict[str, float]:
    times = [time.perf_counter()]
    models = MarkovModels.fit([training])
    times.append(time.perf_counter())
    score = models.score([scored])
    models.surprisal(scored, score.best_order)
    times.append(time.perf_counter())
    mixture = CopyMixture.fit([training], expected_bases=training.size + scored.size)
    times.append(time.perf_counter())
    bits = np.concatenate(list(mixture.surprisal([scored])))
    times.append(time.perf_counter())
    names = ("markov_fit_seconds", "markov_score_seconds", "mixture_fit_seconds", "mixture_score_seconds")
    return dict(zip(names, np.diff(times).round(2).tolist(), strict=True)) | {
        "seconds": round(times[-1] - times[0], 2),
        "peak_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6),
        "markov_bits_per_base": round(float(score.bits_per_base.min()), 4),
        "mixture_bits_per_base": round(float(bits.mean()), 4),
    }


if __name__ == "__main__":
    main()
