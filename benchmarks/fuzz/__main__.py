"""Broken input to the command line, many times over: a table of how the cases ended, and JSON.

    python -m benchmarks.fuzz [--cases N] [--first N] [--seed S] [--kind NAME ...] [--json FILE] [--keep FOLDER]
    python -m benchmarks.fuzz --only 4711           # one case again, with what it said

Case number N of a seed is the same on every machine. Each runs in this process, in an empty folder, and is stopped
after 20 seconds. What fails is copied to --keep, with what was said. Exit code 1 where a case failed.
"""

import argparse
import json
import random
import resource
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

from benchmarks.fuzz.inputs import Inputs, make_inputs
from benchmarks.fuzz.kinds import DEAR, KINDS
from benchmarks.fuzz.verdict import FAILED, REFUSED, SUCCESS, Outcome, run

CASES = 2000
MEMORY_BYTES = 12 << 30
"""Of address space: a broken size in a file must not take the machine's memory."""
CASES_BETWEEN_LINES = 500


@dataclass(frozen=True)
class Case:
    """A case that was run."""

    number: int
    kind: str
    arguments: list[str]
    outcome: Outcome
    seconds: float
    """Of the processor."""


def cases(inputs: Inputs, workplace: Path, numbers: Sequence[int], seed: int, kinds: Sequence[str]) -> Iterator[Case]:
    """Run the cases with these numbers; `workplace` holds the folder of the last one while it is handed out."""
    for number in numbers:
        chance = random.Random(f"{seed} {number}")
        kind = chance.choices(kinds, [1 if kind in DEAR else 2 for kind in kinds])[0]
        folder = workplace / "case"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        begun = time.process_time()
        arguments = KINDS[kind](chance, inputs, folder)
        outcome = run(arguments, folder, may_change=_outputs(arguments))
        yield Case(number, kind, arguments, outcome, time.process_time() - begun)


def _outputs(arguments: list[str]) -> list[str]:
    """Names that a success of the command may write."""
    given = [arguments[place + 1] for place, word in enumerate(arguments) if word == "-o"]
    # An index stands beside a bgzip VCF; a resumed run and a report are written into the run.
    return [*given, *(f"{name}.tbi" for name in given), *(f"{name}.csi" for name in given), "run"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=CASES)
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kind", action="append", choices=KINDS, help="only these kinds")
    parser.add_argument("--only", type=int, action="append", help="only these cases, and say what they said")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--keep", type=Path, help="where cases that failed are copied to")
    settings = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, resource.getrlimit(resource.RLIMIT_AS)[1]))
    numbers, kinds = (
        settings.only or range(settings.first, settings.first + settings.cases),
        settings.kind or list(KINDS),
    )
    counts: Counter[tuple[str, str]] = Counter()
    seconds: Counter[str] = Counter()
    failures: list[dict] = []
    with (
        tempfile.TemporaryDirectory() as place,
        patch("primase.hardware.matrix_product_flops", lambda device, precision: 1e10),
    ):
        (Path(place) / "inputs").mkdir()
        inputs = make_inputs(Path(place) / "inputs")
        for done, case in enumerate(cases(inputs, Path(place), numbers, settings.seed, kinds), 1):
            counts[case.kind, case.outcome.kind] += 1
            seconds[case.kind] += case.seconds
            if case.outcome.kind == FAILED or settings.only:
                print(f"case {case.number} ({case.kind}): {case.outcome.kind}: {case.outcome.complaint}", flush=True)
            if settings.only:
                print("primase", *case.arguments, case.outcome.said, sep="\n", flush=True)
            if case.outcome.kind == FAILED:
                failures.append({"case": case.number, "kind": case.kind, "complaint": case.outcome.complaint})
                _keep(settings.keep, Path(place) / "case", case)
            if done % CASES_BETWEEN_LINES == 0:
                print(f"{done:,} cases, {len(failures)} failed, {sum(seconds.values()):.0f} s", flush=True)
    result = _result(settings.seed, counts, seconds, failures)
    print(table(result))
    if settings.json:
        settings.json.write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    sys.exit(1 if failures else 0)


def _keep(keep: Path | None, folder: Path, case: Case) -> None:
    if keep is None:
        return
    kept = keep / str(case.number)
    shutil.copytree(folder, kept, dirs_exist_ok=True)
    said = f"primase {case.arguments}\n{case.outcome.complaint}\n{case.outcome.said}\n"
    (kept / "said.txt").write_text(said, "utf-8", errors="backslashreplace")


def _result(seed: int, counts: Counter, seconds: Counter, failures: list[dict]) -> dict:
    kinds = {
        kind: {outcome: counts[kind, outcome] for outcome in (SUCCESS, REFUSED, FAILED)}
        | {"seconds": round(seconds[kind], 1)}
        for kind in KINDS
    }
    return {"seed": seed, "cases": sum(counts.values()), "kinds": kinds, "failures": failures}


def table(result: dict) -> str:
    """The counts as a table of Markdown."""
    lines = [
        "| input | cases | ended well | refused in one line | failed | ms a case |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    total: Counter[str] = Counter()
    for kind, row in (*result["kinds"].items(), ("all", total)):
        count = sum(row[outcome] for outcome in (SUCCESS, REFUSED, FAILED))
        figures = [row[outcome] for outcome in (SUCCESS, REFUSED, FAILED)]
        cells = [f"{value:,}" for value in (count, *figures, round(1000 * row["seconds"] / max(count, 1)))]
        lines.append(f"| {kind} | {' | '.join(cells)} |")
        if row is not total:
            total.update(row)
    return "\n".join(lines)


if __name__ == "__main__":
    main()
