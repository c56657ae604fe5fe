"""Stages of a video's way that run beside one another, each in a thread: what is made ahead of the caller, and what is
done behind it.

    with Behind(3) as saving, closing(ahead(frames, 2)) as coming:
        for frame in coming:  # the next two are being read meanwhile
            saving.put(save, work(frame))  # and the last three saved

Everything goes in order and through bounded queues, so the result is that of plain calls, in the memory of a few
frames. The heavy parts of decoding, drawing and encoding release Python's lock. The network stays with the caller:
torch's inference mode holds for one thread only (a small network on a CPU has two threads of its own, see
`xmem.engine.halves`). An object with a file behind it is touched by one thread at a time: that of its stage until the
context is left, which waits for the thread, and then the caller again.

What it saves, on two cores of an AMD EPYC (Zen 4) with a video of 640x360: a network elsewhere that takes 10 ms a frame
and leaves the cores idle, 22.3 -> 12.3 ms a frame, 1.06 of what it takes alone. A network that keeps both cores busy
leaves nothing to save at 240 pixels, where times differed by less than they scattered, and 7 % at 360. Queues of one
frame were as fast as those of six.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from types import TracebackType
from typing import TypeVar, cast

Item = TypeVar("Item")
Result = TypeVar("Result")

_END = object()


def ahead(items: Iterable[Item], depth: int) -> Generator[Item, None, None]:
    """The same items in the same order, made by a thread: at most `depth` of them before they are asked for.

    Nothing is made before the first one is asked for. An error among the items comes where it happened, after the items
    before it. Closing this generator (use `contextlib.closing`) waits for the item that is being made, ends the thread,
    and then closes `items` where it can be closed.
    """
    iterator = iter(items)
    try:
        with _Threads("ahead") as thread:
            waiting = deque(thread.submit(next, iterator, _END) for _ in range(depth))
            try:
                while True:
                    waiting.append(thread.submit(next, iterator, _END))
                    item = waiting.popleft().result()
                    if item is _END:
                        return
                    yield cast(Item, item)
                    del item  # the caller may be done with it long before it asks for the next one
            finally:
                for future in waiting:
                    future.cancel()
    finally:
        if hasattr(iterator, "close"):
            iterator.close()


def with_upcoming(items: Iterable[Item], count: int) -> Generator[tuple[Item, list[Item]], None, None]:
    """Each item, and those up to `count` that come next. An error among the items comes where it happened."""
    iterator, error = iter(items), None
    held: deque[Item] = deque()
    is_open = True
    while True:
        while is_open and len(held) <= count:
            try:
                held.append(next(iterator))
            except StopIteration:
                is_open = False
            except Exception as raised:
                is_open, error = False, raised
        if not held:
            break
        yield held[0], list(islice(held, 1, None))
        held.popleft()
    if error is not None:
        raise error


class Behind:
    """Calls made by a thread, one after the other, while the caller goes on; use as a context manager.

    depth: calls that may wait or run; handing over one more waits for the oldest. A call may itself wait for the future
    of another stage's. threads: several make calls beside one another, which are begun in order and end in any.
    Calls are handed over by the caller alone, not by stages: when Python exits, threads finish what they have but take
    nothing more.
    Leaving the context waits until all calls that were handed over are made, also where an error or the closing of a
    generator leads out: what was begun is finished. A call that fails is the last that is begun. Its error comes at the
    next `put` or `flush`, or else on leaving the context, unless that is left by another error.
    """

    def __init__(self, depth: int, threads: int = 1) -> None:
        self._depth = depth
        self._waiting: deque[Future] = deque()
        self._error: BaseException | None = None
        self._threads = _Threads("behind", threads)

    def __enter__(self) -> Behind:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._threads.__exit__(kind, error, trace)
        if kind in (None, GeneratorExit):
            self.flush()

    def put(self, function: Callable[..., Result], *arguments: object) -> Future[Result]:
        """Have `function(*arguments)` called; its result, or its error, is in the future."""
        while self._waiting and (len(self._waiting) >= self._depth or self._waiting[0].done()):
            self._waiting.popleft().result()
        self._waiting.append(self._threads.submit(self._call, function, arguments))
        return self._waiting[-1]

    def flush(self) -> None:
        """Wait until all that was handed over is done. Raises the error of a call that failed, also where it was told
        before: others beside it may have come to their end."""
        while self._waiting:
            self._waiting.popleft().result()
        if self._error is not None:
            raise self._error

    def _call(self, function: Callable[..., Result], arguments: tuple) -> Result:
        if self._error is None:
            try:
                return function(*arguments)
            except BaseException as error:
                self._error = error
        raise self._error


class _Threads(ThreadPoolExecutor):
    """Threads that have ended when the context is left; what was submitted is done first."""

    def __init__(self, name: str, count: int = 1) -> None:
        super().__init__(count, name)

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            self.shutdown()
        except BaseException:  # Ctrl-C once more: drop what waits, but leave no thread at work on files being closed
            self.shutdown(cancel_futures=True)
            raise
