"""Where Winograd's way is faster than a direct convolution: one machine's table, corrected by what this one does.

Processors differ: on an AMD EPYC (Zen 5), whose direct convolutions are twice as fast, gains were 0.6 to 0.8 of those
in the table; held to AVX2, they were as high or higher. So a few convolutions are timed once per machine, and what they
say is kept in the user's cache, so that a machine chooses the same way in every run. The time is the processor's, of
all threads: others at work on the machine change it by a few per cent, and the time on the wall by half.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import time
from bisect import bisect_right
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cache, partial
from pathlib import Path

import torch
from platformdirs import user_cache_path
from torch import nn

from xmem.device import processor_name
from xmem.networks.cpu.packed import use_packed
from xmem.networks.cpu.winograd import winograd_conv

# How many times as fast as oneDNN's direct convolution, measured on two cores of an AMD EPYC (Zen 4), float32, by
# positions (height x width): a row for C_in, a column for C_out. 120 x 216 stops at what fits the measurement: its
# last figure is that of half the input channels, and so is every larger one's.
CHANNELS_IN, CHANNELS_OUT = (64, 128, 256, 512, 1024), (64, 128, 256, 512)
MEASURED = {
    15 * 27: (
        (0.69, 0.83, 1.04, 1.12),
        (0.88, 0.85, 1.02, 1.12),
        (0.89, 1.03, 1.20, 1.43),
        (0.92, 1.09, 1.34, 1.32),
        (0.93, 1.12, 1.91, 2.09),
    ),
    30 * 54: (
        (0.65, 0.64, 0.76, 0.86),
        (0.74, 0.76, 0.96, 1.19),
        (0.71, 0.91, 1.21, 1.46),
        (0.75, 1.08, 1.49, 1.75),
        (0.94, 1.43, 2.19, 2.69),
    ),
    60 * 108: (
        (0.77, 0.88, 1.21, 1.34),
        (0.90, 1.20, 1.54, 1.73),
        (1.03, 1.38, 1.80, 1.91),
        (0.85, 1.27, 1.81, 2.19),
        (1.02, 1.57, 2.39, 2.95),
    ),
    120 * 216: (
        (0.75, 0.92, 1.17, 1.32),
        (0.86, 1.14, 1.49, 1.69),
        (0.92, 1.32, 1.81, 2.05),
        (1.03, 1.49, 2.04, 2.05),
    ),
}
LEAST_GAIN = 1.1
PROBES = {15 * 27: (512, 512), 30 * 54: (256, 256), 60 * 108: (128, 256), 120 * 216: (64, 128)}  # C_in, C_out
SHAPES = {15 * 27: (15, 27), 30 * 54: (30, 54), 60 * 108: (60, 108), 120 * 216: (120, 216)}  # height, width
REPEATS = 3  # after one that warms up
LEAST_CORRECTION, MOST_CORRECTION = 0.5, 1.25  # more is not believed of so few numbers


def gain(in_channels: int, out_channels: int, positions: int, corrections: Mapping[int, float] | None = None) -> float:
    """Expected gain over a direct convolution: the table's nearest smaller entry, times the correction of its size;
    0 for smaller ones."""
    row, column = bisect_right(CHANNELS_IN, in_channels) - 1, bisect_right(CHANNELS_OUT, out_channels) - 1
    sizes = [size for size in MEASURED if size <= positions]
    if not sizes or row < 0 or column < 0:
        return 0.0
    table = MEASURED[max(sizes)]
    return table[min(row, len(table) - 1)][column] * (corrections or {}).get(max(sizes), 1.0)


def corrections_here() -> dict[int, float]:
    """`corrections` for the threads that torch uses now."""
    return corrections(torch.get_num_threads())


@cache
def corrections(threads: int) -> dict[int, float]:
    """By size of the table, what its gains are to be multiplied with on this machine: measured, or as it was before.

    Processes that measure at the same time each keep theirs whole, the last one for good. Where the user's cache cannot
    be read or written, each process measures for itself.
    """
    path = _kept_at(threads)
    with suppress(OSError, ValueError, TypeError, KeyError):
        kept = json.loads(path.read_text())
        return {size: _believable(kept[str(size)]) for size in MEASURED}
    found = measured_corrections()
    with suppress(OSError):
        _keep(path, found)
    return found


def _kept_at(threads: int) -> Path:
    """A file for all that gains depend on."""
    what = ("against packed", processor_name(), torch.backends.cpu.get_cpu_capability(), threads, torch.__version__)
    digest = hashlib.sha256(json.dumps(what).encode()).hexdigest()[:16]
    return user_cache_path("xmem", appauthor=False) / f"winograd-{digest}.json"


def _keep(path: Path, found: dict[int, float]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix="winograd-") as folder:
        unfinished = Path(folder) / path.name
        unfinished.write_text(json.dumps(found))
        os.replace(unfinished, path)


def measured_corrections() -> dict[int, float]:
    """Times one layer of each size both ways, in turn: about a second of one core."""
    return {size: _believable(_measured_gain(size) / gain(*PROBES[size], size)) for size in MEASURED}


def _believable(correction: float) -> float:
    return min(max(float(correction), LEAST_CORRECTION), MOST_CORRECTION)


@torch.inference_mode()
def _measured_gain(size: int) -> float:
    (height, width), (in_channels, out_channels) = SHAPES[size], PROBES[size]
    image = torch.rand(1, in_channels, height, width).contiguous(memory_format=torch.channels_last)
    kernels = torch.rand(36, in_channels, out_channels)
    layer = use_packed(nn.Sequential(nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False)))
    direct, fast = partial(layer, image), partial(winograd_conv, image, kernels)
    seconds = [(_seconds(direct), _seconds(fast)) for _ in range(1 + REPEATS)][1:]
    return sum(pair[0] for pair in seconds) / max(sum(pair[1] for pair in seconds), 1e-6)


def _seconds(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began
