"""Peak memory and processor time of writing a bigWig, without a model: Primase's writer beside that of pyBigWig.

    python -m benchmarks.tracks_memory --megabases 3 30 100

Prints a table. Each file holds one record and is written in a process of its own; the memory is the largest that the
process ever had resident, the interpreter and numpy among it. The values are normal, in pieces of 262,144.
"""

import argparse
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

PIECE_BASES = 1 << 18


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabases", type=int, nargs="+", default=[3, 30])
    arguments = parser.parse_args()
    print("| writer | megabases | peak memory, MiB | processor seconds | file, bytes a base |\n|---|---|---|---|---|")
    context = multiprocessing.get_context("spawn")
    for name in WRITERS:
        for megabases in arguments.megabases:
            with tempfile.TemporaryDirectory() as folder, context.Pool(1) as pool:
                file = Path(folder) / "track.bw"
                mebibytes, seconds = pool.apply(measure, (name, file, megabases * 10**6))
                size = file.stat().st_size / (megabases * 10**6)
            print(f"| {name} | {megabases} | {mebibytes:,.0f} | {seconds:.1f} | {size:.2f} |", flush=True)


def measure(name: str, file: Path, bases: int) -> tuple[float, float]:
    """MiB at the peak of this process, and seconds of the processor."""
    begun = time.process_time()
    WRITERS[name](file, bases)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, time.process_time() - begun


def by_primase(file: Path, bases: int) -> None:
    from primase.formats.tracks import writing_track

    with writing_track(file, {"chr1": bases}) as writer:
        each_piece(bases, lambda start, values: writer.write("chr1", start, values))


def by_pybigwig(file: Path, bases: int) -> None:
    import pyBigWig

    with pyBigWig.open(str(file), "w") as out:
        out.addHeader([("chr1", bases)])
        each_piece(
            bases,
            lambda start, values: out.addEntries("chr1", start, values=values.astype(np.float64), span=1, step=1),
        )


def each_piece(bases: int, write: Callable[[int, np.ndarray], None]) -> None:
    random = np.random.default_rng(0)
    for start in range(0, bases, PIECE_BASES):
        write(start, random.normal(2, 0.5, min(PIECE_BASES, bases - start)).astype(np.float32))


WRITERS = {"Primase": by_primase, "pyBigWig": by_pybigwig}

if __name__ == "__main__":
    main()
