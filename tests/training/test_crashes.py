"""Killed with SIGKILL at random moments, among them in the middle of saving, a run becomes the undisturbed one."""

import json
import subprocess
import sys

from tests.conftest import REPOSITORY


def test_killed_again_and_again():
    """A process of its own: this one has threads, and cannot be forked."""
    command = [sys.executable, "-m", "tests.training.crashes", "--kills", "8", "--seed", "3"]
    result = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=500)
    assert result.returncode == 0, result.stderr
    tally = json.loads(result.stdout)
    assert tally["kills"] == sum(tally["where"].values()) == 8
    assert tally["where"]["while saving"] >= 2 and tally["runs_compared"] >= 1
