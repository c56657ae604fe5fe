"""Whose turn it is: the runs of all visitors stand in a line for each device, and whoever waits is told for how long.

Not Gradio's queue: what waits there cannot be stopped, and is told nothing by us.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Iterator
from functools import cache

from demo.runs import models
from demo.runs.workers import WORKERS
from xmem.errors import InputError
from xmem.limits import limits
from xmem.session import TrackSettings

ENDING = "The server is about to start again: what is done is kept. Load this page again in a minute, and continue."
FULL = "Too many runs wait already: press Run again in a few minutes."
_REMEMBERED = 10  # runs whose seconds tell how long one takes


class Line:
    """The runs of this process, in the order in which they came; `at_once` of them go on on each device.

    waiting: how many of all may wait.
    """

    def __init__(self, at_once: int, waiting: int) -> None:
        self._at_once, self._room = at_once, waiting
        self._moved = threading.Condition()
        self._places: list[Place] = []
        self._took: deque[float] = deque(maxlen=_REMEMBERED)
        self._ends = False

    @contextlib.contextmanager
    def place(self, expected: float = 0.0, device: str = "") -> Iterator[Place]:
        """The next place, until the context ends. expected: seconds of the run, 0 where that is not known. device: that
        it will be on.

        Raises InputError where too many wait, or the server is about to end.
        """
        with self._moved:
            self._check_open()
            own = Place(self, expected, device)
            self._places.append(own)
            if own.ahead and sum(place.ahead > 0 for place in self._places) > self._room:
                self._places.remove(own)
                raise InputError(FULL)
        try:
            yield own
        finally:
            with self._moved:
                self._places.remove(own)
                if own.began is not None:
                    self._took.append(time.monotonic() - own.began)
                self._moved.notify_all()

    @property
    def ends(self) -> bool:
        """Whether the server is about to end: runs are to be left, and no other begins."""
        return self._ends

    def __len__(self) -> int:
        """Runs that wait or go on."""
        return len(self._places)

    def end(self, wait_seconds: float) -> bool:
        """Let no other run begin, and wait until all have left. Returns whether they have."""
        with self._moved:
            self._ends = True
            self._moved.notify_all()
            return self._moved.wait_for(lambda: not self._places, wait_seconds)

    def _check_open(self) -> None:
        if self._ends:
            raise InputError(ENDING)

    def _usual(self) -> float | None:
        return sum(self._took) / len(self._took) if self._took else None


class Place:
    """Of one run in a line. began: when its turn came, on the monotonic clock; None before."""

    def __init__(self, line: Line, expected: float, device: str) -> None:
        self._line, self._left, self._said, self._device = line, expected or None, time.monotonic(), device
        self.began: float | None = None

    def wait(self, seconds: float) -> bool:
        """Wait for the turn, at most that long; returns whether it came. Raises InputError where the server ends."""
        line = self._line
        with line._moved:
            came = line._moved.wait_for(lambda: line.ends or not self.ahead, seconds)
            line._check_open()
            if came:
                self.began = time.monotonic()
            return came

    def tell(self, seconds_left: float | None) -> None:
        """How long the run will still take, for those behind it."""
        self._left, self._said = seconds_left, time.monotonic()

    @property
    def ahead(self) -> int:
        """Runs that have to end before this one begins; 0 = it is its turn."""
        return max(0, len(self._before()) + 1 - self._line._at_once)

    @property
    def seconds(self) -> float | None:
        """Expected until its turn; None where nobody knows."""
        with self._line._moved:
            left = [place._seconds_left() for place in self._before()]
        if any(each is None for each in left):
            return None
        return sum(each for each in left if each is not None) / self._line._at_once

    def _before(self) -> list[Place]:
        """Those on the same device that came before."""
        places = self._line._places
        return [place for place in places[: places.index(self)] if place._device == self._device]

    def _seconds_left(self) -> float | None:
        known = self._line._usual() if self._left is None else self._left
        if known is None:
            return None
        since = self._said if self._left is not None else self.began
        gone = 0.0 if self.began is None or since is None else time.monotonic() - since
        return max(0.0, known - gone)


def device_of(settings: TrackSettings) -> str:
    """In whose line a run with these settings stands. Where workers are, a run's device is theirs: all stand in one."""
    if WORKERS.count:
        return ""
    return models.device_choices()[0][1] if settings.device == "auto" else settings.device


@cache
def line() -> Line:
    """That of this process; as many runs go on at once as there are workers, where there are any."""
    return Line(WORKERS.count or limits().runs_at_once, limits().runs_waiting)
