"""Peak memory and processor time of writing a bigWig, without a model: Primase's writer beside those of libraries.

    python -m benchmarks.tracks_memory --megabases 3 30 100
    python -m benchmarks.tracks_memory --writers Primase pybigtools     # after pip install pybigtools==0.3.0
    python -m benchmarks.tracks_memory --megabases 3 --records 10000    # of 300 bases each

Prints a table. Each file is written in a process of its own; the memory is the largest that the process ever had
resident, the interpreter and numpy among it. The values are normal, in pieces of 262,144 at most.
"""

import argparse
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

PIECE_BASES = 1 << 18


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabases", type=int, nargs="+", default=[3, 30])
    parser.add_argument("--records", type=int, default=1, help="records of equal length that share the bases")
    parser.add_argument("--writers", choices=list(WRITERS), nargs="+", default=["Primase", "pyBigWig"])
    arguments = parser.parse_args()
    print("| writer | megabases | peak memory, MiB | processor seconds | file, bytes a base |\n|---|---|---|---|---|")
    context = multiprocessing.get_context("spawn")
    for name in arguments.writers:
        for megabases in arguments.megabases:
            with tempfile.TemporaryDirectory() as folder, context.Pool(1) as pool:
                file = Path(folder) / "track.bw"
                mebibytes, seconds = pool.apply(measure, (name, file, megabases * 10**6, arguments.records))
                size = file.stat().st_size / (megabases * 10**6)
            print(f"| {name} | {megabases} | {mebibytes:,.0f} | {seconds:.1f} | {size:.2f} |", flush=True)


def measure(name: str, file: Path, bases: int, records: int) -> tuple[float, float]:
    """MiB at the peak of this process, and seconds of the processor."""
    lengths = {f"chr{number:06d}": bases // records for number in range(records)}
    begun = time.process_time()
    WRITERS[name](file, lengths)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, time.process_time() - begun


def by_primase(file: Path, lengths: dict[str, int]) -> None:
    from primase.formats.tracks import writing_track

    with writing_track(file, lengths) as writer:
        for piece in pieces(lengths):
            writer.write(*piece)


def by_pybigwig(file: Path, lengths: dict[str, int]) -> None:
    import pyBigWig

    with pyBigWig.open(str(file), "w") as out:
        out.addHeader(list(lengths.items()))
        for record, start, values in pieces(lengths):
            out.addEntries(record, start, values=values.astype(np.float64), span=1, step=1)


def by_pybigtools(file: Path, lengths: dict[str, int]) -> None:
    import pybigtools

    entries = (
        (record, place, place + 1, value)
        for record, start, values in pieces(lengths)
        for place, value in enumerate(values.tolist(), start)
    )
    pybigtools.open(str(file), "w").write(lengths, entries)


def pieces(lengths: dict[str, int]) -> Iterator[tuple[str, int, np.ndarray]]:
    """Record, start and values."""
    random = np.random.default_rng(0)
    for record, length in lengths.items():
        for start in range(0, length, PIECE_BASES):
            yield record, start, random.normal(2, 0.5, min(PIECE_BASES, length - start)).astype(np.float32)


WRITERS = {"Primase": by_primase, "pyBigWig": by_pybigwig, "pybigtools": by_pybigtools}

if __name__ == "__main__":
    main()
