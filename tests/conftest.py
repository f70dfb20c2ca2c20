"""Where the real data lies, and the skip that is counted where it is absent."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

# Tiny models are faster on one thread, and much faster where something else runs on the machine. Set before torch is
# imported, and inherited by the processes that tests start.
os.environ.setdefault("OMP_NUM_THREADS", "1")

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real genomes, windows and tokenizers (see CONTRIBUTING.md)."""
    folder = Path(os.environ.get("PRIMASE_TEST_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}: set PRIMASE_TEST_DATA")
    return folder


@pytest.fixture(scope="session")
def dnabert2_tokenizer_folder(shared_data: Path) -> Path:
    return shared_data / "tokenizers" / "dnabert2"


def processor_seconds(command: list[str]) -> float:
    """What a command takes of the processor."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    assert status == 0, command
    return usage.ru_utime + usage.ru_stime


def assert_answers_at_once(command: list[str], limit: float) -> None:
    """In `limit` seconds of the processor, or, on a machine that is busy, 2.5 times what typer and pydantic take to
    import in the same moment; once of eight attempts."""
    libraries, taken = [sys.executable, "-c", "import typer, pydantic"], []
    for _ in range(8):
        taken.append((processor_seconds(command), processor_seconds(libraries)))
        seconds, importing = taken[-1]
        if seconds < max(limit, 2.5 * importing):
            return
    raise AssertionError(f"seconds, and those of the libraries: {taken}")


@pytest.fixture(scope="session", autouse=True)
def interruptible() -> None:
    """A shell that starts something in the background has it ignore SIGINT; the tests of Ctrl-C need it to arrive."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """`small_disk("size=64k")` is an empty disk of that size, which only root can make."""
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("only root can make a small disk")
    place = tmp_path / "disk"
    place.mkdir()
    mounts = 0

    def mount(options: str) -> Path:
        nonlocal mounts
        result = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", place], capture_output=True, text=True)
        if result.returncode:
            pytest.skip(f"no small disk can be made here: {result.stderr.strip()}")
        mounts += 1
        return place

    yield mount
    for _ in range(mounts):
        subprocess.run(["umount", "--lazy", place], check=True)
