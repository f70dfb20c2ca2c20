"""What this machine can do: device, number formats, threads, and the speed of a matrix product."""

import ctypes
import os
import platform
import resource
import sys
import time

import torch

from primase.errors import RecipeError

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4
"""Parameters of glibc's mallopt (malloc.h)."""


def best_device() -> torch.device:
    if torch.cuda.is_available():
        return torch.device("cuda")
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def has_bf16(device: torch.device) -> bool:
    """Whether bf16 products run in hardware (a T4 emulates them, slowly; so does a CPU without AVX-512 BF16 or AMX)."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu":
        # Two instruction sets bring bf16 to x86; elsewhere torch has no question to ask, and fp32 is right anyway.
        return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return False


def resolve_precision(precision: str, device: torch.device) -> str:
    """bf16 or fp32 for `auto`; any other choice as it is. Raises RecipeError for fp16 on a CPU."""
    if precision == "fp16" and device.type == "cpu":
        raise RecipeError("training.precision is fp16, which needs a GPU; set training.precision=auto")
    if precision != "auto":
        return precision
    return "bf16" if has_bf16(device) else "fp32"


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def share_cores() -> None:
    """Compute on a fair share of the cores where a launcher started several processes on this machine.

    With all cores in each, the processes fight for them. OMP_NUM_THREADS is heeded,
    but not torchrun's own choice, which is 1 whatever the machine has.
    """
    processes = int(os.environ.get("LOCAL_WORLD_SIZE") or 1)
    chosen = os.environ.get("OMP_NUM_THREADS", "")
    if processes == 1 or (chosen and not (chosen == "1" and "TORCHELASTIC_RUN_ID" in os.environ)):
        return
    threads = max(1, cores() // processes)
    os.environ["OMP_NUM_THREADS"] = str(threads)  # accelerate would choose another number where none is set
    torch.set_num_threads(threads)


def keep_freed_memory(device: torch.device) -> None:
    """Let this process keep the memory that it frees, where it computes on a processor and the C library is glibc.

    glibc gives each large block back to the system at once, and the next one is handed out page by page, zeroed: for
    the activations of a training step, again and again (docs/speed-log.md has the figures).
    """
    if device.type == "cpu" and sys.platform == "linux" and platform.libc_ver()[0] == "glibc":
        c_library = ctypes.CDLL(None)
        c_library.mallopt(_M_MMAP_MAX, 0)
        c_library.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


def wait(device: torch.device) -> None:
    """Until what was asked of an accelerator is done: it works while the program goes on."""
    if device.type != "cpu":
        torch.accelerator.synchronize()


def matrix_product_flops(device: torch.device, precision: str, size: int = 2048, seconds: float = 0.5) -> float:
    """Measured floating-point operations a second of a square matrix product, the peak that `mfu` refers to."""
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision, torch.float32)
    left, right = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    durations: list[float] = []
    while sum(durations) < seconds:
        wait(device)
        begun = time.perf_counter()
        left @ right
        wait(device)
        durations.append(time.perf_counter() - begun)
    return 2 * size**3 / min(durations)


def peak_memory_bytes(device: torch.device) -> int:
    """Most memory held so far: of the GPU where one is used, of this process elsewhere."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024  # macOS counts bytes, Linux kibibytes
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def describe() -> dict[str, str | int]:
    """Hardware facts for environment.json."""
    device = best_device()
    facts: dict[str, str | int] = {
        "device": device.type,
        "processor": _processor_name(),
        "cores": os.cpu_count() or 1,
        "threads": torch.get_num_threads(),
        "platform": platform.platform(),
        "bf16_in_hardware": int(has_bf16(device)),
    }
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        facts |= {
            "gpu": properties.name,
            "gpu_memory_bytes": properties.total_memory,
            "gpus": torch.cuda.device_count(),
        }
    return facts


def _processor_name() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
