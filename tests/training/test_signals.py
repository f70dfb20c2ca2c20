"""Signals to a real process, in the middle of a long accumulation: it stops at once, and goes on bit for bit."""

import os
import signal
import subprocess
import sys
import time

import pytest
import torch

from primase.cli import main
from primase.training.checkpoints import complete_checkpoints
from primase.training.run import pretrain, resume
from tests.training.runs import EXPERTS, assert_same_run, tiny_recipe

# Steps of 240 batches of one row: about a second each, three of them.
RECIPE = tiny_recipe(
    EXPERTS,
    data__window_bases=20,
    training__rows_per_batch=1,
    training__accumulation_steps=240,
    training__steps=3,
    training__evaluate_every=1,
    training__log_every=1,
)


@pytest.fixture(scope="module")
def reference(genome, tmp_path_factory):
    return pretrain(genome, tmp_path_factory.mktemp("reference") / "run", RECIPE).run


@pytest.fixture
def begin(genome, tmp_path):
    """`begin(step)`: a process that trains, in the middle of the step after `step`, and its run folder."""
    processes = []

    def begin(step):
        (tmp_path / "recipe.toml").write_text(RECIPE.to_toml())
        run = tmp_path / "run"
        command = [sys.executable, "-m", "primase", "pretrain", genome, "-o", run, "-r", tmp_path / "recipe.toml"]
        # The order of sums depends on the number of threads.
        environment = os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads())}
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
        processes.append(process)
        until = time.monotonic() + 60
        while not any(checkpoint.step == step for checkpoint in complete_checkpoints(run)):
            assert process.poll() is None and time.monotonic() < until, process.communicate()
            time.sleep(0.01)
        time.sleep(0.2)
        return process, run

    yield begin
    for process in processes:
        process.kill()
        process.communicate()


@pytest.mark.parametrize(("number", "exit_code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_stops_at_once_and_goes_on(number, exit_code, reference, begin, capsys, monkeypatch):
    process, run = begin(1)
    begun = time.monotonic()
    process.send_signal(number)
    out, error = process.communicate(timeout=30)
    assert time.monotonic() - begun < 10
    assert (process.returncode, "Traceback" in error) == (exit_code, False)
    assert f"Stopped by {number.name} after step 1 of 3" in out
    assert out.endswith(f"Go on with:  primase pretrain --resume {run}\n")
    assert complete_checkpoints(run)[-1].step == 1
    assert not (run / "final").exists()

    monkeypatch.setattr(sys, "argv", ["primase", "pretrain", "--resume", str(run)])
    with pytest.raises(SystemExit) as exit_status:
        main()
    assert exit_status.value.code == 0
    assert f"primase evaluate {run}" in capsys.readouterr().out
    assert_same_run(run, reference)


def test_killed(reference, begin):
    process, run = begin(2)
    process.kill()
    process.communicate()
    assert complete_checkpoints(run)[-1].step == 2
    resume(run)
    assert_same_run(run, reference)
