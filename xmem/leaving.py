"""Work that is left once nobody waits for it: asked inside long loops that otherwise say nothing until their end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_ASK_SECONDS = 0.5
_asked: ContextVar[list | None] = ContextVar("asked", default=None)  # [who to ask, when that was done last]


@contextmanager
def while_wanted(check: Callable[[], object]) -> Iterator[None]:
    """Have work inside ask `check`, which raises where the work is to be left, every half second or so."""
    token = _asked.set([check, time.monotonic()])
    try:
        yield
    finally:
        _asked.reset(token)


def ask() -> None:
    """A place where work may be left. Raises what `while_wanted`'s check raises; without one it does nothing."""
    asked = _asked.get()
    if asked is None:
        return
    check, last = asked
    now = time.monotonic()
    if now - last >= _ASK_SECONDS:
        asked[1] = now
        check()
