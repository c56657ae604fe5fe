"""Files that strangers gave are probed and decoded by another process, which can do little else and may break down.

`isolate` decides for a process whether it does so; the page does. A `Conversation` is with one such process: about the
frames of a video (`xmem.video.isolated_frames`), images (`xmem.video.stills`) or sound (`xmem.video.sound_source`). See
`xmem.video.worker` for the other side, and `xmem.video.confinement` for what that has given up.
"""

from __future__ import annotations

import logging
import math
import mmap
import os
import secrets
import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from xmem import leaving
from xmem.errors import InputError
from xmem.limits import TooLarge, TooLong, limits
from xmem.private import Private
from xmem.video.talk import BEGIN, END, NAME_BYTES, receive, send

_log = logging.getLogger("xmem")
SECONDS, SECONDS_PER_MEGABYTE = 20, 10  # of processor time for an answer: a whole file may have to be decoded for one
_LOOK_SECONDS = 0.5  # after which somebody is asked whether an answer is still wanted
_WAITING = 5  # times as long by the clock
_MAX_ANSWER = 256 << 20  # bytes
# Without the package's own beginning, which brings torch: this process is to be small, and copied for each file.
_PROGRAM = (
    "import sys, types; package = types.ModuleType('xmem'); package.__path__ = [sys.argv[2]]; "
    "sys.modules['xmem'] = package; from xmem.video.worker import begin; begin()"
)


class _Mode:
    """Of this process, which all its visitors share. waiting: the process that waits for files to read."""

    def __init__(self) -> None:
        self.is_on = False
        self.waiting: _Waiting | None = None
        self.lock = threading.Lock()

    def renew(self) -> None:
        """In a process that was forked, where another thread may have had the lock."""
        self.lock = threading.Lock()


_MODE = _Mode()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_MODE.renew)


def isolate(wanted: bool = True) -> None:
    """From now on, read files in a process of its own, or no longer. Elsewhere than on Linux the log says that it
    cannot be had."""
    possible = sys.platform == "linux"
    if wanted and not possible:
        _log.warning("Files are read in this process: on this system they cannot be read in one with less rights.")
    with _MODE.lock:
        if wanted and possible and not _MODE.is_on:
            from xmem.video.confinement import describe  # of which Windows lacks parts

            _log.info("%s", describe())
            _MODE.waiting = _Waiting()
        if not wanted and _MODE.waiting is not None:
            _MODE.waiting.close()
            _MODE.waiting = None
        _MODE.is_on = wanted and possible


def is_isolated() -> bool:
    """Whether this process has files read by another."""
    return _MODE.is_on


class _Waiting:
    """The process that waits for files to read, and the socket to it, of which processes that are forked from this one
    may make use as well: nothing comes back on it."""

    def __init__(self) -> None:
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._owner = os.getpid()
        package = str(Path(__file__).parents[1])
        few = {name: "1" for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS")}
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _PROGRAM, str(theirs.fileno()), package],
                env=os.environ | few,
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C is for this one, which may want to read on
            )

    def has_gone(self) -> bool:
        """Whether it was ended, as far as this process can tell: that which started it. The socket need not tell: a
        process that it left behind may hold the other end."""
        return os.getpid() == self._owner and self._process.poll() is not None

    def begin(self, name: bytes) -> socket.socket:
        """A socket to a fresh process. Raises OSError where the one that waits has gone."""
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                socket.send_fds(self._control, [BEGIN + name], [theirs.fileno()])
            except BaseException:
                ours.close()
                raise
        return ours

    def end(self, name: bytes) -> None:
        """End the reading of that name, whatever it is doing."""
        with suppress(OSError):
            self._control.send(END + name)

    def close(self) -> None:
        self._control.close()
        self._process.terminate()
        self._process.wait()


def _end(name: bytes) -> None:
    """Have the reading of that name ended."""
    with _MODE.lock:
        if _MODE.waiting is not None:
            _MODE.waiting.end(name)


def _begun(name: bytes) -> socket.socket:
    with _MODE.lock:
        for _ in range(2):
            if _MODE.waiting is None:
                _MODE.waiting = _Waiting()
            with suppress(OSError):  # where it was ended from outside
                if not _MODE.waiting.has_gone():
                    return _MODE.waiting.begin(name)
            _log.warning("The process that reads files has gone, and another one takes its place.")
            _MODE.waiting = None
    raise InputError("No process can be started that reads files: try again later.")


class Conversation:
    """With one process that reads for this one: a question, an answer. Nothing that it says is trusted.

    about: the "kind" of the reading and what that wants to know (see `xmem.video.worker`). what: a name for the log;
    broken: the sentence for people where the process breaks down, hangs or asks for too much. size: bytes of what is
    read, by which the processor time for an answer is bounded.
    """

    def __init__(self, about: dict[str, Any], what: str, broken: str, size: int) -> None:
        self.what, self.broken = what, broken
        self._name = secrets.token_bytes(NAME_BYTES)
        self._process = os.getpid()
        self._connection = _begun(self._name)
        seconds = SECONDS + SECONDS_PER_MEGABYTE * size / 1e6
        self._connection.settimeout(_WAITING * seconds)
        try:
            self.first = self.ask(about | {"seconds": seconds, "bytes": limits().reader_bytes})
        except BaseException:
            self.close()
            raise

    @property
    def is_closed(self) -> bool:
        return self._connection.fileno() < 0

    def ask(self, request: dict[str, Any], descriptors: tuple[int, ...] = ()) -> dict[str, Any]:
        """The answer to a request. Raises InputError where it is none, or says what is wrong with the file."""
        self.send(request, descriptors)
        return self.received()

    def send(self, request: dict[str, Any], descriptors: tuple[int, ...] = ()) -> None:
        """Ask, without waiting: answers come in order."""
        try:
            send(self._connection, request, descriptors)
        except OSError as error:
            raise self._broken(error) from error

    def received(self) -> dict[str, Any]:
        """The next answer; raises as `ask` does."""
        with self.trusting_nothing():
            self._wait()
            answer, _ = receive(self._connection, _MAX_ANSWER)
            for level, line, told in answer["said"]:
                _log.log(int(level), "%s", Private(line, str(told)))
            if "failed" in answer:
                raise ValueError(answer["failed"])
            too_large = TooLarge(str(answer["error"]), *map(int, answer["sides"])) if "sides" in answer else None
        if too_large is not None:
            raise too_large
        if "by_time" in answer:
            raise TooLong(str(answer["error"]), bool(answer["by_time"]))
        if "error" in answer:
            raise InputError(str(answer["error"]))
        return answer

    def close(self) -> None:
        """End it. Repeated calls do nothing."""
        if self._process == os.getpid():  # a process that was forked may close its own copy alone
            with suppress(OSError):
                self._connection.shutdown(socket.SHUT_RDWR)
        self._connection.close()

    @contextmanager
    def trusting_nothing(self) -> Iterator[None]:
        """The end of the other process, its silence, and whatever it makes of its answers become one sentence."""
        try:
            yield
        except InputError:
            raise
        except TimeoutError as error:
            _end(self._name)
            raise self._broken(error) from error
        except (EOFError, OSError, LookupError, TypeError, ValueError, ArithmeticError, AttributeError) as error:
            raise self._broken(error) from error

    def _wait(self) -> None:
        """Until an answer comes. Raises TimeoutError, or what `xmem.leaving` raises where nobody waits for it."""
        looking, allowed = select.poll(), self._connection.gettimeout()
        looking.register(self._connection, select.POLLIN)
        until = math.inf if allowed is None else time.monotonic() + allowed
        while not looking.poll(1000 * min(_LOOK_SECONDS, max(0, until - time.monotonic()))):
            if time.monotonic() >= until:
                raise TimeoutError
            try:
                leaving.ask()
            except BaseException:
                _end(self._name)
                raise

    def _broken(self, error: Exception) -> InputError:
        self.close()
        _log.warning(
            "The process that read %s broke down or was ended: %s",
            Private(self.what),
            Private(repr(error), type(error).__name__),
        )
        return InputError(self.broken)


@contextmanager
def shared(size: int) -> Iterator[tuple[mmap.mmap, int]]:
    """Memory of so many bytes, and a descriptor to hand over, which ends with the block: it has no name, and so leaves
    nothing behind."""
    descriptor = os.memfd_create("shared")
    try:
        os.ftruncate(descriptor, size)
        yield mmap.mmap(descriptor, size), descriptor
    finally:
        os.close(descriptor)
