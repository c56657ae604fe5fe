"""Index masks as the plainest of PNGs, which every program reads: a palette, rows without filters, and nothing else.

They are written at every frame, and read again without an image library: quickly, and of whatever else a file from
elsewhere holds nothing is touched.
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np

from xmem.limits import check_shape
from xmem.render.palette import DAVIS_PALETTE

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PALETTE = 3  # the kind of image
_CHUNKS = (b"PLTE", b"IDAT", b"IEND")  # behind the header
_MAX_BYTES = 64_000_000  # of a file


def write_compact_mask(path: Path, mask: np.ndarray) -> None:
    """Write uint8 [H, W] ids as a palette PNG of as few bits a pixel as they need: for what nobody else reads.

    Every reader of PNGs shows it as it shows those of `write_index_mask`, whose palette however has all colours. Pillow
    takes five times as long, most of it to pack the bits.
    """
    last = int(mask.max(initial=0))
    path.write_bytes(encoded(mask, next(bits for bits in (1, 2, 4, 8) if last < 1 << bits)))


def encoded(mask: np.ndarray, depth: int) -> bytes:
    """The file of uint8 [H, W] ids that so many bits a pixel can hold, with as many colours of the DAVIS palette."""
    height, width = mask.shape
    packed = np.packbits(mask, axis=1) if depth == 1 else mask if depth == 8 else _packed(mask, depth)
    rows = np.zeros((height, 1 + packed.shape[1]), np.uint8)  # each begins with its filter: none
    rows[:, 1:] = packed
    size = struct.pack(">2I5B", width, height, depth, 3, 0, 0, 0)  # a palette image
    palette = DAVIS_PALETTE.tobytes()[: 3 << depth]
    chunks = (b"IHDR" + size, b"PLTE" + palette, b"IDAT" + zlib.compress(rows.data, 1), b"IEND")
    parts = (struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) for chunk in chunks)
    return _SIGNATURE + b"".join(parts)


def _packed(mask: np.ndarray, depth: int) -> np.ndarray:
    """Rows uint8 [H, bytes] of uint8 [H, W], so many bits a pixel."""
    height, width = mask.shape
    together = 8 // depth  # pixels a byte
    spread = np.zeros((height, -(-width // together) * together), np.uint8)
    spread[:, :width] = mask
    rows = np.zeros((height, spread.shape[1] // together), np.uint8)
    for place in range(together):
        rows |= spread[:, place::together] << (8 - depth * (place + 1))
    return rows


def read_plain_png(path: Path) -> np.ndarray | None:
    """uint8 [H, W] of a file that `write_compact_mask` or `write_index_mask` wrote; None of any other.

    Raises InputError for one of more pixels than `limits()` allows, by its header.
    """
    try:
        with open(path, "rb") as file:
            data = file.read(_MAX_BYTES + 1)
    except OSError:  # which whoever reads all kinds tells better
        return None
    if len(data) > _MAX_BYTES or data[:8] != _SIGNATURE or data[8:16] != b"\0\0\0\x0dIHDR" or len(data) < 33:
        return None
    width, height, depth, *rest = struct.unpack(">2I5B", data[16:29])
    if depth not in (1, 2, 4, 8) or rest != [_PALETTE, 0, 0, 0]:
        return None
    check_shape(width, height, f"The mask {path.name!r} is")
    packed = _pixels_of(data)
    stride = 1 + -(-width * depth // 8)
    if packed is None:
        return None
    try:
        unpacking = zlib.decompressobj()
        rows = unpacking.decompress(packed, height * stride)
    except zlib.error:
        return None
    if len(rows) != height * stride:
        return None
    table = np.frombuffer(rows, np.uint8).reshape(height, stride)
    return None if table[:, 0].any() else _unpacked(table[:, 1:], depth, width)


def _pixels_of(data: bytes) -> bytes | None:
    """What all IDAT chunks hold; None where there are other chunks, or damaged ones."""
    parts: list[bytes] = []
    place = 33  # behind the header
    while place + 12 <= len(data):
        length = int.from_bytes(data[place : place + 4], "big")
        kind, end = data[place + 4 : place + 8], place + 8 + length
        if kind not in _CHUNKS or zlib.crc32(data[place + 4 : end]) != int.from_bytes(data[end : end + 4], "big"):
            return None
        if kind == b"IEND":
            return b"".join(parts)
        if kind == b"IDAT":
            parts.append(data[place + 8 : end])
        place = end + 4
    return None


def _unpacked(rows: np.ndarray, depth: int, width: int) -> np.ndarray:
    """uint8 [H, W] of packed rows uint8 [H, bytes]."""
    if depth == 8:
        return rows.copy()
    if depth == 1:
        return np.unpackbits(rows, axis=1)[:, :width]
    together = 8 // depth
    spread = np.empty((len(rows), rows.shape[1] * together), np.uint8)
    for place in range(together):
        spread[:, place::together] = rows >> (8 - depth * (place + 1)) & ((1 << depth) - 1)
    return spread[:, :width]
