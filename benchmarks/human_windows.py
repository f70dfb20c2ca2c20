"""The 20,000 human windows that docs/results.md trains the tutorial's recipe on: first 200 bases of 201-base windows.

    python -m benchmarks.human_windows WINDOWS.fasta.gz... -o human_windows.csv.gz

The names in these files are chromosomes, not windows, so they repeat; a table with one column `text`, as the tutorial
uses, is what they are.
"""

import argparse
import gzip
from pathlib import Path


def sequences(file: Path):
    """Sequences of a gzipped FASTA file with one line a sequence or several."""
    parts: list[str] = []
    with gzip.open(file, "rt") as lines:
        for line in lines:
            if line.startswith(">"):
                if parts:
                    yield "".join(parts)
                parts = []
            else:
                parts.append(line.strip())
    if parts:
        yield "".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--bases", type=int, default=200)
    parser.add_argument("--output", "-o", type=Path, required=True)
    options = parser.parse_args()
    windows = [sequence[: options.bases] for file in options.files for sequence in sequences(file)]
    with gzip.open(options.output, "wt") as out:
        out.write("\n".join(["text", *windows]) + "\n")
    print(f"{options.output}: {len(windows):,} windows of {options.bases} bases")


if __name__ == "__main__":
    main()
