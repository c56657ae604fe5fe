"""A run in a thread, so that the page gets a sign of life at least every second, however slow a frame is."""

import contextlib
import contextvars
import queue
import threading
from collections.abc import Generator, Iterator
from typing import Any, TypeVar

HEARTBEAT_SECONDS = 0.7

T = TypeVar("T")


def follow(steps: Generator[T, None, Any], wait: bool = True, goes_on: bool = False) -> Iterator[T | None]:
    """Run a generator in a thread and yield its latest item at least every second (None before the first).

    Items in between may be skipped, the last one is not. Closing this iterator closes the generator after its next
    item; with `wait` its thread has ended before this returns, so that nothing writes into the run's folder after.
    goes_on: the generator goes on to its end without anybody who follows it.
    """
    arrived: queue.Queue[T] = queue.Queue()
    failure: list[BaseException] = []
    closed = threading.Event()

    def work() -> None:
        try:
            with contextlib.closing(steps):
                for item in steps:
                    if not closed.is_set():
                        arrived.put(item)
                    elif not goes_on:
                        return
        except BaseException as error:
            failure.append(error)

    # the context carries the request, which a Space's GPU decorator asks for
    thread = threading.Thread(target=contextvars.copy_context().run, args=(work,), name="run", daemon=True)
    thread.start()
    latest: T | None = None
    try:
        running = True
        while running:
            thread.join(HEARTBEAT_SECONDS)
            running = thread.is_alive()  # looked at first, so that the last item is seen
            latest = _newest(arrived, latest)
            yield latest
    finally:
        closed.set()
        if wait and not goes_on:
            thread.join()
    if failure:
        raise failure[0]


def _newest(arrived: queue.Queue[T], latest: T | None) -> T | None:
    while not arrived.empty():
        latest = arrived.get()
    return latest
