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


def processor_seconds(command: list[str], attempts: int = 8, enough: float = 0.0) -> float:
    """The least time that a command took of the processor, of attempts until one needs no more than `enough`.

    A busy machine lengthens even this time, for its caches are shared; the least is the command's own.
    """

    def seconds() -> float:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        assert status == 0, command
        return usage.ru_utime + usage.ru_stime

    least = seconds()
    for _ in range(attempts - 1):
        if least <= enough:
            break
        least = min(least, seconds())
    return least


def help_seconds_allowed(limit: float) -> float:
    """`limit`, or 2.5 times what typer and pydantic take to import just now, where a busy machine makes that longer."""
    libraries = [sys.executable, "-c", "import typer, pydantic"]
    return max(limit, 2.5 * processor_seconds(libraries, attempts=4, enough=limit / 2.5))


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
