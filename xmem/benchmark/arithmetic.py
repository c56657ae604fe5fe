"""How much arithmetic a frame takes, and how much the machine can do per second."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from functools import partial

import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from xmem.device import synchronise
from xmem.networks import padding_to_stride
from xmem.networks.xmem import ModelSizes, XMem

REPEATS = 4
MATRIX_SIDES = {"cpu": (1024, 2048), "mps": (2048, 4096), "cuda": (4096, 8192)}
CONVOLUTIONS = ((512, 1), (512, 3))  # channels, kernel
POSITIONS = (30, 54)  # of the convolutions: a 480-pixel video's at stride 16


def frame_gflop(sizes: ModelSizes, height: int, width: int, objects: int, mem_every: int) -> float:
    """Giga-operations of the networks for an average frame, by direct convolution; a multiplication and an addition are
    two. height, width: of the frame in pixels.

    The plain network is counted without computing anything, whatever is saved when it really runs.
    """
    left, right, top, bottom = padding_to_stride(height, width)
    height, width = height + top + bottom, width + left + right
    h, w = height // 16, width // 16
    with torch.device("meta"):
        model = XMem(sizes).eval()
        image = torch.empty(1, 3, height, width)
        masks = torch.empty(1, objects, height, width)
        readout = torch.empty(1, objects, sizes.value_channels, h, w)
        sensory = torch.empty(1, objects, sizes.sensory_channels, h, w)
        features = model.encode_key(image)[3]
    key = count_gflop(lambda: model.encode_key(image))
    value = count_gflop(lambda: model.encode_value(image, features[0], masks, sensory, True))
    usual, on_memory_frame = (
        count_gflop(partial(model.decode, features, readout, sensory, update)) for update in (True, False)
    )
    return key + usual + (value + on_memory_frame - usual) / mem_every


def reading_gflop(sizes: ModelSizes, queries: int, elements: float, objects: int, top_k: int) -> float:
    """Giga-operations of one read: the similarity of all queries to all elements, and the sum of the k best values."""
    similarity = 2 * (2 * sizes.key_channels + 1) * queries * elements
    return (similarity + 2 * top_k * sizes.value_channels * queries * objects) / 1e9


def count_gflop(function: Callable[[], object]) -> float:
    """Giga-operations of the convolutions and matrix products that `function` calls."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        function()
    return counter.get_total_flops() / 1e9


def measured_peak(device: torch.device, dtype: torch.dtype) -> dict[str, float]:
    """Giga-operations per second, best of REPEATS, by what was computed: matrix products and convolutions."""
    speeds = {}
    with torch.inference_mode():
        for name, gflop, function in _loads(device, dtype):
            seconds = []
            for _ in range(1 + REPEATS):  # the first one warms up
                began = time.perf_counter()
                function()
                synchronise(device)
                seconds.append(time.perf_counter() - began)
            speeds[name] = gflop / min(seconds[1:])
    return speeds


def _loads(device: torch.device, dtype: torch.dtype) -> Iterator[tuple[str, float, Callable[[], object]]]:
    """Name, giga-operations and function of each load."""
    for side in MATRIX_SIDES[device.type]:
        a, b = (torch.rand((side, side), device=device, dtype=dtype) for _ in range(2))
        yield f"matrix product {side}", 2 * side**3 / 1e9, partial(torch.matmul, a, b)
    for channels, kernel in CONVOLUTIONS:
        image = torch.rand((1, channels, *POSITIONS), device=device, dtype=dtype)
        weight = torch.rand((channels, channels, kernel, kernel), device=device, dtype=dtype)
        image, weight = (part.contiguous(memory_format=torch.channels_last) for part in (image, weight))
        gflop = 2 * channels**2 * kernel**2 * math.prod(POSITIONS) / 1e9
        name = f"convolution {kernel}x{kernel}, {channels} channels"
        yield name, gflop, partial(F.conv2d, image, weight, padding=kernel // 2)
