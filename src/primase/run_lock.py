"""run.lock: one process at a time trains into a run folder.

The lock is the operating system's (flock) and dies with the process that holds it, so a killed run leaves no lock
behind, only the file. What stands in the file, host and process, is for the message. On file systems that have no flock
the file itself is the lock: it counts while its process lives, which can be known on its own host alone.
"""

import errno
import fcntl
import json
import os
import socket
import time
from contextlib import suppress
from pathlib import Path

from primase.errors import RunInUseError

LOCK_FILE = "run.lock"

_WITHOUT_FLOCK = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}


class RunLock:
    """Holds run folders until it is closed; `with RunLock() as lock: lock.take(folder)`."""

    def __init__(self) -> None:
        self._held: list[tuple[int, Path]] = []

    def __enter__(self) -> "RunLock":
        return self

    def __exit__(self, *_: object) -> None:
        for descriptor, file in reversed(self._held):
            if _is_open_file(descriptor, file):  # the folder may be another one by now
                file.unlink(missing_ok=True)
            os.close(descriptor)
        self._held.clear()

    def take(self, folder: Path) -> None:
        """Raises RunInUseError, with host and process, where somebody else holds `folder`; OSError where nothing can
        be written there.
        """
        file = folder / LOCK_FILE
        while True:
            descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o644)
            try:
                _lock(descriptor, file)
                if _is_open_file(descriptor, file):  # not the one that its last holder has just removed
                    break
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)
        self._held.append((descriptor, file))
        note = {"host": socket.gethostname(), "process": os.getpid(), "since": time.strftime("%Y-%m-%dT%H:%M:%S%z")}
        with suppress(OSError):  # a full disk: the lock holds without its note
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, (json.dumps(note) + "\n").encode(), 0)


def _is_open_file(descriptor: int, file: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), file.stat())
    except OSError:
        return False


def _lock(descriptor: int, file: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise RunInUseError(_refusal(file, _holder(descriptor))) from None
    except OSError as error:
        if error.errno not in _WITHOUT_FLOCK:
            raise
        holder = _holder(descriptor)
        if holder and _may_be_alive(holder):
            raise RunInUseError(
                f"{_refusal(file, holder)}; this file system has no locks, so if that process is gone, remove {file}"
            ) from None


def _holder(descriptor: int) -> dict:
    try:
        holder = json.loads(os.pread(descriptor, 4096, 0))
        return holder if isinstance(holder, dict) else {}
    except ValueError:  # not written yet
        return {}


def _refusal(file: Path, holder: dict) -> str:
    who = f"process {holder['process']} on {holder['host']} since {holder['since']}" if holder else "another process"
    return f"{file.parent}: {who} is training into this run; wait for it or stop it, or choose another output folder"


def _may_be_alive(holder: dict) -> bool:
    """Whether the process of the note may run still; of another host nothing can be known."""
    if holder.get("host") != socket.gethostname():
        return True
    try:
        os.kill(int(holder["process"]), 0)
    except ProcessLookupError:
        return False
    except (PermissionError, KeyError, ValueError):
        return True
    return int(holder["process"]) != os.getpid()
