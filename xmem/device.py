"""Where the network runs, in which precision, and with how many threads."""

from __future__ import annotations

import logging
import math
import os
import platform
import re
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path

import cv2
import torch

from xmem.errors import InputError
from xmem.freed import keep_freed_memory

log = logging.getLogger("xmem")

DEVICES = ("auto", "cpu", "cuda", "mps")
PRECISIONS = ("auto", "float32", "float16", "bfloat16")
_OUT_OF_MEMORY = (
    *("out of memory", "can't allocate memory"),  # CUDA and MPS; a CPU
    *("ALLOC_FAILED", "DEVICE_ALLOCATION_FAILED", "CUBLAS_STATUS_NOT_INITIALIZED"),  # CUDA's libraries
    "unable to find an engine to execute this computation",  # cuDNN, of which none fits into what is left
)
_NATIVE_BFLOAT16 = ("avx512_bf16", "amx_bf16")  # instructions that multiply bfloat16 as such
_CONTAINER = Path("/sys/fs/cgroup")  # control groups, version 2
CPU_QUOTA = _CONTAINER / "cpu.max"  # "QUOTA PERIOD" or "max PERIOD"
_RESET_PEAK = "5"  # what Linux takes for: forget the highest resident size so far


def select_device(choice: str = "auto") -> torch.device:
    """The device that `choice` names: "cpu", "cuda", "mps", or "auto" for the first at hand of cuda, mps, cpu.

    Choosing the CPU also sets torch's thread count to the cores that this process may use; choosing CUDA lets cuDNN
    try its algorithms once for each shape; choosing any, OpenCV gets half of the cores, and freed memory is kept.
    Raises InputError for an unknown name and for a device that this machine does not have.
    """
    if choice not in DEVICES:
        raise InputError(f"'{choice}' is not a device: choose one of {', '.join(DEVICES)}.")
    at_hand: dict[str, Callable[[], bool]] = {
        "cuda": torch.cuda.is_available,
        "mps": torch.backends.mps.is_available,
        "cpu": lambda: True,
    }
    if choice == "auto":
        choice = next(name for name, is_available in at_hand.items() if is_available())
        log.info("Device chosen automatically: %s.", choice)
    elif not at_hand[choice]():
        raise InputError(
            f"This machine has no usable '{choice}' device: choose 'cpu', or 'auto' to take what there is."
        )
    if choice == "cpu":
        _use_allowed_cores()
    if choice == "cuda":
        torch.backends.cudnn.benchmark = True  # a clip's frames have one shape: trying the algorithms once pays
    _leave_cores_to_other_stages()
    keep_freed_memory()
    return torch.device(choice)


def choose_precision(choice: str, device: torch.device) -> torch.dtype:
    """The type of the network's weights and features that `choice` names on `device`.

    "auto" is float16 on CUDA, float32 on MPS, and on a CPU bfloat16 where it multiplies that natively, else float32.
    float32 on CUDA also turns TensorFloat-32 off for this process.
    Raises InputError for an unknown name and for a precision that the device cannot compute in.
    """
    if choice not in PRECISIONS:
        raise InputError(f"'{choice}' is not a precision: choose one of {', '.join(PRECISIONS)}.")
    if choice == "auto":
        on_cpu = "bfloat16" if multiplies_bfloat16() else "float32"
        choice = {"cuda": "float16", "cpu": on_cpu}.get(device.type, "float32")
        log.info("Precision chosen automatically: %s.", choice)
    if choice == "float16" and device.type == "cpu":
        raise InputError("A CPU does not compute in float16: choose float32, or 'auto'.")
    if choice == "bfloat16" and device.type == "cpu":
        if not convolves(torch.bfloat16):
            raise InputError("This CPU does not compute in bfloat16: choose float32, or 'auto'.")
        if not multiplies_bfloat16():
            log.info("This CPU has no instructions for bfloat16 and emulates them: float32 is likely to be faster.")
    if choice == "bfloat16" and device.type == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
        raise InputError("This GPU does not compute in bfloat16: choose float16 or float32, or 'auto'.")
    if choice == "float32" and device.type == "cuda":
        torch.backends.cudnn.allow_tf32 = False  # which would round products to 10 bits, by cuDNN's default
    return getattr(torch, choice)


def precision_name(dtype: torch.dtype) -> str:
    """The word of PRECISIONS for a type."""
    return str(dtype).removeprefix("torch.")


def multiplies_bfloat16() -> bool:
    """Whether the processor has instructions for it, which oneDNN uses; emulated, it would be slower than float32."""
    capabilities: dict[str, bool] = getattr(
        torch.cpu, "get_capabilities", dict
    )()  # older releases of torch do not tell
    return any(capabilities.get(name, False) for name in _NATIVE_BFLOAT16) and convolves(torch.bfloat16)


@cache
def convolves(dtype: torch.dtype) -> bool:
    """Whether oneDNN computes with that type on this CPU, found out by a convolution of a few numbers.

    What torch does without it takes 5 times (convolutions) to 60 times (matrix products) as long as in float32, on an
    AMD EPYC (Zen 4) held to AVX2. oneDNN keeps to ONEDNN_MAX_CPU_ISA; torch.cpu.get_capabilities does not.
    """
    image, weight = torch.ones((1, 16, 4, 4), dtype=dtype), torch.ones((16, 16, 1, 1), dtype=dtype)
    try:
        with torch.inference_mode():
            torch.mkldnn_convolution(image, weight, None, [0, 0], [1, 1], [1, 1], 1)
    except RuntimeError:
        return False
    return True


def is_native(precision: str, device: torch.device) -> bool:
    """Whether `device` computes in a precision of that name as such, so that it may pay."""
    try:
        choose_precision(precision, device)
    except InputError:
        return False
    return precision != "bfloat16" or device.type != "cpu" or multiplies_bfloat16()


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an operation failed for want of memory, on whatever device."""
    if isinstance(error, torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _OUT_OF_MEMORY)


def release_memory(device: torch.device) -> None:
    """Give back what is kept for reuse but not used now, so that larger pieces can be had."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()


def synchronise(device: torch.device) -> None:
    """Wait for what the device was given to do; a CPU has done it."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def describe_device(device: torch.device) -> str:
    """A few words for people: "NVIDIA H100 80GB HBM3 (CUDA)", "Apple GPU (MPS)", "CPU, 4 threads"."""
    if device.type == "cuda":
        return f"{torch.cuda.get_device_name(device)} (CUDA)"
    if device.type == "mps":
        return "Apple GPU (MPS)"
    threads = torch.get_num_threads()
    return f"CPU, {threads} thread{'s' if threads > 1 else ''}"


def processor_name() -> str:
    """The CPU's name for people."""
    try:
        found = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    except OSError:
        found = None
    return found[1].strip() if found else platform.processor() or platform.machine()


def allowed_cores() -> int:
    """CPU cores that this process may use: its affinity, and the quota of the container it runs in."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = CPU_QUOTA.read_text().split()
    except (OSError, ValueError):  # no container, or another system
        return cores
    return cores if quota == "max" else max(1, min(cores, math.ceil(int(quota) / int(period))))


def _use_allowed_cores() -> None:
    """torch counts the host's cores; in a container with a quota, so many threads only wait for each other."""
    if "OMP_NUM_THREADS" not in os.environ and torch.get_num_threads() > allowed_cores():
        torch.set_num_threads(allowed_cores())


def _leave_cores_to_other_stages() -> None:
    """OpenCV gets half of the cores: several stages of a video's way call it at once, and its threads spin while they
    wait, on two cores for a fifteenth of the processor time of a run."""
    cv2.setNumThreads(min(cv2.getNumThreads(), max(1, allowed_cores() // 2)))


def start_memory_count(device: torch.device) -> None:
    """Forget earlier peaks; where the system does not allow that, the count goes back to the start of the process."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    else:
        with suppress(OSError):  # another system, or not allowed
            Path("/proc/self/clear_refs").write_text(_RESET_PEAK)


def used_memory(device: torch.device) -> int | None:
    """Bytes in use now: allocated on a CUDA device, else resident of this process; None where not told."""
    return torch.cuda.memory_allocated(device) if device.type == "cuda" else _resident("VmRSS")


def peak_memory(device: torch.device) -> int | None:
    """Bytes at most in use: allocated on a CUDA device, else resident of this process; None where not told."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    found = _resident("VmHWM")  # Linux's own count: getrusage's would begin with the parent's
    if found is not None:
        return found
    try:
        import resource
    except ImportError:  # Windows
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def free_memory(device: torch.device) -> int | None:
    """Bytes that this process may still take on a device; None where the system does not tell."""
    if device.type == "cuda":
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + kept
    if device.type != "cpu":
        return None
    available = _kilobytes(Path("/proc/meminfo"), "MemAvailable")
    if available is None:
        return None
    try:  # a container's limit; pages of files that it has read can be given up
        limit, used = (int((_CONTAINER / name).read_text()) for name in ("memory.max", "memory.current"))
        files = re.search(r"inactive_file (\d+)", (_CONTAINER / "memory.stat").read_text())
    except (OSError, ValueError):  # none, or no limit ("max")
        return available
    return min(available, limit - used + (int(files[1]) if files else 0))


def _resident(name: str) -> int | None:
    return _kilobytes(Path("/proc/self/status"), name)


def _kilobytes(path: Path, name: str) -> int | None:
    """A size in bytes that Linux tells in a file of /proc; None elsewhere."""
    try:
        found = re.search(rf"{name}:\s+(\d+) kB", path.read_text())
    except OSError:
        return None
    return 1024 * int(found[1]) if found else None
