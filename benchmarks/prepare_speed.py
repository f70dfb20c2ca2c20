"""Speed and peak memory of `primase prepare`: FASTA to tokens, on genomes of growing size.

    python -m benchmarks.prepare_speed [--genome FASTA] [--megabases 5 25] [--tokenizers base kmer byte-pair] [--json F]

The genome is made of the bases of `--genome`, repeated with a tenth of them replaced in each copy (N left as it is), or
of random bases. Each tokenizer works in a process of its own, which prepares `--rounds` times; the best round counts,
by the clock and by the processor (all threads), since the clock also measures who else computes. Loading Python is not
counted. Apart from it stand the leakage certificate and the training of the byte pairs, which is done once. Single
bases and k-mers are computed when rows are read: encoding every window once is counted as well.
The peak is the resident memory that the operating system counted for that process, libraries included.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

CHROMOSOME_BASES = 250_000_000
LINE_BASES = 60
BLOCK_BASES = LINE_BASES * 100_000
ACGT = np.frombuffer(b"ACGT", np.uint8)


def write_genome(file: Path, bases: int, source: Path | None, seed: int = 0) -> None:
    """Chromosomes of at most CHROMOSOME_BASES, written in blocks so that this program stays small too."""
    rng = np.random.default_rng(seed)
    blocks = _mutated_blocks(source, rng) if source else _random_blocks(rng)
    with open(file, "wb") as out:
        for start in range(0, bases, CHROMOSOME_BASES):
            out.write(b">chr%d\n" % (start // CHROMOSOME_BASES + 1))
            left = min(CHROMOSOME_BASES, bases - start)
            while left:
                letters = next(blocks)[: min(left, BLOCK_BASES)]
                full = letters[: len(letters) // LINE_BASES * LINE_BASES].reshape(-1, LINE_BASES)
                lines = np.full((len(full), LINE_BASES + 1), ord("\n"), np.uint8)
                lines[:, :-1] = full
                out.write(lines.tobytes())
                rest = letters[full.size :]
                out.write(rest.tobytes() + b"\n" if len(rest) else b"")
                left -= len(letters)


def _random_blocks(rng: np.random.Generator) -> Iterator[np.ndarray]:
    while True:
        yield rng.choice(ACGT, BLOCK_BASES)


def _mutated_blocks(source: Path, rng: np.random.Generator) -> Iterator[np.ndarray]:
    from primase.formats import read_pieces

    while True:
        for piece in read_pieces([source], piece_bases=BLOCK_BASES):
            letters = piece.bases.copy()
            changed = np.flatnonzero((rng.random(len(letters)) < 0.1) & (letters != ord("N")))
            letters[changed] = rng.choice(ACGT, len(changed))
            yield letters


class Watch:
    """Seconds of the clock and of the processor, by name."""

    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = {}

    def timed(self, name: str, work: Callable) -> Callable:
        def run(*arguments: Any, **options: Any) -> Any:
            begun, begun_processor = time.perf_counter(), time.process_time()
            result = work(*arguments, **options)
            self.seconds[name] = [time.perf_counter() - begun, time.process_time() - begun_processor]
            return result

        return run


def measure_here(genome: str, megabases: float, settings: list[str], rounds: int) -> dict[str, Any]:
    """What one tokenizer takes, in this process."""
    import primase.corpus.leakage as leakage
    import primase.corpus.prepare as prepare
    from primase.corpus.store import Corpus
    from primase.recipe import Recipe
    from primase.sequence_encoder import SequenceEncoder
    from primase.tokenizers import load_tokenizer

    watch = Watch()
    leakage.write_certificate = watch.timed("leakage certificate", leakage.write_certificate)
    prepare._own_tokenizer = watch.timed("training the tokenizer", prepare._own_tokenizer)
    recipe = Recipe.load("default", settings)
    best: dict[str, list[float]] = {}
    training = [0.0, 0.0]
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(rounds + 1):  # the first loads compiled code
            output = Path(folder) / f"corpus-{turn}"
            watch.timed("all", prepare.prepare)([genome], output, recipe)
            corpus = Corpus.open(output)
            encoder = SequenceEncoder(load_tokenizer(output / "tokenizer"))
            watch.seconds["encoding"] = [0.0, 0.0]
            if encoder.regular_k is not None:
                watch.timed("encoding", encode_all)(corpus, encoder)
            taken = watch.seconds
            rest = [taken["all"][i] - taken["leakage certificate"][i] for i in (0, 1)]
            taken["to tokens"] = [rest[i] - taken["training the tokenizer"][i] + taken["encoding"][i] for i in (0, 1)]
            if not turn:
                training = taken["training the tokenizer"]
                recipe = Recipe.load("default", [*settings, *given_tokenizer(output)])
                watch.seconds["training the tokenizer"] = [0.0, 0.0]
            for name, pair in taken.items() if turn or not rounds else ():
                best[name] = [min(values) for values in zip(pair, best.get(name, pair), strict=True)]
    best["training the tokenizer"] = training
    unit = 1024**2 if sys.platform == "darwin" else 1024
    return {
        "seconds": {name: [round(value, 3) for value in pair] for name, pair in best.items()},
        "megabases_per_second": round(megabases / best["to tokens"][0], 2),
        "megabases_per_processor_second": round(megabases / best["to tokens"][1], 2),
        "peak_mebibytes": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit),
    }


def given_tokenizer(corpus: Path) -> list[str]:
    return ["tokenizer.kind=pretrained", f"tokenizer.name={corpus / 'tokenizer'}"]


def encode_all(corpus: Any, encoder: Any) -> None:
    """The token ids of every window, as the training asks for them: one at a time, and not kept."""
    for bases in corpus.iterate(np.arange(len(corpus.windows))):
        encoder.encode(bases)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--genome", type=Path)
    parser.add_argument("--megabases", type=int, nargs="+", default=[5, 25])
    parser.add_argument("--tokenizers", nargs="+", default=["base", "kmer", "byte-pair"])
    parser.add_argument("--window-bases", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3, help="0: one round, loading of compiled code included")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(measure_here(**json.loads(options.child))))
        return
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for megabases in options.megabases:
            genome = Path(folder) / "genome.fa"
            write_genome(genome, megabases * 1_000_000, options.genome)
            for kind in options.tokenizers:
                settings = [
                    f"tokenizer.kind={kind}",
                    f"data.window_bases={options.window_bases}",
                    "split.strategy=blocks",
                ]
                task = {"genome": str(genome), "megabases": megabases, "settings": settings, "rounds": options.rounds}
                command = [sys.executable, "-m", "benchmarks.prepare_speed", "--child", json.dumps(task)]
                row = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
                rows.append({"tokenizer": kind, "megabases": megabases} | row)
                print(line(rows[-1]), flush=True)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n", "utf-8")


def line(row: dict[str, Any]) -> str:
    certificate, training = (row["seconds"][name][0] for name in ("leakage certificate", "training the tokenizer"))
    return (
        f"{row['tokenizer']:<10} {row['megabases']:>6} Mb  {row['megabases_per_second']:6.1f} Mb/s "
        f"({row['megabases_per_processor_second']:.1f} a processor second)  certificate {certificate:.2f} s  "
        f"tokenizer {training:.2f} s  peak {row['peak_mebibytes']:,} MiB"
    )


if __name__ == "__main__":
    main()
