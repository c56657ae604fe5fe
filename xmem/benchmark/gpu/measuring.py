"""What the parts have in common: frames, networks, and times of ways that are compared in turns."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from itertools import cycle

import numpy as np
import torch

from xmem.benchmark import networks
from xmem.benchmark.clips import stand_in
from xmem.device import synchronise
from xmem.engine.propagator import Propagator
from xmem.networks.xmem import XMem

_PICTURES = 8


def network(name: str, device: str, precision: str) -> XMem:
    """A network that is ready: of random weights where released ones are not at hand."""
    model = networks.load(name, device, precision)[0]
    assert isinstance(model, XMem)  # whose variants are measured
    return model


def pictures(size: int) -> list[np.ndarray]:
    """A textured picture that drifts: uint8 [size, W, 3] each."""
    width = 2 * round(size * 8 / 9)
    ground = np.random.default_rng(0).integers(0, 255, (size + _PICTURES, width + _PICTURES, 3), np.uint8)
    return [np.ascontiguousarray(ground[i : i + size, i : i + width]) for i in range(_PICTURES)]


def begun(model: XMem, size: int, objects: int) -> Propagator:
    """A propagator behind its first frame."""
    engine, image = Propagator(model), pictures(size)[0]
    engine.step(image, stand_in(image.shape[1], size, objects))
    return engine


def endless(size: int) -> Iterator[np.ndarray]:
    """`pictures` to and fro."""
    own = pictures(size)
    return cycle([*own, *own[-2:0:-1]])


def in_turns(
    ways: Mapping[str, Callable[[], object]], device: torch.device, block: int, rounds: int
) -> dict[str, dict[str, float]]:
    """Milliseconds of a call of each way: the median block's, and of the host alone, which hands work over and waits
    for nothing. Blocks of the ways alternate, so that what else happens meets all of them; a first one warms up."""
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for number in range(1 + rounds):
        for name, way in ways.items():
            synchronise(device)
            began = time.perf_counter()
            for _ in range(block):
                way()
            handed_over = time.perf_counter()
            synchronise(device)
            if number:
                found[name].append((time.perf_counter() - began, handed_over - began))
    return {
        name: {
            "ms": 1e3 * statistics.median(whole for whole, _ in times) / block,
            "host_ms": 1e3 * statistics.median(host for _, host in times) / block,
        }
        for name, times in found.items()
    }
