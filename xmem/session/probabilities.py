"""Probabilities on disk: of a frame's objects, 16 bits each (steps of 1/65535, finer than the 1e-4 to which engines
agree), as a file `.npy.zst` that other programs open as well.

It is a NumPy array of bytes [2, O, h, w], first the low ones and then the high ones, which apart are a tenth smaller,
compressed by Zstandard. Files of before are grey PNGs of 16 bits, the objects one below another, and
are still read.
"""

from __future__ import annotations

import re
import sys
import threading
from functools import lru_cache
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.lib.format import write_array_header_1_0
from torch import Tensor

from xmem.errors import InputError
from xmem.limits import check_stack
from xmem.video.stills import png_header, read_still

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

SUFFIX, OLD_SUFFIX = ".npy.zst", ".png"
SUFFIXES = (SUFFIX, OLD_SUFFIX)
ADVICE = "save the bundle again"
STEPS = 65535
# The level next to the first one, with a table that stays in the processor's nearest cache: files are 3 % larger than
# by the first level, and packed in three quarters of its time.
_OPTIONS: dict[int, int] = {zstd.CompressionParameter.compression_level: -1, zstd.CompressionParameter.hash_log: 10}
_HEADER_BYTES = 128  # of such an array; NumPy's own reader runs a parser of Python over it, which trips in many ways
_HEADER = re.compile(
    rb"\x93NUMPY\x01\x00\x76\x00\{'descr': '\|u1', 'fortran_order': False, "
    rb"'shape': \(2, (\d{1,9}), (\d{1,9}), (\d{1,9})\), \} *\n"
)
_MAX_WINDOW = 23  # a power of two of bytes that decompressing may hold; files of ours ask for 19 at most


def sixteen_bits(prob: Tensor) -> Tensor:
    """Probabilities [..] from 0 to 1 -> whole numbers of 16 bits, as int16 with the bits of uint16, which not every
    device has; made where they are, they are half as much to fetch."""
    steps = (prob.float() * STEPS).round_()
    if steps.device.type == "cpu":  # which converts to it in one go
        return steps.to(torch.uint16).view(torch.int16)
    return steps.to(torch.int32).to(torch.int16)


def bits_of(values: np.ndarray) -> np.ndarray:
    """`sixteen_bits` of an array: float32 [..] -> uint16."""
    return np.round(values * np.float32(STEPS)).astype(np.uint16)


def as_floats(stacked: np.ndarray) -> np.ndarray:
    """int16 with the bits of uint16, or uint16 [..] -> float32, 0 to 1."""
    return np.multiply(stacked.view(np.uint16), np.float32(1 / STEPS), dtype=np.float32)


def from_sixteen_bits(stacked: Tensor) -> Tensor:
    """`as_floats` on a device: int16 with the bits of uint16."""
    return (stacked.to(torch.int32) & STEPS).float() * (1 / STEPS)


def as_stored(prob: Tensor) -> Tensor:
    """Probabilities as they are read again."""
    return from_sixteen_bits(sixteen_bits(prob))


def path_of(folder: Path, frame: int) -> Path:
    """Where a frame's file is to be written."""
    return folder / f"{frame:05d}{SUFFIX}"


def found(folder: Path, frame: int) -> Path | None:
    """A frame's file as it is, of now or of before; None where there is none."""
    paths = (folder / f"{frame:05d}{suffix}" for suffix in SUFFIXES)
    return next((path for path in paths if path.exists()), None)


def all_files(folder: Path) -> list[Path]:
    """Those of all frames."""
    return sorted(path for suffix in SUFFIXES for path in folder.glob(f"*{suffix}"))


def packed(stacked: np.ndarray) -> bytes:
    """What `read` reads, of uint16 or int16 [O, h, w]."""
    file = np.empty(_HEADER_BYTES + 2 * stacked.size, np.uint8)
    file[:_HEADER_BYTES] = np.frombuffer(_header(stacked.shape), np.uint8)
    bits = np.ascontiguousarray(stacked.view(np.uint16), "<u2").view(np.uint8)
    planes = file[_HEADER_BYTES:].reshape(2, -1, stacked.shape[-1])
    cv2.split(bits.reshape(*planes.shape[1:], 2), list(planes))
    return _compressor().compress(file.data, zstd.ZstdCompressor.FLUSH_FRAME)


@lru_cache(maxsize=4)
def _header(shape: tuple[int, ...]) -> bytes:
    header = BytesIO()
    write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": (2, *shape)})
    return header.getvalue()


def _compressor() -> zstd.ZstdCompressor:
    """This thread's own: what a new one asks of the system takes as long as half of the packing."""
    if not hasattr(_of_thread, "compressor"):
        _of_thread.compressor = zstd.ZstdCompressor(options=_OPTIONS)
    return _of_thread.compressor


_of_thread = threading.local()


def shape_of(path: Path, objects: int) -> tuple[int, int]:
    """(h, w) by the header alone. Raises InputError where the file is not of so many objects, or too large."""
    if path.suffix == OLD_SUFFIX:
        width, height, is_deep = png_header(path)
        check_stack(width, height, f"The result file {path.name!r} is")
        if not is_deep or height % objects:
            raise damaged(path)
        return height // objects, width
    try:
        with _opened(path) as file:
            return _read_header(file, path, objects)
    except _UNREADABLE as error:
        raise damaged(path) from error


def read(path: Path, objects: int) -> np.ndarray:
    """uint16 [O, h, w]. Raises InputError where the file is not as it was written."""
    if path.suffix == OLD_SUFFIX:
        shape_of(path, objects)
        # Not by OpenCV, which makes room for as much as a damaged chunk says that it holds.
        rows = np.array(read_still(path, f"The result file {path.name!r}", ADVICE, bound=check_stack))
        return rows.reshape(objects, -1, rows.shape[1])
    try:
        with _opened(path) as file:
            height, width = _read_header(file, path, objects)
            data = file.read(2 * objects * height * width)
            if file.read(1):
                raise damaged(path)
        low, high = np.frombuffer(data, np.uint8).reshape(2, objects, height, width)
    except _UNREADABLE as error:
        raise damaged(path) from error
    return low | high.astype(np.uint16) << 8


def damaged(path: Path) -> InputError:
    return InputError(f"The result file {path.name!r} in {path.parent.name!r} is damaged; compute the frames again.")


_UNREADABLE = (zstd.ZstdError, EOFError, ValueError, MemoryError)  # InputErrors are none of these


def _opened(path: Path) -> zstd.ZstdFile:
    return zstd.ZstdFile(path, options={zstd.DecompressionParameter.window_log_max: _MAX_WINDOW})


def _read_header(file: zstd.ZstdFile, path: Path, objects: int) -> tuple[int, int]:
    """(h, w)."""
    header = _HEADER.fullmatch(file.read(_HEADER_BYTES))
    if header is None:
        raise damaged(path)
    count, height, width = map(int, header.groups())
    check_stack(width, count * height, f"The result file {path.name!r} is")
    if count != objects:
        raise damaged(path)
    return height, width
