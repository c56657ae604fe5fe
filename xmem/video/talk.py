"""How the process that reads files and whoever wants them read talk: JSON, each message behind its length.

Nothing that comes is ever run or unpickled: behind a decoder that broke it may be anybody's words.
"""

from __future__ import annotations

import json
import socket
from typing import Any

BEGIN, END = b"B", b"E"  # of a message to the one that waits: another file; end the reading of one
NAME_BYTES = 16  # with which a reading is named
_LENGTH = 4


def send(connection: socket.socket, message: dict[str, Any], descriptors: tuple[int, ...] = ()) -> None:
    """Raises OSError where nobody is there any more."""
    text = json.dumps(message).encode()
    length = len(text).to_bytes(_LENGTH, "big")
    if descriptors:
        socket.send_fds(connection, [length], descriptors)
    else:
        connection.sendall(length)
    connection.sendall(text)


def receive(connection: socket.socket, most: int) -> tuple[Any, list[int]]:
    """A message and the descriptors that came with it. Raises EOFError, OSError, and ValueError beyond `most` bytes."""
    head, descriptors, _, _ = socket.recv_fds(connection, _LENGTH, 1)
    while len(head) < _LENGTH:
        head += _some(connection, _LENGTH - len(head))
    length = int.from_bytes(head, "big")
    if length > most:
        raise ValueError(f"a message of {length} bytes")
    text = bytearray()
    while len(text) < length:
        text += _some(connection, length - len(text))
    return json.loads(bytes(text)), descriptors


def _some(connection: socket.socket, most: int) -> bytes:
    data = connection.recv(min(most, 1 << 20))
    if not data:
        raise EOFError
    return data
