"""What an MP4 or MOV file says of itself, compared before FFmpeg opens it.

FFmpeg builds a table of all samples as it opens such a file, about 70 bytes each, and a few bytes may claim four
thousand million of them. So the boxes that tell their number are read here first.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from xmem.errors import InputError

MAX_SAMPLES = 4_000_000  # of a file: pictures and pieces of sound
_MAX_HEADER = 256 << 20  # bytes
_MAX_BOXES = 1_000_000
_MAX_DEPTH = 10  # FFmpeg's own
_HEADERS = (b"moov", b"moof", b"free", b"hoov")  # FFmpeg takes the last two for a "moov" where one seems to be inside
_INNER = (b"trak", b"mdia", b"minf", b"stbl", b"edts", b"traf")
_COMPRESSED = (b"dcom", b"zlib", b"cmvd")


def check_claims(path: Path) -> None:
    """Raise InputError where the boxes of a file claim more samples than MAX_SAMPLES, or hide their tables.

    Files of other kinds have none of these boxes, and pass.
    """
    samples = boxes = 0
    with open(path, "rb") as file:
        for kind, content in _headers(file, path):
            found = _parsed(kind, content, path)
            samples, boxes = samples + sum(map(_samples, found)), boxes + sum(map(len, found))
            if samples > MAX_SAMPLES or boxes > _MAX_BOXES:
                raise InputError(
                    f"{path.name!r} claims more than {MAX_SAMPLES:,} pictures and pieces of sound; "
                    "cut it into parts, or copy it again."
                )


@dataclass(frozen=True)
class _Box:
    kind: bytes
    content: memoryview

    def number(self, place: int) -> int:
        """The big-endian number of 32 bits at a place of the content."""
        return int.from_bytes(self.content[place : place + 4], "big")


_Track = list[_Box]


def _headers(file: BinaryIO, path: Path) -> Iterator[tuple[bytes, memoryview]]:
    """Kind and content of the boxes, one after another in the file, in which there may be tables."""
    end, first = file.seek(0, 2), 0
    while first + 8 <= end:
        file.seek(first)
        size, kind, head = _head(file.read(16), end - first)
        if size < head:
            return
        length = min(end - first, size) - head
        if kind in _HEADERS:
            if length > _MAX_HEADER and kind in (b"moov", b"moof"):
                raise InputError(f"The header of {path.name!r} is too large; cut the file into parts.")
            file.seek(first + head)
            begin = file.read(8)
            if kind in (b"moov", b"moof") or begin[4:] in (b"mvhd", b"cmov"):
                yield kind, memoryview(begin + file.read(min(length, _MAX_HEADER) - len(begin)))
        first += size


def _head(begin: bytes, left: int) -> tuple[int, bytes, int]:
    """Size, kind and the length of the head itself."""
    size, kind = int.from_bytes(begin[:4], "big"), begin[4:8]
    if size == 1:
        return int.from_bytes(begin[8:16], "big"), kind, 16
    return size or left, kind, 8


def _parsed(kind: bytes, content: memoryview, path: Path) -> list[_Track]:
    """The boxes of each track. Raises InputError for tables that are anywhere else, or compressed."""
    tracks = [list(_walk(box, 1)) for box in _boxes(content) if box.kind in _INNER]
    text = bytes(content)
    if kind == b"moof":
        hidden = text.count(b"stsz") + text.count(b"stz2")
    else:
        placed = sum(box.kind in (b"stsz", b"stz2") for track in tracks for box in track)
        hidden = text.count(b"stsz") + text.count(b"stz2") - placed + text.count(b"tfhd")
    if hidden or all(word in text for word in _COMPRESSED):
        raise InputError(f"The header of {path.name!r} cannot be checked; copy it again with another program.")
    return tracks


def _boxes(content: memoryview) -> Iterator[_Box]:
    first = 0
    while first + 8 <= len(content):
        size, kind, head = _head(bytes(content[first : first + 16]), len(content) - first)
        if size < head:
            return
        yield _Box(kind, content[first + head : first + size])
        first += size


def _walk(parent: _Box, depth: int) -> Iterator[_Box]:
    """All boxes inside, along those that FFmpeg looks into."""
    for box in _boxes(parent.content):
        yield box
        if box.kind in _INNER and depth < _MAX_DEPTH:
            yield from _walk(box, depth + 1)


def _samples(track: _Track) -> int:
    counts = [box.number(8) for box in track if box.kind in (b"stsz", b"stz2")]
    runs = [box.number(4) for box in track if box.kind == b"trun"]
    if counts and _is_plain_sound(track):
        return max(counts) // 1024  # FFmpeg takes them 1,024 at a time
    edits = [box.number(4) for box in track if box.kind == b"elst"]  # each may repeat the whole track
    return sum(counts) * max([1, *edits]) + sum(runs)


def _is_plain_sound(track: _Track) -> bool:
    """Whether it is uncompressed sound, of which every sample counts: one entry of times, a tick for each."""
    media = [bytes(box.content[8:12]) for box in track if box.kind == b"hdlr"]
    times = [(box.number(4), box.number(12)) for box in track if box.kind == b"stts"]
    return b"soun" in media and b"vide" not in media and times == [(1, 1)]
