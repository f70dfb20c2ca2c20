"""Kill a run at random moments, resume it each time, and compare what comes out with a run that nobody disturbed.

    python -m tests.training.crashes --kills 100 --seed 1

Prints JSON: how many kills, where they hit, how many runs were compared. A difference ends it with an AssertionError.
Children are forked from one process that has imported the libraries, so that a kill costs a second and not ten.
"""

import argparse
import contextlib
import gc
import importlib
import json
import os
import random
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # before torch: a process with threads cannot be forked

import numpy as np

from primase import hardware
from primase.models.build import silence_transformers
from primase.run_folder import PROVENANCE
from primase.training import checkpoints
from primase.training.run import pretrain, resume
from tests.training.runs import EXPERTS, assert_same_run, timeless_metrics, tiny_recipe

RECIPE = tiny_recipe(
    EXPERTS,  # with dropout
    training__steps=30,
    training__evaluate_every=3,
    training__patience=5,
    training__learning_rate=0.02,
    training__strands="random",
    training__shift_rows=True,
    training__row_tokens=16,
    training__log_every=2,
)
IMPORTED_LATER = ["pandas", "primase.corpus.leakage", "transformers.models.mixtral.modeling_mixtral"]
"""What the libraries import when it is first needed, and a child should find imported."""

SHARE_AIMED = 0.4
"""So many of the kills are aimed at the writing of a checkpoint or of the final model."""


def forked(work: Callable[[], object]) -> int:
    """The process id of a child that does `work` and ends."""
    child = os.fork()
    if child:
        return child
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    try:
        work()
        os._exit(0)
    except BaseException as error:
        os.write(2, f"{type(error).__name__}: {error}\n".encode())
        os._exit(1)


def begin_or_go_on(genome: Path, run: Path) -> None:
    """What a user would type, from what the messages say."""
    if (run / PROVENANCE).is_file():
        resume(run)
    else:
        pretrain(genome, run, RECIPE, overwrite=True)


def is_writing(run: Path) -> bool:
    return any(run.glob("checkpoints/.*.partial")) or any(run.glob(".final*.partial"))


def has_ended(child: int) -> bool:
    return os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def wait_for_the_moment(child: int, run: Path, longest: float, rng: random.Random) -> None:
    """Until a random time has passed, or until a random one of the next savings has begun."""
    if rng.random() >= SHARE_AIMED:
        until = time.monotonic() + rng.uniform(0, longest)
        while time.monotonic() < until and not has_ended(child):
            time.sleep(0.002)
        return
    for _ in range(rng.randint(1, 4)):
        while not is_writing(run) and not has_ended(child):
            time.sleep(0.0002)
        time.sleep(rng.uniform(0, 0.01))
        if rng.random() < 0.5:
            return


def place_of(run: Path) -> str:
    """Where the kill hit, from what is on disk."""
    if not (run / PROVENANCE).is_file():
        return "while preparing"
    if is_writing(run):
        return "while saving"
    if (run / "final").is_dir():
        return "after the final model"
    return "between savings" if checkpoints.complete_checkpoints(run) else "before the first checkpoint"


def assert_equal_to_the_undisturbed(run: Path, reference: Path) -> None:
    """Weights, metrics, and all that the last checkpoint holds: optimizer, schedule, random states, counters."""
    assert_same_run(run, reference)
    ours, theirs = (checkpoints.complete_checkpoints(folder) for folder in (run, reference))
    assert [checkpoint.step for checkpoint in ours] == [checkpoint.step for checkpoint in theirs]
    for our, their in zip(ours, theirs, strict=True):
        for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth"):
            assert (our.folder / name).read_bytes() == (their.folder / name).read_bytes(), name
        states = [json.loads((folder / "trainer_state.json").read_text()) for folder in (our.folder, their.folder)]
        for values in states:
            del values["total_flos"]  # an estimate that transformers makes for its own log, and nothing reads
        assert states[0] == states[1], [item for item in states[0].items() if item not in states[1].items()]
        progress = [json.loads((folder / "progress.json").read_text()) for folder in (our.folder, their.folder)]
        for values in progress:
            del values["seconds"], values["seconds_since_log"]
        assert progress[0] == progress[1]
    steps = [line["step"] for line in timeless_metrics(run) if "tokens" in line]
    assert steps == sorted(set(steps))
    assert not list(run.glob(".*")) and not list(run.glob("checkpoints/.*")) and not (run / "run.lock").exists()


def kill_and_resume(folder: Path, kills: int, seed: int) -> dict:
    """The tally of so many kills; raises AssertionError where a run that was killed differs."""
    rng = random.Random(seed)
    genome, reference, run = folder / "genome.fa", folder / "reference", folder / "run"
    bases = "".join(np.random.default_rng(0).choice(list("ACGT"), 6000))
    genome.write_text(f">random\n{bases}\n", "utf-8")
    begun = time.monotonic()
    _, status = os.waitpid(forked(lambda: begin_or_go_on(genome, reference)), 0)
    assert status == 0
    seconds = time.monotonic() - begun
    places, compared, children = Counter(), 0, 0
    while places.total() < kills or run.exists():
        child = forked(lambda: begin_or_go_on(genome, run))
        children += 1
        if places.total() < kills:
            wait_for_the_moment(child, run, seconds, rng)
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        if os.WIFSIGNALED(status):
            places[place_of(run)] += 1
            continue
        assert os.waitstatus_to_exitcode(status) == 0, "a run did not go on"
        assert_equal_to_the_undisturbed(run, reference)
        compared += 1
        run.rename(folder / f"compared-{compared}")
    return {
        "kills": places.total(),
        "where": dict(places.most_common()),
        "runs_compared": compared,
        "processes": children,
        "seconds_of_an_undisturbed_run": round(seconds, 2),
        "seconds": round(time.monotonic() - begun, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    hardware.matrix_product_flops = lambda device, precision: 1e11  # measuring it takes longer than the run
    silence_transformers()
    for module in IMPORTED_LATER:
        with contextlib.suppress(ImportError):
            importlib.import_module(module)
    gc.collect()
    gc.freeze()  # accelerate collects garbage as each training begins
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(kill_and_resume(Path(folder), arguments.kills, arguments.seed)))


if __name__ == "__main__":
    main()
