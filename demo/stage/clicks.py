"""Clicks on frames: pictures that are clicked on are held, a few of all visitors together, by session and frame."""

import threading
from collections import OrderedDict
from functools import cache
from typing import Any

import numpy as np

import xmem
from xmem.click import Held
from xmem.session import Session

MOST_HELD = 6  # pictures, of all visitors


class HeldFrames:
    """The pictures last clicked on, at most `capacity`; each is asked by one at a time."""

    def __init__(self, capacity: int = MOST_HELD):
        self._capacity = capacity
        self._held: OrderedDict[tuple[str, int], tuple[threading.Lock, list[Held]]] = OrderedDict()
        self._lock = threading.Lock()

    def ask(self, session: Session, frame: int, clicks: list, box: Any, previous: Any, quick: bool) -> np.ndarray:
        """The mask, bool [H, W], that clicks on a frame mean; see `xmem.click.Held.mask`."""
        key = (str(session.folder), frame)
        with self._lock:
            lock, kept = self._held.setdefault(key, (threading.Lock(), []))
            self._held.move_to_end(key)
            while len(self._held) > self._capacity:
                self._held.popitem(last=False)
        with lock:
            if not kept:
                kept.append(clicker().image(session.image(frame)))
            return kept[0].mask(clicks, box, previous, quick)


@cache
def clicker() -> xmem.Clicker:
    """The click network, loaded at the first click."""
    return xmem.Clicker()


HELD = HeldFrames()


def answer(
    session: Session,
    frame: int,
    clicks: list[tuple[float, float, bool]],
    box: tuple[float, float, float, float] | None = None,
    previous: np.ndarray | None = None,
    quick: bool = False,
) -> np.ndarray:
    """The mask, bool [H, W], that clicks on a frame of a session mean. Raises InputError."""
    if not 0 <= frame < session.frame_count:
        raise xmem.InputError(f"There is no frame {frame}: the video has {session.frame_count}, counted from 0.")
    return HELD.ask(session, frame, clicks, box, previous, quick)
