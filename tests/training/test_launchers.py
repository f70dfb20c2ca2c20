"""The launchers themselves: torchrun starts a run again whose process was killed, and accelerate launch runs it too."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from primase.training.checkpoints import complete_checkpoints
from primase.training.run import pretrain
from tests.several import free_port, results, together
from tests.training.runs import DENSE, assert_same_run, tiny_recipe

RECIPE = tiny_recipe(DENSE, training__steps=40, training__evaluate_every=8)


@pytest.fixture(scope="module")
def undisturbed(genome, tmp_path_factory):
    run = tmp_path_factory.mktemp("undisturbed") / "run"
    results(together(pretrain, genome, run, RECIPE))
    return run


@pytest.fixture
def launch(genome, tmp_path):
    """`launch(module, options)`: a launcher at work on a pretraining, its output in a file, and the run folder."""
    launched = []
    (tmp_path / "recipe.toml").write_text(RECIPE.to_toml())

    def launch(module, *options):
        command = ["-m", "primase", "pretrain", genome, "-o", tmp_path / "run", "-r", tmp_path / "recipe.toml"]
        # The order of sums depends on the number of threads, which a share of the cores would be.
        two_cores = set(sorted(os.sched_getaffinity(0))[:2]) if hasattr(os, "sched_getaffinity") else None
        with (tmp_path / "log").open("w") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", module, *options, *command, "--resume-if-begun"],
                stdout=log,
                stderr=log,
                preexec_fn=(lambda: os.sched_setaffinity(0, two_cores)) if two_cores else None,
            )
        launched.append(process)
        return process, tmp_path / "run", tmp_path / "log"

    yield launch
    for process in launched:
        process.terminate()
        process.wait(40)


def worker_of(launcher: int, rank: int) -> int:
    """The process that the launcher started as number `rank`."""
    for child in Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split():
        if f"\0RANK={rank}\0" in Path(f"/proc/{child}/environ").read_text(errors="replace"):
            return int(child)
    raise AssertionError(f"no process {rank} of {launcher}")


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="looks for the processes in /proc")
def test_torchrun_goes_on_after_a_process_was_killed(launch, undisturbed):
    options = ["--nproc-per-node", "2", "--max-restarts", "1", "--master-port", str(free_port())]
    launcher, run, log = launch("torch.distributed.run", *options)
    until = time.monotonic() + 120
    while not complete_checkpoints(run):
        assert launcher.poll() is None and time.monotonic() < until, log.read_text()
        time.sleep(0.02)
    first = worker_of(launcher.pid, 1)
    os.kill(first, signal.SIGKILL)
    assert launcher.wait(240) == 0, log.read_text()
    said = log.read_text()
    # It may be ended by the launcher before it has noticed the loss.
    assert said.count("lost another one") <= 1 and said.count("Trained 40 steps") == 1, said
    assert_same_run(run, undisturbed)


def test_accelerate_launch(launch, undisturbed):
    options = ["--multi_gpu", "--num_processes", "2", "--main_process_port", str(free_port())]
    launcher, run, log = launch("accelerate.commands.launch", *options)
    assert launcher.wait(240) == 0, log.read_text()
    assert '"processes": 2' in (run / "environment.json").read_text()
    assert_same_run(run, undisturbed)


ABORTS_AT_THE_END = """
import os, sys
from primase.cli import main

class AtTheEnd:
    def __del__(self, is_finalizing=sys.is_finalizing, abort=os.abort):
        if is_finalizing():
            abort()

sys.at_the_end = AtTheEnd()
main()
"""


def test_processes_end_with_their_exit_code_before_a_thread_can_abort_them(tmp_path):
    of_launcher = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    command = [sys.executable, "-c", ABORTS_AT_THE_END, "prepare", tmp_path / "none.fa", "-o", tmp_path / "corpus"]
    both = [
        subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ | of_launcher | {"RANK": rank})
        for rank in ("0", "1")
    ]
    said = "".join(process.communicate(timeout=100)[1] for process in both)
    assert [process.returncode for process in both] == [2, 2], said
    assert said.count("none.fa") == 1, said
