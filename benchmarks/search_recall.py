"""Does an index find mutated copies? Recall of the ten nearest windows beside counting shared 11-mers: prints JSON.

    python -m benchmarks.search_recall MODEL GENOME [--queries N] [--max-bases N]

Queries are stretches of the genome from any place and either strand, with 0 to 30 % of the bases substituted. A query
is found where one of the ten best windows covers at least half of the place that it came from. The rival ranks the same
windows by the 11-mers that they share with the query, on either strand, which takes no model.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

import numpy as np

from primase import dna
from primase.errors import InputError, PrimaseError
from primase.formats import Record, read_records
from primase.scoring import LoadedModel, load_model
from primase.search import index, query
from primase.search.windows import Window, cut

RATES = (0.0, 0.05, 0.1, 0.2, 0.3)
TOP = 10
RIVAL_BASES = 11


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("genome")
    parser.add_argument("--queries", type=int, default=100)
    parser.add_argument("--max-bases", type=int, default=500_000)
    parser.add_argument("--layer", type=int, default=-1)
    settings = parser.parse_args()
    try:
        record = next(read_records([settings.genome]))
        record = Record(record.name, record.sequence[: settings.max_bases], record.source)
        found = recalls(load_model(settings.model, causal=False), record, settings.queries, layer=settings.layer)
    except PrimaseError as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from None
    print(json.dumps(vars(settings) | {"bases": len(record.sequence), "recall_at_10": found}, indent=1))


def recalls(
    loaded: LoadedModel,
    record: Record,
    queries: int,
    *,
    window_bases: int = 200,
    step_bases: int = 100,
    layer: int = -1,
    rates: tuple[float, ...] = RATES,
) -> dict[str, dict[str, float]]:
    """For each rate of substitutions, the share of queries that the index and the rival find among the ten best.

    Raises InputError where no stretch of `window_bases` is half A, C, G and T, as a query must be.
    """
    stream = np.random.default_rng(0)
    places = [one.start for one in cut([record], window_bases, 1) if one.is_known and len(one.sequence) == window_bases]
    if not places:
        raise InputError(f"{record.source}: no {window_bases} bases that are half A, C, G and T; give another genome")
    starts = np.array(places)[stream.integers(len(places), size=queries)]
    pieces = [np.frombuffer(record.sequence[s : s + window_bases].upper().encode(), np.uint8) for s in starts]
    pieces = [dna.reverse_complement(piece) if number % 2 else piece for number, piece in enumerate(pieces)]
    windows = list(cut([record], window_bases, step_bases))
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        fasta = Path(folder) / "genome.fa"
        fasta.write_text(f">{record.name}\n{record.sequence}\n")
        index(loaded, fasta, Path(folder) / "index", window_bases=window_bases, step_bases=step_bases, layer=layer)
        for rate in rates:
            mutated = [mutate(piece, rate, stream) for piece in pieces]
            records = [Record(str(number), text.decode(), "") for number, text in enumerate(mutated)]
            hits = query(Path(folder) / "index", records, top=TOP, model=loaded).hits
            ours: dict[int, list[int]] = {}
            for hit in hits:
                ours.setdefault(int(hit.query), []).append(hit.start)
            theirs = shared_kmers(windows, mutated)
            found[f"{rate:g}"] = {
                "index": _recall([ours.get(number, []) for number in range(queries)], starts, window_bases),
                "shared_11mers": _recall(theirs, starts, window_bases),
            }
    return found


def mutate(piece: np.ndarray, rate: float, stream: np.random.Generator) -> bytes:
    """Each base becomes one of the three others with this chance."""
    codes = dna.codes(piece)
    changed = (stream.random(len(codes)) < rate) & (codes < 4)
    codes = np.where(changed, (codes + stream.integers(1, 4, len(codes))) % 4, codes)
    return np.frombuffer(b"ACGTN", np.uint8)[codes].tobytes()


def shared_kmers(windows: list[Window], queries: list[bytes]) -> list[list[int]]:
    """Starts of the ten windows that share most 11-mers with each query, on either strand; ties in genome order."""
    windows_of: dict[bytes, list[int]] = {}
    for number, window in enumerate(windows):
        for kmer in _kmers(window.sequence.upper()):
            windows_of.setdefault(kmer, []).append(number)
    best = []
    for sequence in queries:
        shared = np.zeros(len(windows), np.int64)
        for kmer in _kmers(sequence) | _kmers(dna.reverse_complement(sequence)):
            shared[windows_of.get(kmer, [])] += 1
        order = np.argsort(-shared, kind="stable")[:TOP]
        best.append([windows[number].start for number in order if shared[number]])
    return best


def _kmers(sequence: bytes) -> set[bytes]:
    return {sequence[place : place + RIVAL_BASES] for place in range(len(sequence) - RIVAL_BASES + 1)}


def _recall(found: list[list[int]], starts: np.ndarray, window_bases: int) -> float:
    is_near = [
        any(abs(place - start) <= window_bases // 2 for place in places)
        for places, start in zip(found, starts, strict=True)
    ]
    return round(float(np.mean(is_near)), 4)


if __name__ == "__main__":
    main()
