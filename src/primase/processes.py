"""Several processes at one piece of work, as torchrun and accelerate launch start them: who this is, what all know.

Everything here is a few lines over torch.distributed; in a run of one process all of it does nothing and imports
nothing. Plain numbers and Python objects travel over gloo, also where the gradients travel over NCCL.
"""

import atexit
import os
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any, TypeVar

from primase.errors import LostProcessError, PrimaseError, RelayedError

Unit = TypeVar("Unit")
Outcome = TypeVar("Outcome")

LONGEST_WAIT = timedelta(days=7)
"""Others wait while the main process prepares a genome. A process that dies is noticed at once, by its connection."""

RENDEZVOUS_WAIT = timedelta(minutes=10)

SECONDS_TO_LEAVE = 5.0
"""The process that holds the store outlasts the others so long, for they ask it whether an error was told already."""

_LOST = re.compile(r"gloo|NCCL|Connection (closed|reset|refused)|Broken pipe|TCPStore|store->", re.IGNORECASE)
"""What torch says when the connection to another process broke; it has no type for it."""

_alone = 0
_store: Any = None
_exit_code: int | None = None


def count() -> int:
    """The number of processes at this work; 1 inside what the main process does alone."""
    return 1 if _alone else _environment("WORLD_SIZE", 1)


def rank() -> int:
    """The number of this process, from 0."""
    return _environment("RANK", 0) if count() > 1 else 0


def is_main() -> bool:
    """Whether this is the process that prints and writes."""
    return rank() == 0


def start() -> None:
    """Join the others, once, and take a share of the processor's cores. Nothing to do in a run of one process.

    Raises PrimaseError where WORLD_SIZE was set by something that is no launcher, or where the others do not come.
    """
    global _store
    if count() == 1 or _store is not None:
        return
    missing = [name for name in ("RANK", "MASTER_ADDR", "MASTER_PORT") if not os.environ.get(name)]
    if missing:
        raise PrimaseError(
            f"WORLD_SIZE is {count()} but {missing[0]} is not set: start several processes with torchrun or "
            "accelerate launch, or unset WORLD_SIZE"
        )
    import torch
    from torch import distributed

    from primase import hardware  # torch, which the help of a command does without

    hardware.share_cores()
    if torch.cuda.is_available():
        torch.cuda.set_device(_environment("LOCAL_RANK", 0) % torch.cuda.device_count())
    try:
        store, own_rank, size = next(distributed.rendezvous("env://", timeout=RENDEZVOUS_WAIT))
        # torchrun's store outlives the processes that it starts again, and still has the addresses of the dead.
        store = distributed.PrefixStore(f"attempt{os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}", store)
        if not distributed.is_initialized():
            distributed.init_process_group(
                "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo",
                store=distributed.PrefixStore("group", store),
                rank=own_rank,
                world_size=size,
                timeout=LONGEST_WAIT,
            )
    except (RuntimeError, OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise PrimaseError(
            f"the {count()} processes did not find each other ({reason}); see docs/scaling.md"
        ) from error
    _store = distributed.PrefixStore("primase", store)
    atexit.register(_end)  # runs after all that is registered from here on, as the trackers of a run


def leave(exit_code: int | None = None) -> None:
    """Close the connections, in order, at the end of a run, good or bad; None: the process goes on to other things."""
    global _store, _exit_code
    if _store is None:
        return
    _exit_code = exit_code
    from torch import distributed

    with suppress(RuntimeError):  # the store is gone where the process that held it was killed
        _store.add("left", 1)
        holds_store = is_main() and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True"
        until = time.monotonic() + SECONDS_TO_LEAVE
        while holds_store and _store.add("left", 0) < count() and time.monotonic() < until:
            time.sleep(0.02)
    _store = None
    distributed.destroy_process_group()


def _end() -> None:
    """End the process before the interpreter takes itself apart.

    torch does not give up a group once DistributedDataParallel has used it, and its threads live on: one of them that
    needs the interpreter just then aborts the process, and the launcher takes a finished run for a failed one.
    """
    if _exit_code is not None:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(_exit_code)


def is_first_to_tell() -> bool:
    """Whether no other process has told of an error yet: of many that fail alike, one writes the line."""
    if _store is None:
        return is_main()
    try:
        return _store.add("told", 1) == 1
    except RuntimeError:  # the store went away with the process that held it
        return True


@contextmanager
def noticing_losses() -> Iterator[None]:
    """Raises LostProcessError in place of torch's error where another process is gone."""
    try:
        yield
    except PrimaseError:
        raise
    except RuntimeError as error:
        if _store is None or not _LOST.search(str(error)):
            raise
        reason = " ".join(str(error).splitlines()[0].split())[:200]
        raise LostProcessError(
            f"process {rank()} of {count()} lost another one, which has died or cannot be reached ({reason}); start "
            "the command again: training goes on from its last checkpoint with primase pretrain --resume RUN, or by "
            "itself under torchrun --max-restarts with --resume-if-begun"
        ) from error


@contextmanager
def alone() -> Iterator[None]:
    """Inside, this process counts as the only one: what it calls there waits for nobody."""
    global _alone
    _alone += 1
    try:
        yield
    finally:
        _alone -= 1


def by_main(work: Callable[[], Outcome]) -> Outcome:
    """The outcome of `work`, which the main process does while the others wait, in every process.

    What it raises is raised in all: in the others as RelayedError, for one line is enough.
    """
    if count() == 1:
        return work()
    outcome: Any = None
    error: Exception | None = None
    if is_main():
        try:
            with alone():
                outcome = work()
        except Exception as raised:
            error = raised
    outcome, failure = _from_main((outcome, None) if error is None else (None, str(error)))
    if error is not None:
        raise error
    if failure is not None:
        raise RelayedError(failure)
    return outcome


def _from_main(value: Any) -> Any:
    from torch import distributed

    box = [value if is_main() else None]
    distributed.broadcast_object_list(box, src=0)
    return box[0]


def gathered(value: Any) -> list[Any] | None:
    """The value of every process, by rank, in the main one; None in the others."""
    if count() == 1:
        return [value]
    from torch import distributed

    values = [None] * count() if is_main() else None
    distributed.gather_object(value, values, dst=0)
    return values


def total(*numbers: float) -> list[float]:
    """Each number added up over all processes, in fp64: exact for whole numbers up to 2**53."""
    return _reduced(numbers, "SUM")


def largest(number: int) -> int:
    return int(_reduced([number], "MAX")[0])


def _reduced(numbers: Iterable[float], how: str) -> list[float]:
    if count() == 1:
        return list(numbers)
    import torch
    from torch import distributed

    values = torch.tensor(list(numbers), dtype=torch.float64)
    distributed.all_reduce(values, op=getattr(distributed.ReduceOp, how))
    return values.tolist()


def shared(units: Iterable[Unit], compute: Callable[[Unit], Outcome]) -> Iterator[Outcome]:
    """`compute(unit)` of every unit, in order, in the main process; nothing in the others, which must iterate too.

    The processes take the units in turn. Each goes through `units` itself, so these must come cheaply and alike.
    """
    if count() == 1:
        yield from map(compute, units)
        return
    turn: list[Unit] = []
    for unit in units:
        turn.append(unit)
        if len(turn) == count():
            yield from _turn(turn, compute)
            turn = []
    if turn:
        yield from _turn(turn, compute)


def _turn(units: list[Unit], compute: Callable[[Unit], Outcome]) -> Iterator[Outcome]:
    outcome = compute(units[rank()]) if rank() < len(units) else None
    outcomes = gathered(outcome)
    if outcomes is not None:
        yield from outcomes[: len(units)]


def _environment(name: str, otherwise: int) -> int:
    try:
        return int(os.environ.get(name) or otherwise)
    except ValueError:
        raise PrimaseError(f"{name} is {os.environ[name]!r}, which is no number; unset it") from None
