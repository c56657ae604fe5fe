"""The process that reads strangers' files for `xmem.video.isolated`: one that waits, and a copy of it for each file.

The one that waits has a socket on which each message brings another, which leads to whoever wants a file read. The copy
answers on that; pictures go through a piece of memory that both share.
"""

from __future__ import annotations

import logging
import mmap
import os
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from xmem.errors import InputError
from xmem.limits import TooLong
from xmem.video import confinement
from xmem.video.frames import FileFrames, FolderFrames, Frames
from xmem.video.index import info_table
from xmem.video.reader import Frame
from xmem.video.talk import BEGIN, END, NAME_BYTES, receive, send

_MAX_REQUEST = 256 << 20
_MAX_SAID, _MAX_WORDS = 20, 500  # lines for the log with each answer, and characters in one


def main(control: socket.socket) -> None:
    """Wait for files to read, until nobody is left who could want one."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    children: dict[bytes, int] = {}
    while True:
        message, sockets, _, _ = socket.recv_fds(control, 1 + NAME_BYTES, 1)
        if not message:
            return
        for name in [name for name, child in children.items() if os.waitpid(child, os.WNOHANG)[0]]:
            del children[name]
        kind, name = message[:1], message[1:]
        if kind == END and name in children:
            os.kill(children[name], signal.SIGKILL)
        if kind == BEGIN and sockets:
            child = os.fork()
            if child == 0:
                control.close()
                try:
                    _serve(socket.socket(fileno=sockets[0]))
                finally:
                    os._exit(0)
            os.close(sockets[0])
            children[name] = child


def _serve(connection: socket.socket) -> None:
    """Read one file for whoever is at the other end, until they leave."""
    said = _Said()
    try:
        wanted, _ = receive(connection, _MAX_REQUEST)
        confinement.confine(wanted["bytes"])
        reading = _Reading(Path(wanted["path"]), wanted["table"], wanted["seconds"], wanted["most"])
        _answer(connection, said, reading.about)
        while True:
            request, descriptors = receive(connection, _MAX_REQUEST)
            if descriptors:
                request["descriptor"] = descriptors[0]
            _answer(connection, said, lambda request=request: reading.answer(request))
    except (EOFError, OSError):
        return


def _answer(connection: socket.socket, said: _Said, work: Any) -> None:
    """Send what `work` gives, or why it cannot."""
    try:
        found = work()
    except TooLong as error:
        found = {"error": str(error), "by_time": error.by_time}
    except InputError as error:
        found = {"error": str(error)}
    except Exception as error:  # whatever libraries run into, for lack of memory, say
        found = {"failed": f"{type(error).__name__}: {error}"[:_MAX_WORDS]}
    send(connection, found | {"said": said.taken()})


class _Reading:
    """One file, and the memory in which its pictures are handed over. seconds: of processor time for each answer."""

    def __init__(self, path: Path, table: dict | None, seconds: float, most: int | None) -> None:
        self._path, self._table, self._seconds, self._most = path, table, seconds, most
        self._frames: Frames | None = None
        self._backward: Iterator[Frame] = iter(())
        self._memory: np.ndarray | None = None  # uint8 [bytes]

    def about(self) -> dict[str, Any]:
        """All that a FrameAccess tells of a file."""
        confinement.allow_seconds(self._seconds)
        kind = FolderFrames if self._path.is_dir() else FileFrames
        self._frames = frames = kind(self._path, self._table, self._most)
        colour = frames.colour
        return {
            "info": info_table(frames.info),
            "table": frames.table(),
            "count": len(frames),
            "time_base": str(frames.time_base),
            "colour": [int(number) for number in (colour.matrix, colour.primaries, colour.transfer)],
            "sample_aspect": str(frames.sample_aspect),
            "start": str(frames.start),
        }

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        confinement.allow_seconds(self._seconds)
        assert self._frames is not None
        if "descriptor" in request:  # of the memory for pictures
            self._memory = np.frombuffer(mmap.mmap(request["descriptor"], request["bytes"]), np.uint8)
            os.close(request["descriptor"])
            return {}
        if "frame" in request:
            found = self._frames.frame(request["frame"])
        elif "backward" in request:
            self._backward = iter(self._frames.backward(*request["backward"]))
            return {}
        elif "next" in request:
            found = next(self._backward, None)
        else:
            return {"table": self._frames.table(), "info": info_table(self._frames.info)}
        return {"count": len(self._frames)} | ({} if found is None else self._handed(found, request["at"]))

    def _handed(self, frame: Frame, at: int) -> dict[str, Any]:
        pixels = frame.image.reshape(-1)
        assert self._memory is not None
        self._memory[at : at + len(pixels)] = pixels
        return {
            "index": frame.index,
            "time": str(frame.time),
            "duration": str(frame.duration),
            "name": frame.name,
            "shape": frame.image.shape,
        }


class _Said(logging.Handler):
    """What this process would log, for the log of whoever reads."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self._lines: list[tuple[int, str]] = []
        log = logging.getLogger("xmem")
        log.handlers, log.propagate = [self], False
        log.setLevel(logging.INFO)

    def emit(self, record: logging.LogRecord) -> None:
        if len(self._lines) < _MAX_SAID:
            self._lines.append((record.levelno, record.getMessage()[:_MAX_WORDS]))

    def taken(self) -> list[tuple[int, str]]:
        lines, self._lines = self._lines, []
        return lines


def begin() -> None:
    """The program: `sys.argv[1]` is the number of its socket."""
    main(socket.socket(fileno=int(sys.argv[1])))
