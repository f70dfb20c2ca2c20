"""Time and memory of the Markov rivals: fit orders 0 to 16 on 10 Mb, score 1 Mb, print JSON.

    python benchmarks/markov_speed.py [--train-bases N] [--scored-bases N]

The bases are random, the worst case for the lists: hardly a long context is seen twice.
"""

import argparse
import json
import resource
import time

import numpy as np

from primase.evaluation.markov import MarkovModels


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--train-bases", type=int, default=10_000_000)
    parser.add_argument("--scored-bases", type=int, default=1_000_000)
    parser.add_argument("--max-order", type=int, default=16)
    settings = parser.parse_args()
    rng = np.random.default_rng(0)
    training = rng.integers(0, 4, size=settings.train_bases, dtype=np.uint8)
    scored = rng.integers(0, 4, size=settings.scored_bases, dtype=np.uint8)

    start = time.perf_counter()
    models = MarkovModels.fit([training], max_order=settings.max_order)
    fitted = time.perf_counter()
    score = models.score([scored])
    done = time.perf_counter()
    result = {
        "train_bases": settings.train_bases,
        "scored_bases": settings.scored_bases,
        "max_order": settings.max_order,
        "fit_seconds": round(fitted - start, 2),
        "score_seconds": round(done - fitted, 2),
        "peak_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000),
        "listed_contexts": models.counts.listed_contexts,
        "bits_per_base": score.bits_per_base.round(4).tolist(),
    }
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
