"""The frames of a stranger's video, read by another process: see `xmem.video.isolated`."""

from __future__ import annotations

import math
import mmap
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from xmem.limits import check_frames, check_shape, shrinks
from xmem.video.colour import Colour, Room
from xmem.video.index import FrameIndex, info_of_table
from xmem.video.isolated import Conversation, shared
from xmem.video.probe import VideoInfo
from xmem.video.reader import Frame

SLOTS = 3  # pictures on their way: two are decoded while the caller works on one
_MAX_NAME = 255  # characters, as of a file
_BROKEN = (
    "{!r} broke off the program that reads videos, or takes more memory or time than allowed; convert it to H.264 MP4."
)


def _anywhere(shape: tuple[int, ...]) -> np.ndarray:
    return np.empty(shape, np.uint8)


@dataclass
class _Ticket:
    """A picture that was asked for, and the slot that it comes in. room: where it is wanted. answer: None where there
    is no such frame."""

    slot: int
    room: Room
    answer: Frame | None = None
    has_come: bool = False


class IsolatedFrames:
    """Frames by number (see `xmem.video.frames.Frames`), read by a process of their own, which is there while it is
    needed. Raises InputError where that breaks down or takes too long."""

    def __init__(self, path: Path, table: Mapping | None, most: int | None = None, beside: bool = False) -> None:
        self._path, self._table, self._most, self._beside = path, table, most, beside
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

    def frame(self, index: int, room: Room | None = None) -> Frame | None:
        return next(self._asked([{"frame": index}], room))

    def forward(self, first: int, last: int, room: Room | None = None) -> Iterator[Frame | None]:
        return self._asked(({"frame": index} for index in range(first, last + 1)), room)

    def backward(self, last: int, first: int, room: Room | None = None) -> Iterator[Frame]:
        self._there().ask({"backward": [last, first]})
        for frame in self._asked(({"next": True} for _ in range(first, last + 1)), room):
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
            self._reader = reader = _Reader(self._path, self._table, self._most, self._beside)
            self._known, self._count = reader.info, reader.count
            if self._table is None:
                self._table, self._table_count = reader.table, reader.count
        return self._reader

    def _asked(self, requests: Iterable[dict[str, Any]], room: Room | None) -> Iterator[Frame | None]:
        """The answers, of which a few are made ahead."""
        reader, waiting = self._there(), deque[_Ticket]()
        for request in requests:
            waiting.append(reader.ask_frame(request, room or _anywhere))
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

    info, count, table, time_base, colour, sample_aspect, start: as a FrameAccess tells them.
    """

    def __init__(self, path: Path, table: Mapping | None, most: int | None, beside: bool) -> None:
        self._path = path
        self._coming: deque[_Ticket] = deque()
        self._memory: mmap.mmap | None = None
        wanted = {"kind": "frames", "path": str(path), "table": table, "most": most}
        wanted |= {"shrinks": shrinks(), "beside": beside}
        size = path.stat().st_size if path.is_file() else 0
        self._other = Conversation(wanted, path.name, _BROKEN.format(path.name), size)
        try:
            self._begin(self._other.first)
        except BaseException:
            self.close()
            raise

    def _begin(self, about: dict[str, Any]) -> None:
        with self._other.trusting_nothing():
            self.info, self.count, self.table = self._checked(about["info"]), int(about["count"]), dict(about["table"])
            check_frames(self.count, self._path.name)
            self.time_base, self.start = Fraction(about["time_base"]), Fraction(about["start"])
            self.sample_aspect = Fraction(about["sample_aspect"])
            self.colour = Colour(*map(int, about["colour"]))
            self._share((self.info.height, self.info.width, 3))

    @property
    def is_closed(self) -> bool:
        return self._other.is_closed

    def described(self) -> tuple[VideoInfo, dict]:
        """What the file is by now, and the table that says so."""
        answer = self.ask({})
        with self._other.trusting_nothing():
            return self._checked(answer["info"]), dict(answer["table"])

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """The answer to what asks for no picture."""
        while self._coming:
            self._arrive()
        return self._other.ask(request)

    def ask_frame(self, request: dict[str, Any], room: Room) -> _Ticket:
        """Ask for a picture, without waiting for it."""
        while not self._free:
            self._arrive()
        ticket = _Ticket(self._free.pop(), room)
        self._other.send(request | {"at": ticket.slot * self._stride})
        self._coming.append(ticket)
        return ticket

    def wait_for(self, ticket: _Ticket) -> Frame | None:
        """The picture; None where there is none."""
        while not ticket.has_come:
            self._arrive()
        found, ticket.answer = ticket.answer, None
        return found

    def close(self) -> None:
        self._other.close()
        self._coming.clear()
        self._free = list(range(SLOTS))
        if self._memory is not None:
            self._memory.close()
            self._memory = None

    def _share(self, shape: tuple[int, int, int]) -> None:
        """Make memory for SLOTS pictures uint8 [H, W, 3]."""
        self._shape, self._free = shape, list(range(SLOTS))
        self._stride = -(-math.prod(shape) // mmap.PAGESIZE) * mmap.PAGESIZE
        with shared(SLOTS * self._stride) as (self._memory, descriptor):
            self._other.ask({"bytes": SLOTS * self._stride}, (descriptor,))

    def _arrive(self) -> None:
        """Take the next answer that brings a picture."""
        ticket = self._coming.popleft()
        answer = self._other.received()
        with self._other.trusting_nothing():
            self.count = min(self.count, int(answer["count"]))
            if "index" in answer:
                ticket.answer = self._frame(answer, ticket)
        ticket.has_come = True
        self._free.append(ticket.slot)

    def _frame(self, answer: dict[str, Any], ticket: _Ticket) -> Frame:
        if tuple(answer["shape"]) != self._shape:
            raise ValueError(f"a picture of {answer['shape']}")
        assert self._memory is not None
        index, time, duration = int(answer["index"]), Fraction(answer["time"]), Fraction(answer["duration"])
        pixels = np.frombuffer(self._memory, np.uint8, math.prod(self._shape), ticket.slot * self._stride)
        image = ticket.room(self._shape)
        image[:] = pixels.reshape(self._shape)  # where the other process may go on writing
        return Frame(image, index, time, duration, str(answer["name"])[:_MAX_NAME])

    def _checked(self, table: dict[str, Any]) -> VideoInfo:
        info = info_of_table(table)
        check_shape(info.width, info.height, f"The frames of {self._path.name!r} are")
        return info
