"""A small network on a CPU: half of the cores encode the next frames while the other half decode this one.

The layers of xmem-lite are too small to be shared well between cores, which wait for each other after each of them:
two cores take three quarters of one core's time for a frame at 480p, and no less than it at 240p. So each half does
layers of its own, and what it can take off the other's hands.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import cache, partial
from itertools import count
from queue import PriorityQueue
from typing import TypeVar

import torch

T = TypeVar("T")

FRAMES_AHEAD = 3  # so that a memory frame, which the first half is long busy with, leaves the other something to do


class Halves:
    """Two threads, each with half of torch's threads; the caller's own setting stays as it is."""

    def __init__(self, threads: int):
        own = threads // 2
        self._first, self._second = _thread("first", threads - own), _thread("second", own)
        self._waiting: PriorityQueue[tuple[bool, int, Future, Callable]] = PriorityQueue()
        self._order = count()
        for thread in (self._first, self._second):
            thread.submit(int).result()  # it has started
        torch.set_num_threads(threads)  # with which threads begin that are yet to come: the two have changed that

    def run(self, work: Callable[[], T]) -> T:
        """What `work` returns, done by the first thread."""
        return self._first.submit(_infer, work).result()

    def later(self, work: Callable[[], T]) -> Future[T]:
        """Have `work` done by the second thread when there is nothing to share; in the order given."""
        return self._give(work, True)

    def share(self, call: Callable[[int, int], T], calls: int) -> list[T]:
        """call(i, half) for each i below `calls`, in this order; for the first thread, which calls this.

        It (half 0) begins with the first of them, the second thread (half 1) with the last, as soon as it is free.
        """
        given = [self._give(partial(call, i, 1), False) for i in range(calls - 1, 0, -1)][::-1]
        try:
            results = [call(0, 0)]
            for i, future in enumerate(given, start=1):
                results.append(call(i, 0) if future.cancel() else future.result())
            return results
        finally:  # after an error, too, nothing is still being done
            wait([future for future in given if not future.cancel()])

    def _give(self, work: Callable[[], T], later: bool) -> Future[T]:
        future: Future[T] = Future()
        self._waiting.put((later, next(self._order), future, work))
        self._second.submit(self._take)
        return future

    def _take(self) -> None:
        """What comes first of all that the second thread was given."""
        _, _, future, work = self._waiting.get()
        if future.set_running_or_notify_cancel():
            try:
                future.set_result(_infer(work))
            except BaseException as error:
                future.set_exception(error)


def two_halves() -> Halves | None:
    """The two threads, which all propagators have in common; None where there is one core for both."""
    threads = torch.get_num_threads()
    return _halves(threads) if threads > 1 else None


_halves = cache(Halves)


def _thread(name: str, threads: int) -> ThreadPoolExecutor:
    def start() -> None:
        torch.set_num_threads(threads)
        torch.get_num_threads()  # a thread's first question sets its number to what any set last

    return ThreadPoolExecutor(1, name, start)


def _infer(work: Callable[[], T]) -> T:
    with torch.inference_mode():  # which holds for a thread
        return work()
