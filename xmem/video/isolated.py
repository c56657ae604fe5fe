"""Files that strangers gave are probed and decoded by another process, which can do little else and may break down.

`isolate` decides for a process whether it does so; the page does. See `xmem.video.worker` for the other side, and
`xmem.video.confinement` for what that has given up.
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
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from xmem import leaving
from xmem.errors import InputError
from xmem.limits import TooLong, check_frames, check_shape, limits
from xmem.video.colour import Colour
from xmem.video.index import FrameIndex, info_of_table
from xmem.video.probe import VideoInfo
from xmem.video.reader import Frame
from xmem.video.talk import BEGIN, END, NAME_BYTES, receive, send

_log = logging.getLogger("xmem")
SLOTS = 3  # pictures on their way: two are decoded while the caller works on one
SECONDS, SECONDS_PER_MEGABYTE = 20, 10  # of processor time for an answer: a whole file may have to be decoded for one
_LOOK_SECONDS = 0.5  # after which somebody is asked whether an answer is still wanted
_WAITING = 5  # times as long by the clock
_MAX_ANSWER = 256 << 20  # bytes
_MAX_NAME = 255  # characters, as of a file
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
            try:
                return _MODE.waiting.begin(name)
            except OSError:  # it was ended from outside
                _log.warning("The process that reads files has gone, and another one takes its place.")
                _MODE.waiting = None
    raise InputError("No process can be started that reads files: try again later.")


@dataclass
class _Ticket:
    """A picture that was asked for, and the slot that it comes in. answer: None where there is no such frame."""

    slot: int
    answer: Frame | None = None
    has_come: bool = False


class IsolatedFrames:
    """Frames by number (see `xmem.video.frames.Frames`), read by a process of their own, which is there while it is
    needed. Raises InputError where that breaks down or takes too long."""

    def __init__(self, path: Path, table: Mapping | None, most: int | None = None) -> None:
        self._path, self._table, self._most = path, table, most
        self._reader: _Reader | None = None
        known = FrameIndex.of_table(table, path) if table is not None and path.is_file() else None
        if known is None:
            self._table, self._table_count = None, -1
            self._there()
        else:  # nothing has to be read for it
            self._known, self._count, self._table_count = known.info, len(known), len(known)

    @property
    def info(self) -> VideoInfo:
        return self._known

    @property
    def time_base(self) -> Fraction:
        return self._there().time_base

    @property
    def colour(self) -> Colour:
        return self._there().colour

    @property
    def sample_aspect(self) -> Fraction:
        return self._there().sample_aspect

    @property
    def start(self) -> Fraction:
        return self._there().start

    def __len__(self) -> int:
        return self._count

    def table(self) -> dict:
        if self._table is None or self._table_count != self._count:  # damage came to light
            self._known, self._table = self._there().described()
            self._table_count = self._count
        return dict(self._table)

    def frame(self, index: int) -> Frame | None:
        return next(self._asked([{"frame": index}]))

    def forward(self, first: int, last: int) -> Iterator[Frame | None]:
        return self._asked({"frame": index} for index in range(first, last + 1))

    def backward(self, last: int, first: int) -> Iterator[Frame]:
        self._there().ask({"backward": [last, first]})
        for frame in self._asked({"next": True} for _ in range(first, last + 1)):
            if frame is None:
                return
            yield frame

    def close(self) -> None:
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    def __del__(self) -> None:
        if getattr(self, "_reader", None) is not None:
            self.close()

    def _there(self) -> _Reader:
        if self._reader is None or self._reader.is_closed:
            self._reader = reader = _Reader(self._path, self._table, self._most)
            self._known, self._count = reader.info, reader.count
            if self._table is None:
                self._table, self._table_count = reader.table, reader.count
        return self._reader

    def _asked(self, requests: Iterable[dict[str, Any]]) -> Iterator[Frame | None]:
        """The answers, of which a few are made ahead."""
        reader, waiting = self._there(), deque[_Ticket]()
        for request in requests:
            waiting.append(reader.ask_frame(request))
            if len(waiting) == SLOTS:
                yield self._taken(reader, waiting)
        while waiting:
            yield self._taken(reader, waiting)

    def _taken(self, reader: _Reader, waiting: deque[_Ticket]) -> Frame | None:
        ticket = waiting.popleft()
        found = reader.wait_for(ticket)
        self._count = reader.count
        return found


class _Reader:
    """The other process, and the memory that pictures come in. Several may ask by turns: answers come in order.

    info, count, table, time_base, colour, sample_aspect, start: as a FrameAccess tells them. What comes is not trusted.
    """

    def __init__(self, path: Path, table: Mapping | None, most: int | None) -> None:
        self._path = path
        self._name = secrets.token_bytes(NAME_BYTES)
        self._coming: deque[_Ticket] = deque()
        self._memory: mmap.mmap | None = None
        self._process = os.getpid()
        self._connection = _begun(self._name)
        size = path.stat().st_size if path.is_file() else 0
        seconds = SECONDS + SECONDS_PER_MEGABYTE * size / 1e6
        self._connection.settimeout(_WAITING * seconds)
        wanted: dict[str, Any] = {"path": str(path), "table": table, "most": most, "seconds": seconds}
        wanted["bytes"] = limits().reader_bytes
        try:
            self._begin(wanted)
        except BaseException:
            self.close()
            raise

    def _begin(self, wanted: dict[str, Any]) -> None:
        about = self._exchanged(wanted)
        with self._trusting_nothing():
            self.info, self.count, self.table = self._checked(about["info"]), int(about["count"]), dict(about["table"])
            check_frames(self.count, self._path.name)
            self.time_base, self.start = Fraction(about["time_base"]), Fraction(about["start"])
            self.sample_aspect = Fraction(about["sample_aspect"])
            self.colour = Colour(*map(int, about["colour"]))
            self._share((self.info.height, self.info.width, 3))

    @property
    def is_closed(self) -> bool:
        return self._connection.fileno() < 0

    def described(self) -> tuple[VideoInfo, dict]:
        """What the file is by now, and the table that says so."""
        answer = self.ask({})
        with self._trusting_nothing():
            return self._checked(answer["info"]), dict(answer["table"])

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """The answer to what asks for no picture."""
        while self._coming:
            self._arrive()
        return self._exchanged(request)

    def ask_frame(self, request: dict[str, Any]) -> _Ticket:
        """Ask for a picture, without waiting for it."""
        while not self._free:
            self._arrive()
        ticket = _Ticket(self._free.pop())
        self._send(request | {"at": ticket.slot * self._stride})
        self._coming.append(ticket)
        return ticket

    def wait_for(self, ticket: _Ticket) -> Frame | None:
        """The picture; None where there is none."""
        while not ticket.has_come:
            self._arrive()
        found, ticket.answer = ticket.answer, None
        return found

    def close(self) -> None:
        if self._process == os.getpid():  # a process that was forked may close its own copy alone
            with suppress(OSError):
                self._connection.shutdown(socket.SHUT_RDWR)
        self._connection.close()
        self._coming.clear()
        self._free = list(range(SLOTS))
        if self._memory is not None:
            self._memory.close()
            self._memory = None

    def _share(self, shape: tuple[int, int, int]) -> None:
        """Make memory for SLOTS pictures uint8 [H, W, 3], without a name and so without anything to leave behind."""
        self._shape, self._free = shape, list(range(SLOTS))
        self._stride = -(-math.prod(shape) // mmap.PAGESIZE) * mmap.PAGESIZE
        descriptor = os.memfd_create("frames")
        try:
            os.ftruncate(descriptor, SLOTS * self._stride)
            self._memory = mmap.mmap(descriptor, SLOTS * self._stride)
            self._exchanged({"bytes": SLOTS * self._stride}, (descriptor,))
        finally:
            os.close(descriptor)

    def _arrive(self) -> None:
        """Take the next answer that brings a picture."""
        ticket = self._coming.popleft()
        answer = self._received()
        with self._trusting_nothing():
            self.count = min(self.count, int(answer["count"]))
            if "index" in answer:
                ticket.answer = self._frame(answer, ticket.slot)
        ticket.has_come = True
        self._free.append(ticket.slot)

    def _frame(self, answer: dict[str, Any], slot: int) -> Frame:
        if tuple(answer["shape"]) != self._shape:
            raise ValueError(f"a picture of {answer['shape']}")
        assert self._memory is not None
        index, time, duration = int(answer["index"]), Fraction(answer["time"]), Fraction(answer["duration"])
        pixels = np.frombuffer(self._memory, np.uint8, math.prod(self._shape), slot * self._stride)
        image = pixels.reshape(self._shape).copy()  # the other process may go on writing
        return Frame(image, index, time, duration, str(answer["name"])[:_MAX_NAME])

    def _checked(self, table: dict[str, Any]) -> VideoInfo:
        info = info_of_table(table)
        check_shape(info.width, info.height, f"The frames of {self._path.name!r} are")
        return info

    def _exchanged(self, request: dict[str, Any], descriptors: tuple[int, ...] = ()) -> dict[str, Any]:
        self._send(request, descriptors)
        return self._received()

    def _send(self, request: dict[str, Any], descriptors: tuple[int, ...] = ()) -> None:
        try:
            send(self._connection, request, descriptors)
        except OSError as error:
            raise self._broken(error) from error

    def _received(self) -> dict[str, Any]:
        """An answer. Raises InputError where it is none, or says what is wrong with the file."""
        with self._trusting_nothing():
            self._wait()
            answer, _ = receive(self._connection, _MAX_ANSWER)
            for level, line in answer["said"]:
                _log.log(int(level), "%s", line)
            if "failed" in answer:
                raise ValueError(answer["failed"])
        if "by_time" in answer:
            raise TooLong(str(answer["error"]), bool(answer["by_time"]))
        if "error" in answer:
            raise InputError(str(answer["error"]))
        return answer

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

    @contextmanager
    def _trusting_nothing(self) -> Iterator[None]:
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

    def _broken(self, error: Exception) -> InputError:
        self.close()
        _log.warning("The process that read %s broke down or was ended: %r", self._path.name, error)
        return InputError(
            f"{self._path.name!r} broke off the program that reads videos, or takes more memory or time than allowed; "
            "convert it to H.264 MP4."
        )
