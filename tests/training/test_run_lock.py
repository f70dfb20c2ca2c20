"""One process at a time trains into a run folder; a lock that nobody holds is none."""

import errno
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys

import pytest

from primase import run_lock
from primase.errors import RunInUseError
from primase.run_lock import LOCK_FILE, RunLock
from primase.training.run import pretrain, resume
from tests.training.runs import DENSE, tiny_recipe

HOLDER = """
import sys, time
from pathlib import Path
from primase.run_lock import RunLock
with RunLock() as lock:
    lock.take(Path(sys.argv[1]))
    print("held", flush=True)
    time.sleep(120)
"""
RECIPE = tiny_recipe(DENSE, training__steps=4)


@pytest.fixture
def hold():
    """`hold(folder)`: another process holds the folder; it is returned."""
    processes = []

    def hold(folder):
        command = [sys.executable, "-c", HOLDER, folder]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        processes.append(process)
        assert process.stdout.readline() == "held\n"
        return process

    yield hold
    for process in processes:
        process.kill()
        process.communicate()


@pytest.fixture
def run(genome, tmp_path):
    return pretrain(genome, tmp_path / "run", RECIPE).run


def contents(folder):
    return {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_a_run_in_use_is_refused_and_stays_as_it_is(run, genome, hold):
    """Resumed, and replaced."""
    holder = hold(run)
    before = contents(run)
    words = rf"process {holder.pid} on {socket.gethostname()} since .* is training into this run; wait"
    with pytest.raises(RunInUseError, match=words) as error:
        resume(run)
    assert "\n" not in str(error.value) and str(error.value).startswith(f"{run}: ")
    with pytest.raises(RunInUseError, match=words):
        pretrain(genome, run, RECIPE, overwrite=True)
    assert contents(run) == before
    assert [entry.name for entry in run.parent.iterdir()] == ["run"]


def test_a_folder_that_another_run_has_just_begun(genome, tmp_path, hold):
    (tmp_path / "run").mkdir()
    holder = hold(tmp_path / "run")
    with pytest.raises(RunInUseError, match=f"process {holder.pid} on "):
        pretrain(genome, tmp_path / "run", RECIPE)
    assert [entry.name for entry in (tmp_path / "run").iterdir()] == [LOCK_FILE]


def test_the_lock_of_a_killed_process_is_none(run, hold):
    holder = hold(run)
    holder.kill()
    holder.wait()
    assert json.loads((run / LOCK_FILE).read_text())["process"] == holder.pid
    resume(run)
    assert not (run / LOCK_FILE).exists()


def test_a_folder_in_which_a_killed_process_left_its_lock_alone(genome, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / LOCK_FILE).write_text('{"host": "elsewhere"}')
    run = pretrain(genome, tmp_path / "run", RECIPE).run
    assert (run / "final").is_dir() and not (run / LOCK_FILE).exists()


def test_it_is_held_to_the_end_and_then_free(genome, tmp_path, before_batch):
    seen = []

    def look(_trainer):
        seen.append(json.loads((tmp_path / "run" / LOCK_FILE).read_text())["process"])
        with pytest.raises(RunInUseError), RunLock() as lock:
            lock.take(tmp_path / "run")
        signal.raise_signal(signal.SIGTERM)

    before_batch(2, look)
    run = pretrain(genome, tmp_path / "run", RECIPE).run
    assert seen == [os.getpid()]
    assert not (run / LOCK_FILE).exists()
    assert resume(run).steps == 4


@pytest.fixture
def no_flock(monkeypatch):
    """As on a network file system that has no locks."""

    def flock(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(run_lock.fcntl, "flock", flock)
    assert run_lock.fcntl is fcntl


def note(folder, host, process):
    (folder / LOCK_FILE).write_text(json.dumps({"host": host, "process": process, "since": "yesterday"}))


def take(folder):
    with RunLock() as lock:
        lock.take(folder)
        return json.loads((folder / LOCK_FILE).read_text())["process"]


def test_without_locks_the_file_counts_while_its_process_lives(no_flock, tmp_path):
    assert take(tmp_path) == os.getpid()
    assert not (tmp_path / LOCK_FILE).exists()
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    note(tmp_path, socket.gethostname(), gone.pid)
    assert take(tmp_path) == os.getpid()
    note(tmp_path, socket.gethostname(), 1)  # init lives
    with pytest.raises(RunInUseError, match=r"process 1 on .*has no locks, so if that process is gone, remove .*lock"):
        take(tmp_path)
    note(tmp_path, "elsewhere", gone.pid)
    with pytest.raises(RunInUseError, match=rf"process {gone.pid} on elsewhere since yesterday"):
        take(tmp_path)


def test_another_failure_of_the_lock_is_not_swallowed(monkeypatch, tmp_path):
    def flock(*_):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(run_lock.fcntl, "flock", flock)
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        take(tmp_path)


def test_a_lock_file_that_its_holder_removed_meanwhile_is_not_taken(monkeypatch, tmp_path):
    """Opened before it was removed, locked afterwards: that would be a lock that nobody else sees."""
    flock, removed = fcntl.flock, []

    def remove_first(descriptor, operation):
        if not removed:
            removed.append((tmp_path / LOCK_FILE).unlink())
        return flock(descriptor, operation)

    monkeypatch.setattr(run_lock.fcntl, "flock", remove_first)
    with RunLock() as lock:
        lock.take(tmp_path)
        with pytest.raises(RunInUseError), RunLock() as second:
            second.take(tmp_path)
