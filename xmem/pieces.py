"""How much of a frame's work is done at a time, told with each call: a network and its memories are shared, and keep
nothing of what one of their users can afford."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

T = TypeVar("T")


class Sharing(Protocol):
    """Two threads that share calls."""

    def share(self, call: Callable[[int, int], T], calls: int) -> list[T]:
        """call(i, thread) for each i below `calls`, in this order; thread: 0 or 1, the one that makes the call."""
        ...


@dataclass(frozen=True)
class Pieces:
    """Less at a time takes less memory, and more time; the numbers are the same.

    objects: whose masks are encoded or decoded together, None for all. distances: between queries and memory elements
    that are held at once, None for what suits the device. sharing: threads between which pieces are shared.
    """

    objects: int | None = None
    distances: int | None = None
    sharing: Sharing | None = None

    def make(self, call: Callable[[int, int], T], calls: int) -> list[T]:
        """call(i, thread) for each i below `calls`: shared, or one after the other (thread 0)."""
        if self.sharing:
            return self.sharing.share(call, calls)
        return [call(i, 0) for i in range(calls)]

    def of_objects(self, objects: int) -> list[slice]:
        """Which of so many objects are done together."""
        most = 1 if self.sharing else self.objects or objects
        return [slice(start, start + most) for start in range(0, objects, most)]


WHOLE = Pieces()
