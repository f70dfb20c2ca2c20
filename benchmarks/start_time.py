"""How long `primase --help` and `import primase` take: medians, by the clock and by the processor.

    python -m benchmarks.start_time [--runs 20]

The arms alternate, an empty Python among them: what remains without it is Primase's own.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time

ARMS = {
    "python -c pass": ["-c", "pass"],
    "import primase": ["-c", "import primase"],
    "primase --help": ["-m", "primase", "--help"],
    "primase plan --help": ["-m", "primase", "plan", "--help"],
}


def seconds(arguments: list[str]) -> tuple[float, float]:
    """Of the clock and of the processor, of one process."""
    begun = time.perf_counter()
    process = subprocess.Popen([sys.executable, *arguments], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{arguments} failed")
    return time.perf_counter() - begun, usage.ru_utime + usage.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=20)
    runs = parser.parse_args().runs
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in ARMS}
    for _ in range(runs + 1):
        for name, arguments in ARMS.items():
            taken[name].append(seconds(arguments))
    print("| | clock, median (least) | processor, median (least) |\n|---|---|---|")
    for name, pairs in taken.items():
        columns = [f"{statistics.median(c):.3f} s ({min(c):.3f})" for c in zip(*pairs[1:], strict=True)]  # first: cold
        print(f"| `{name}` | {' | '.join(columns)} |")


if __name__ == "__main__":
    main()
