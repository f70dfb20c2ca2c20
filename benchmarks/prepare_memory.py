"""Peak memory and speed of `primase prepare` on genomes of growing size: memory must not grow with the genome.

    python -m benchmarks.prepare_memory --megabases 5 50 500

Writes random FASTA files into a temporary folder, prepares each in a process of its own with each tokenizer, and
reports the peak resident memory that the operating system counted for that process.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

CHROMOSOME_BASES = 250_000_000
LINE_BASES = 60


def write_genome(file: Path, bases: int, seed: int = 0) -> None:
    """Random chromosomes of at most CHROMOSOME_BASES, written in blocks so that this program stays small too."""
    rng = np.random.default_rng(seed)
    with open(file, "wb") as out:
        for start in range(0, bases, CHROMOSOME_BASES):
            out.write(b">chr%d\n" % (start // CHROMOSOME_BASES + 1))
            left = min(CHROMOSOME_BASES, bases - start)
            while left:
                block = min(left, LINE_BASES * 100_000)
                letters = rng.choice(np.frombuffer(b"ACGT", np.uint8), block)
                full = letters[: block // LINE_BASES * LINE_BASES].reshape(-1, LINE_BASES)
                lines = np.full((len(full), LINE_BASES + 1), ord("\n"), np.uint8)
                lines[:, :-1] = full
                out.write(lines.tobytes())
                rest = letters[full.size :]
                out.write(rest.tobytes() + b"\n" if len(rest) else b"")
                left -= block


def measure(genome: Path, output: Path, settings: list[str]) -> dict[str, float]:
    """Seconds and peak resident mebibytes of one `primase prepare`."""
    command = [sys.executable, "-m", "primase", "prepare", str(genome), "-o", str(output)]
    for setting in settings:
        command += ["--set", setting]
    begun = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(command)} failed")
    return {"seconds": time.perf_counter() - begun, "peak_mebibytes": usage.ru_maxrss / 1024}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabases", type=int, nargs="+", default=[5, 500])
    parser.add_argument("--tokenizers", nargs="+", default=["base", "kmer", "byte-pair"])
    parser.add_argument("--window-bases", type=int, default=200)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for megabases in options.megabases:
            genome = Path(folder) / f"{megabases}.fa"
            write_genome(genome, megabases * 1_000_000)
            for kind in options.tokenizers:
                settings = [
                    f"tokenizer.kind={kind}",
                    f"data.window_bases={options.window_bases}",
                    "split.strategy=blocks",
                ]
                row = {"tokenizer": kind, "megabases": megabases}
                row |= measure(genome, Path(folder) / f"{megabases}-{kind}", settings)
                row["megabases_per_second"] = megabases / row["seconds"]
                rows.append(row)
                print(
                    f"{kind:<10} {megabases:>6} Mb  {row['seconds']:7.1f} s  "
                    f"{row['megabases_per_second']:7.1f} Mb/s  peak {row['peak_mebibytes']:7.0f} MiB",
                    flush=True,
                )
    if options.output:
        options.output.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
