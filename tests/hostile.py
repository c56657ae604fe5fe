"""Small files that claim to be huge, and how much memory refusing them takes."""

import random
import re
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

MEGABYTE = 1 << 20
_STATUS, _FORGET_PEAK = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def memory_rise(work: Callable[[], object]) -> int:
    """Bytes by which this process's resident memory rises at most while `work` goes on. Skips where nobody tells."""
    try:
        _FORGET_PEAK.write_text("5")
    except OSError:
        pytest.skip("this system does not tell a process's highest memory")
    before = _resident("VmHWM")
    work()
    return _resident("VmHWM") - before


def _resident(name: str) -> int:
    return int(re.search(rf"{name}:\s+(\d+) kB", _STATUS.read_text())[1]) * 1024


def gif(path: Path, width: int, height: int, frames: int = 3) -> Path:
    """A valid GIF of some hundred bytes, each of whose frames draws a single pixel."""
    frame = b"\x21\xf9\x04\x00\x0a\x00\x00\x00" + b"\x2c" + struct.pack("<HHHHB", 0, 0, 1, 1, 0)
    frame += b"\x02\x02\x4c\x01\x00"
    head = b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + bytes(6)
    path.write_bytes(head + frame * frames + b"\x3b")
    return path


def png(path: Path, width: int, height: int, depth: int = 8) -> Path:
    """A grey PNG whose header is valid; one row of pixels is there, and rows enough for nobody to miss the rest are
    not: what decodes it must first make room for all of them."""
    row = zlib.compress(bytes(1 + width * depth // 8))
    header = struct.pack(">IIBBBBB", width, height, depth, 0, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", row) + _chunk(b"IEND", b""))
    return path


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def claiming_samples(movie: bytes, count: int) -> bytes:
    """An MP4 with the tables of its first track changed, so that it claims that many samples of one size."""
    changed = bytearray(movie)
    for box, place, values in (("stsz", 4, (100, count)), ("stsc", 12, (count,)), ("stts", 8, (count,))):
        at = movie.index(box.encode()) + 4 + place
        changed[at : at + 4 * len(values)] = struct.pack(f">{len(values)}I", *values)
    return bytes(changed)


def mutated(data: bytes, rng: random.Random) -> bytes:
    """One to a few bytes changed, a part cut, repeated or overwritten; mostly near the beginning, where headers are."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        reach = len(changed) if rng.random() < 0.4 else min(len(changed), 1024)
        at = rng.randrange(max(1, reach))
        kind = rng.randrange(6)
        if kind == 0:
            changed[at] = rng.randrange(256)
        elif kind == 1:
            changed[at] ^= 1 << rng.randrange(8)
        elif kind == 2:
            changed[at : at + 4] = rng.choice((b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff", b"\0\0\0\1"))
        elif kind == 3:
            del changed[at : at + rng.randrange(1, 64)]
        elif kind == 4:
            changed[at:at] = changed[at : at + rng.randrange(1, 64)]
        else:
            del changed[rng.randrange(at, len(changed)) :]
        if not changed:
            return b"\0"
    return bytes(changed)
