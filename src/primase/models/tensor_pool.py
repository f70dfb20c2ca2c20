"""Memory for the tensors of a training step on a processor: large blocks are kept and given out again, in large pages.

Installed where layers are compiled and where a model is loaded to compute in bf16, since it is C++ and built with what
torch.compile builds with. From then on it serves all tensors of the process. Elsewhere `hardware.keep_freed_memory`
does part of it.
"""

import ctypes
import sys
from pathlib import Path

import torch

_library: ctypes.CDLL | None = None


def install() -> None:
    """Build it, or find it built, and let torch take its memory from it; on Linux, once."""
    global _library
    if _library is not None or sys.platform != "linux":
        return
    from torch._inductor.codecache import CppCodeCache  # takes a second to import

    # Where it finds torch's allocator: torch.compile's builder links with nothing that it lies in.
    ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / "libc10.so"), ctypes.RTLD_GLOBAL)
    _library = CppCodeCache.load(Path(__file__).with_suffix(".cpp").read_text("utf-8"))
    _library.held_bytes.restype = ctypes.c_int64
    _library.install()


def held_bytes() -> int:
    """Bytes of the blocks in use and of those that wait for the next tensor; 0 where nothing is installed."""
    return 0 if _library is None else _library.held_bytes()
