"""Still images from elsewhere: formats on a list, and the size compared before any pixel is decoded."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from PIL import Image

from xmem.errors import InputError
from xmem.limits import check_shape, limits

# Those that Pillow decodes itself, and people use. Without a list it also hands EPS to Ghostscript, a program.
FORMATS = ("PNG", "JPEG", "WEBP", "BMP")
_ORIENTATION = 0x0112  # EXIF
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

CheckSize = Callable[[int, int], None]
Bound = Callable[[int, int, str], None]


def read_still(
    source: Path | BinaryIO,
    what: str,
    advice: str,
    check: CheckSize | None = None,
    upright: bool = False,
    bound: Bound = check_shape,
) -> Image.Image:
    """Decode an image whose header says that it is no larger than `limits()` allows, as `bound` reads them.

    what: the beginning of sentences, such as "The mask 'a.png'"; advice: what to give instead. check: raises InputError
    for a width and height (pixels, as stored) that are of no use, before anything is decoded. upright: turned by its
    EXIF orientation.
    Raises InputError for what is no image of these FORMATS, or is too large, or damaged.
    """
    with _opened(source, what, advice) as image:
        _check(image, what, check, bound)
        try:
            turn = _UPRIGHT.get(_orientation(image) or 1) if upright else None
            image.load()
            return image if turn is None else image.transpose(turn)
        except Exception as error:  # as in _opened
            raise _unreadable(what, advice) from error


def still_size(source: Path | BinaryIO, what: str, advice: str, upright: bool = False) -> tuple[int, int]:
    """Width and height by the header; refuses what `read_still` refuses by it."""
    with _opened(source, what, advice) as image:
        _check(image, what, None, check_shape)
        try:
            orientation = _orientation(image) if upright else None
        except Exception as error:  # as in _opened
            raise _unreadable(what, advice) from error
        width, height = image.size
        return (height, width) if orientation in (5, 6, 7, 8) else (width, height)


def bound_pillow() -> None:
    """For this process: have Pillow itself refuse what is larger than any limit, also where others open images."""
    Image.MAX_IMAGE_PIXELS = max(limits().frame_pixels, limits().stacked_pixels) // 2  # it refuses twice as many


def png_header(path: Path) -> tuple[int, int, bool]:
    """Width, height, and whether it is grey of 16 bits, of a PNG. Raises InputError where it is none."""
    with open(path, "rb") as file:
        head = file.read(33)
    if len(head) < 33 or head[:8] != b"\x89PNG\r\n\x1a\n" or head[12:16] != b"IHDR":
        raise InputError(f"The file {path.name!r} is no PNG; save it again.")
    width, height, depth, kind = struct.unpack(">IIBB", head[16:26])
    return width, height, (depth, kind) == (16, 0)


def _opened(source: Path | BinaryIO, what: str, advice: str) -> Image.Image:
    try:
        return Image.open(source, formats=FORMATS)
    except Image.DecompressionBombError as error:  # beyond twice Pillow's own bound
        raise InputError(f"{what} is far too large; {advice}.") from error
    except Exception as error:  # on damaged files, Pillow's parsers raise whatever their next line happens to
        raise _unreadable(what, advice) from error


def _check(image: Image.Image, what: str, check: CheckSize | None, bound: Bound) -> None:
    if check is not None and all(image.size):
        check(*image.size)
    bound(*image.size, f"{what} is")


def _orientation(image: Image.Image) -> int | None:
    """As the header tells it: of a PNG, Image's own method, since PNG's decodes it all to look behind the pixels."""
    return Image.Image.getexif(image).get(_ORIENTATION)


def _unreadable(what: str, advice: str) -> InputError:
    return InputError(f"{what} is not a readable image; {advice}.")
