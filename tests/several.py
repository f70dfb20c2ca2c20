"""Several processes that work together, as a launcher would start them, without importing torch anew in each."""

import contextlib
import multiprocessing
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from queue import Empty
from typing import Any, NamedTuple

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["tests.preloaded"])


class Ended(NamedTuple):
    """How one process ended."""

    result: Any
    error: str | None
    """Class and message of what it raised."""
    printed: str
    """On stdout and stderr."""
    exit_code: int


def free_port() -> int:
    with socket.socket() as some:
        some.bind(("127.0.0.1", 0))
        return some.getsockname()[1]


def together(work: Callable[..., Any], *arguments: Any, processes: int = 2, seconds: float = 100) -> list[Ended]:
    """`work(*arguments)`, a function of a module, in so many processes that know of each other; the end of each."""
    port, queue = free_port(), _context.Queue()
    children = [
        _context.Process(target=_child, args=(queue, rank, processes, port, work, arguments))
        for rank in range(processes)
    ]
    for child in children:
        child.start()
    for child in children:
        child.join(seconds)
    alive = [child for child in children if child.is_alive()]
    for child in alive:
        child.kill()
        child.join()
    assert not alive, f"{len(alive)} of {processes} processes were still there after {seconds} s"
    ends = {}
    with contextlib.suppress(Empty):
        for _ in children:
            rank, *end = queue.get(timeout=1)
            ends[rank] = end
    return [Ended(*ends.get(rank, (None, None, "")), child.exitcode) for rank, child in enumerate(children)]


def results(ends: list[Ended]) -> list[Any]:
    """What all returned; none may have failed."""
    assert [end.error for end in ends] == [None] * len(ends), ends
    assert [end.exit_code for end in ends] == [0] * len(ends), ends
    return [end.result for end in ends]


def _child(queue: Any, rank: int, processes: int, port: int, work: Callable[..., Any], arguments: tuple) -> None:
    of_launcher = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": processes, "LOCAL_WORLD_SIZE": processes}
    of_launcher |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": 1}
    os.environ |= {name: str(value) for name, value in of_launcher.items()}
    import tempfile

    import torch

    from primase import hardware
    from primase import processes as ours

    torch.set_num_threads(1)
    hardware.matrix_product_flops = lambda device, precision: 1e11  # measuring takes longer than a tiny training
    result = error = None
    with tempfile.TemporaryFile("w+") as printed:
        os.dup2(printed.fileno(), 1)
        os.dup2(printed.fileno(), 2)
        sys.stdout = sys.stderr = open(os.dup(1), "w", buffering=1)  # noqa: SIM115
        try:
            result = work(*arguments)
        except SystemExit as status:
            result = status.code
        except Exception as raised:
            error = f"{type(raised).__name__}: {raised}"
        finally:
            ours.leave()
            printed.seek(0)
            queue.put((rank, result, error, printed.read()))
            queue.close()
            queue.join_thread()


def command_line(*arguments: str | Path) -> None:
    """`primase` with these arguments."""
    from primase.cli import main

    sys.argv = ["primase", *map(str, arguments)]
    main()
