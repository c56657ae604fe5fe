"""Workers of Ray, where the server was started with `--workers`: runs are made by them, on a disk that all share.

Each run has a worker to itself; what is short goes beside it, as on one machine. Without the option nothing is here:
what is wrapped is called as it is.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from demo.failures import as_values, raised
from demo.runs import zero
from xmem.errors import InputError
from xmem.scale.pool import Pool, name_of
from xmem.video.isolated import isolate

DEVICES = "demo.runs.models:devices"  # the work that finds out what a worker has


@dataclass(frozen=True)
class Device:
    """What a worker can compute with. label: for people; precision: that it computes in by itself."""

    label: str
    name: str
    precision: str


class Workers:
    """Those of this server, for all its visitors. devices: of each, the best first; empty where there are none."""

    def __init__(self) -> None:
        self.pool: Pool | None = None
        self.devices: list[Device] = []

    def begin(self, pool: Pool) -> None:
        """All of them begin, so that no visitor waits for that. Raises InputError."""
        self.pool = pool
        found = [raised(items[0]) for items in pool.everywhere(_NAME, DEVICES, ())]
        self.devices = found[0]

    def end(self) -> None:
        self.pool, self.devices = None, []

    @property
    def count(self) -> int:
        """Runs that they make at once; 0 where there are none."""
        return self.pool.count if self.pool else 0


WORKERS = Workers()


@contextmanager
def working(count: int | None, cores: int) -> Iterator[None]:
    """With so many workers of so many cores each; count: 1 for this process, None for as many as there is room for.

    Raises InputError where they cannot be had.
    """
    if count == 1:
        yield
        return
    if zero.is_lent():
        raise InputError("The GPU is lent by the call here: leave --workers out.")
    with Pool(count, cores) as pool:
        try:
            WORKERS.begin(pool)
            yield
        finally:
            WORKERS.end()


def by_worker(work: Callable[..., Iterator]) -> Callable[..., Iterator]:
    """A decorator for generators: where there are workers, they run in one of them, which does nothing else meanwhile.

    What is given and yielded is pickled: paths, numbers, bytes. Raises InputError as the generator does, `Logged`, and
    WorkerDied.
    """
    return _placed(work, lambda pool: pool.stream)


def beside(work: Callable[..., Iterator]) -> Callable[..., Iterator]:
    """As `by_worker`, for what is short: the worker may be at a run."""
    return _placed(work, lambda pool: pool.beside)


def _placed(work: Callable[..., Iterator], way: Callable[[Pool], Callable[..., Any]]) -> Callable[..., Iterator]:
    @functools.wraps(work)
    def placed(*arguments: Any) -> Iterator[Any]:
        if WORKERS.pool is None:
            return work(*arguments)
        return _raised(way(WORKERS.pool)(_NAME, name_of(work), arguments))

    return placed


def in_worker(work: str, arguments: tuple) -> Iterator[Any]:
    """The other side: what goes wrong comes as a value."""
    isolate()  # whatever visitors gave
    module, name = work.split(":")
    yield from as_values(getattr(import_module(module), name)(*arguments))


_NAME = name_of(in_worker)


def _raised(items: Any) -> Iterator[Any]:
    with closing(items):
        for item in items:
            yield raised(item)
