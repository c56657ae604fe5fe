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
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from importlib import import_module
from itertools import count
from queue import LifoQueue
from typing import Any

from xmem.errors import InputError
from xmem.resources import ROOT

ATTEMPTS = 3  # workers that may die over a work, one after another, before it is given up
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
        self._left = 0

    def stream(self, number: int, work: str, arguments: tuple) -> Iterator[Any]:
        """The items of a work. number: higher than that of any work before."""
        module, name = work.split(":")
        try:
            with closing(getattr(import_module(module), name)(*arguments)) as items:
                for item in items:
                    yield item
                    if self._left >= number:
                        return
        except InputError as error:
            yield _Refused(str(error))

    def leave(self, number: int) -> None:
        """Have the work of that number end after its next item."""
        self._left = number


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
        self._free: LifoQueue[Any] = LifoQueue()  # workers, the last used first; None for one that is to begin
        for _ in range(self.count):
            self._free.put(None)
        self._numbers = count(1)

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        """End workers, and the cluster where it is of this machine."""
        self._ray.shutdown()

    def stream(self, work: str, *arguments: Any) -> Generator[Any, None, None]:
        """Have a work (see `name_of`) done by the next worker that is free; yields its items as they come.

        Closed early, the work ends after its next item, and has ended when this returns. Raises InputError as the work
        does, WorkerDied, and what nobody foresaw, with the worker's traceback.
        """
        worker = self._free.get()
        try:
            worker = worker or self._new()
            yield from self._items(worker, work, arguments)
        except self._ray.exceptions.RayActorError as error:
            worker = None
            raise WorkerDied(f"The worker was ended that was at this: {_last_words(error)}") from error
        finally:
            self._free.put(worker)

    def _new(self) -> Any:
        environment = {name: value for name, value in os.environ.items() if name.startswith(_OWN)}
        kind = self._ray.remote(max_concurrency=2, **self._needs)(Worker)  # so that `leave` is heard during a work
        return kind.remote(environment, self._needs["num_cpus"])

    def _items(self, worker: Any, work: str, arguments: tuple) -> Generator[Any, None, None]:
        number = next(self._numbers)
        coming = worker.stream.options(num_returns="streaming").remote(number, work, arguments)
        try:
            for reference in coming:
                item = self._ray.get(reference)
                if isinstance(item, _Refused):
                    raise InputError(item.sentence)
                yield item
        except GeneratorExit:
            worker.leave.remote(number)
            for reference in coming:
                self._ray.get(reference)
            raise


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
