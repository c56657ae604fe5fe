"""What is measured on: names, and the process's memory."""

from __future__ import annotations

import platform

import torch

from xmem.benchmark.arithmetic import measured_peak
from xmem.device import (
    PRECISIONS,
    allowed_cores,
    choose_precision,
    describe_device,
    is_native,
    peak_memory,
    precision_name,
    processor_name,
    select_device,
    used_memory,
)

NAMES = ("processor", "cores", "device", "torch")  # what must be the same for rows to stand side by side


def describe(device_name: str) -> dict:
    """Names of the machine, the precisions its device computes in natively, which of them "auto" is, and their measured
    peaks.

    Raises InputError for a device that is not there.
    """
    device = select_device(device_name)
    usable = [name for name in PRECISIONS if name != "auto" and is_native(name, device)]
    auto = precision_name(choose_precision("auto", device))
    return {
        "processor": processor_name(),
        "cores": allowed_cores(),
        "device": describe_device(device),
        "device_type": device.type,
        "device_bytes": torch.cuda.get_device_properties(device).total_memory if device.type == "cuda" else None,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "auto": auto,
        "precisions": usable,
        "peaks": {name: measured_peak(device, getattr(torch, name)) for name in usable},
    }


def process_bytes(device: torch.device) -> int | None:
    """Bytes of this process: resident now, or most allocated on a CUDA device so far; None where not told."""
    return peak_memory(device) if device.type == "cuda" else used_memory(device)
