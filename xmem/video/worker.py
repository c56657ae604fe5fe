"""The process that reads strangers' files for `xmem.video.isolated`: one that waits, and a copy of it for each file.

The one that waits has a socket on which each message brings another, which leads to whoever wants a file read. The copy
answers on that; pictures go through a piece of memory that both share.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

from PIL import Image

from xmem.errors import InputError
from xmem.freed import keep_freed_memory
from xmem.limits import TooLarge, TooLong
from xmem.private import message_without
from xmem.video import confinement
from xmem.video.readings import READINGS
from xmem.video.talk import BEGIN, END, NAME_BYTES, receive, send

_MAX_REQUEST = 256 << 20
_MAX_SAID, _MAX_WORDS = 20, 500  # lines for the log with each answer, and characters in one


def main(control: socket.socket) -> None:
    """Wait for files to read, until nobody is left who could want one."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    keep_freed_memory()
    children: dict[bytes, int] = {}
    spare = _Spare(control)
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
            if not spare.take(sockets[0]):  # somebody ended it
                spare = _Spare(control)
                spare.take(sockets[0])
            os.close(sockets[0])
            children[name] = spare.child
            spare = _Spare(control)


class _Spare:
    """The next process to read a file, which has given up its rights already: that takes longer than many a mask."""

    def __init__(self, control: socket.socket) -> None:
        self._line, theirs = socket.socketpair()
        self.child = os.fork()
        if self.child:
            theirs.close()
            return
        try:
            control.close()
            self._line.close()
            confinement.confine()
            _, sockets, _, _ = socket.recv_fds(theirs, 1, 1)
            if sockets:
                _serve(socket.socket(fileno=sockets[0]))
        finally:
            os._exit(0)

    def take(self, connection: int) -> bool:
        """Have it serve whoever is at the other end of a connection; whether it was there."""
        with self._line:
            try:
                socket.send_fds(self._line, [BEGIN], [connection])
            except OSError:
                return False
        return True


def _serve(connection: socket.socket) -> None:
    """Read for whoever is at the other end, until they leave."""
    said = _Said()
    try:
        wanted, _ = receive(connection, _MAX_REQUEST)
        confinement.bound_memory(wanted["bytes"])
        reading, seconds = READINGS[wanted["kind"]](wanted), wanted["seconds"]
        _answer(connection, said, seconds, reading.about)
        while True:
            request, descriptors = receive(connection, _MAX_REQUEST)
            if descriptors:
                request["descriptor"] = descriptors[0]
            _answer(connection, said, seconds, partial(reading.answer, request))
    except (EOFError, OSError):
        return


def _answer(connection: socket.socket, said: _Said, seconds: float, work: Callable[[], dict[str, Any]]) -> None:
    """Send what `work` gives in so many seconds of processor time, or why it cannot."""
    try:
        confinement.allow_seconds(seconds)
        found = work()
    except TooLong as error:
        found = {"error": str(error), "by_time": error.by_time}
    except TooLarge as error:
        found = {"error": str(error), "sides": [error.width, error.height]}
    except InputError as error:
        found = {"error": str(error)}
    except Exception as error:  # whatever libraries run into, for lack of memory, say
        found = {"failed": f"{type(error).__name__}: {error}"[:_MAX_WORDS]}
    send(connection, found | {"said": said.taken()})


class _Said(logging.Handler):
    """What this process would log, for the log of whoever reads: level, message, and that without what is private."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self._lines: list[tuple[int, str, str]] = []
        log = logging.getLogger("xmem")
        log.handlers, log.propagate = [self], False
        log.setLevel(logging.INFO)

    def emit(self, record: logging.LogRecord) -> None:
        if len(self._lines) < _MAX_SAID:
            line, told = record.getMessage(), message_without(record)
            self._lines.append((record.levelno, line[:_MAX_WORDS], told[:_MAX_WORDS]))

    def taken(self) -> list[tuple[int, str, str]]:
        lines, self._lines = self._lines, []
        return lines


def begin() -> None:
    """The program: `sys.argv[1]` is the number of its socket."""
    Image.init(), confinement.rules()  # which each copy would have to make again
    main(socket.socket(fileno=int(sys.argv[1])))
