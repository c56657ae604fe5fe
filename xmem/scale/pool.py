"""Workers of Ray: processes of so many cores each, and a GPU where there are any, on a cluster or on this machine.

A work is a generator, known by its name, and nothing but its arguments and what it yields goes between the processes:
what is worked on lies on a disk that all of them share. A worker that dies is replaced at the next work.
"""

from __future__ import annotations

import logging
import os
import secrets
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from importlib import import_module
from itertools import count
from random import choice
from typing import Any

from xmem.errors import InputError
from xmem.resources import ROOT

ENDED = "The process was ended that was at this: what is done is kept, and the next run goes on there."
BESIDE = 4  # short works at once in a worker, beside a long one
ATTEMPTS = 3  # workers that may die over a work, one after another, before it is given up
log = logging.getLogger("xmem")

_STORE_BYTES = 100_000_000  # of values on their way, on this machine; they are small
_OWN = ("XMEM_",)  # how variables of the environment begin that workers have to have as well


class WorkerDied(InputError):
    """The process is gone that was at a work: what it had saved is there, and the work may be asked for again."""


@dataclass(frozen=True)
class _Refused:
    """An InputError, which would come with the other process's traceback in its sentence."""

    sentence: str


def name_of(work: Callable[..., Any]) -> str:
    """The name of a work, by which another process finds it: "module:function"."""
    return f"{work.__module__}:{work.__qualname__}"


class Worker:
    """What is in each process."""

    def __init__(self, environment: dict[str, str], cores: int) -> None:
        os.environ.update(environment, OMP_NUM_THREADS=str(cores))
        if str(ROOT) not in sys.path:
            sys.path.append(str(ROOT))  # where the page is
        import torch

        torch.set_num_threads(cores)
        self._left: set[int] = set()

    def stream(self, number: int, work: str, arguments: tuple) -> Iterator[Any]:
        """The items of a work. number: no other has it."""
        module, name = work.split(":")
        try:
            with closing(getattr(import_module(module), name)(*arguments)) as items:
                for item in items:
                    yield item
                    if number in self._left:
                        break
        except InputError as error:
            yield _Refused(str(error))
        finally:
            self._left.discard(number)

    def leave(self, number: int) -> None:
        """Have the work of that number end after its next item."""
        self._left.add(number)


@dataclass
class _Place:
    """For a worker. worker: None before it is needed, and where it died."""

    worker: Any = None


class Pool:
    """The cluster that RAY_ADDRESS names, or one on this machine, which ends with it; use as a context manager.

    count: workers, which are begun as they are needed.
    """

    def __init__(self, workers: int | None = None, cores: int = 1, gpus: bool = True) -> None:
        """workers: None for as many as there is room for. cores: of each. gpus: whether each has one, where the
        cluster has any.

        Raises InputError where Ray is missing, and where there is no room.
        """
        self._ray = _begun()
        room = self._ray.cluster_resources()
        self._needs = {"num_cpus": cores, "num_gpus": int(gpus and room.get("GPU", 0) >= 1)}
        fits = int(room.get("CPU", 0)) // cores
        if self._needs["num_gpus"]:
            fits = min(fits, int(room["GPU"]))
        self.count = fits if workers is None else workers
        if not 1 <= self.count <= fits:
            self.close()
            raise InputError(
                f"There is room for {fits} workers of {cores} core{'s' if cores > 1 else ''}: ask for fewer, or for "
                "fewer cores of each."
            )
        self._places = [_Place() for _ in range(self.count)]
        self._free = deque(self._places)  # the last used last
        self._changed = threading.Condition()
        self._numbers = count(1)

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        """End workers, and the cluster where it is of this machine."""
        self._ray.shutdown()

    def stream(self, work: str, *arguments: Any) -> Generator[Any, None, None]:
        """Have a work (see `name_of`) done by the next worker that is free, which does no other meanwhile; yields its
        items as they come.

        Closed early, the work ends after its next item, and has ended when this returns. Raises InputError as the work
        does, WorkerDied, and what nobody foresaw, with the worker's traceback.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._free)
            place = self._free.pop()
        try:
            yield from self._items(place, "runs", work, arguments)
        finally:
            with self._changed:
                self._free.append(place)
                self._changed.notify()

    def beside(self, work: str, *arguments: Any) -> Generator[Any, None, None]:
        """As `stream`, for a short work: by a worker that may be at another, and that is there for others."""
        with self._changed:
            place = self._free[-1] if self._free else choice(self._places)
        yield from self._items(place, "beside", work, arguments)

    def everywhere(self, work: str, *arguments: Any) -> list[list[Any]]:
        """Have each worker do a short work, for which all begin; the items of each."""
        for place in self._places:
            self._worker(place)
        return [list(self._items(place, "beside", work, arguments)) for place in self._places]

    def _worker(self, place: _Place) -> Any:
        with self._changed:
            place.worker = place.worker or self._new()
            return place.worker

    def _items(self, place: _Place, group: str, work: str, arguments: tuple) -> Generator[Any, None, None]:
        worker, number = self._worker(place), next(self._numbers)
        kind = {"num_returns": "streaming", "concurrency_group": group}
        coming = worker.stream.options(**kind).remote(number, work, arguments)
        try:
            for reference in coming:
                item = self._ray.get(reference)
                if isinstance(item, _Refused):
                    raise InputError(item.sentence)
                yield item
        except GeneratorExit:
            worker.leave.remote(number)
            with suppress(self._ray.exceptions.RayActorError):
                for reference in coming:
                    self._ray.get(reference)
            raise
        except self._ray.exceptions.RayActorError as error:
            with self._changed:
                if place.worker is worker:
                    place.worker = None
            log.warning("A worker was ended: %s", error)
            raise WorkerDied(ENDED) from error

    def _new(self) -> Any:
        environment = {name: value for name, value in os.environ.items() if name.startswith(_OWN)}
        groups = {"runs": 1, "beside": BESIDE}  # `leave` is in neither, so that it is heard
        kind = self._ray.remote(concurrency_groups=groups, **self._needs)(Worker)
        return kind.remote(environment, self._needs["num_cpus"])


def _last_words(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]


def _begun() -> Any:
    """Ray's module, with a cluster. It tells nobody that it is used, and shows no page of its own."""
    is_named = bool(os.environ.get("RAY_ADDRESS"))
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    if not is_named:  # only who knows this word may give it work; else Ray would write one into the user's home
        os.environ.setdefault("RAY_AUTH_MODE", "token")
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    try:
        import ray
    except ModuleNotFoundError as error:
        raise InputError(
            "Workers need Ray: install this package with its extra 'ray' (pip install '.[ray]')."
        ) from error
    before = signal.getsignal(signal.SIGTERM)
    here: dict[str, Any] = {"address": "local", "object_store_memory": _STORE_BYTES, "include_dashboard": False}
    try:
        ray.init(log_to_driver=False, logging_level=logging.WARNING, **({} if is_named else here))
    except Exception as error:  # Ray's own are of no kind
        raise InputError(
            f"No cluster of workers could be {'reached' if is_named else 'begun'} ({_last_words(error)}): see "
            "docs/scale.md, or do without --workers."
        ) from error
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, before)  # which Ray takes for itself
    return ray
