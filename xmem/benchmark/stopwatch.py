"""Seconds by part of the work, by wrapping the methods of the very objects that do it."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch

from xmem.device import synchronise


class Stopwatch:
    """Adds up seconds by name. On a GPU each part waits for the device, so that its time is its own."""

    def __init__(self, device: torch.device):
        self._device = device
        self._wrapped: list[tuple[object, str]] = []
        self.seconds: dict[str, float] = defaultdict(float)

    def run(self, name: str, function: Callable, *arguments: Any) -> Any:
        """function(*arguments), its seconds added to `name`."""
        synchronise(self._device)
        began = time.perf_counter()
        result = function(*arguments)
        synchronise(self._device)
        self.seconds[name] += time.perf_counter() - began
        return result

    def wrap(self, owner: object, method: str, name: str) -> None:
        """Time every call of a method of this one object, until `unwrap`."""
        plain = getattr(owner, method)

        def timed(*arguments: Any, **named: Any) -> Any:
            return self.run(name, lambda: plain(*arguments, **named))

        setattr(owner, method, timed)
        self._wrapped.append((owner, method))

    def unwrap(self) -> None:
        """Leave all objects as they were."""
        for owner, method in self._wrapped:
            delattr(owner, method)
        self._wrapped.clear()
