"""Between the host and the device: what goes up and what comes back, neither of which a CUDA device is waited for.

Only pinned memory is copied to and from while the host goes on. On any other device these are plain calls.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from xmem.video import Frame

Fetched = Callable[[], np.ndarray]


def pinned(shape: tuple[int, ...] | torch.Size, dtype: torch.dtype) -> Tensor:
    """An empty tensor on the host in memory that a CUDA device copies by itself."""
    return torch.empty(shape, dtype=dtype, pin_memory=True)


def upload(array: np.ndarray, device: torch.device) -> Tensor:
    """The array as it is, bytes and not floats; on a CUDA device from pinned memory, to which it is copied unless it
    lies there (see `brought_near`)."""
    tensor = torch.from_numpy(np.ascontiguousarray(array))
    if device.type != "cuda":
        return tensor.to(device)
    near = tensor if tensor.is_pinned() else pinned(tensor.shape, tensor.dtype).copy_(tensor)
    return near.to(device, non_blocking=True)


def room_near(device: torch.device) -> Callable[[tuple[int, ...]], np.ndarray] | None:
    """Makes room for a picture, uint8 of a shape, from where `upload` need not copy it first; None where all memory is
    alike."""
    return (lambda shape: pinned(shape, torch.uint8).numpy()) if device.type == "cuda" else None


def near(array: np.ndarray, device: torch.device) -> np.ndarray:
    """The same array where `upload` need not copy it first: for a thread that has the time."""
    if device.type != "cuda":
        return array
    copy = torch.from_numpy(np.ascontiguousarray(array))
    if copy.is_pinned():
        return array
    return pinned(copy.shape, copy.dtype).copy_(copy).numpy()


def brought_near(frames: Iterable[Frame], device: torch.device) -> Iterator[Frame]:
    """The same frames, their images `near` the device; closing this closes `frames` where it can be closed."""
    try:
        for frame in frames:
            yield frame if device.type != "cuda" else replace(frame, image=near(frame.image, device))
    finally:
        if hasattr(frames, "close"):
            frames.close()


def fetch(tensor: Tensor) -> Fetched:
    """Start to copy a tensor from its device; the function returned waits for the copy and gives it as an array.

    So the caller can hand a GPU its next frame before the last one's result has arrived. On a CPU nothing is copied.
    """
    if tensor.device.type != "cuda":
        array = tensor.cpu().numpy()
        return lambda: array
    copy = pinned(tensor.shape, tensor.dtype)
    copy.copy_(tensor, non_blocking=True)
    arrived = torch.cuda.current_stream(tensor.device).record_event()

    def wait() -> np.ndarray:
        arrived.synchronize()
        return copy.numpy()

    return wait


def at_hand(array: np.ndarray) -> Fetched:
    """An array that needs not be fetched."""
    return lambda: array
