"""Still images from elsewhere: formats on a list, and the size compared before any pixel is decoded."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from PIL import Image

from xmem.errors import InputError
from xmem.limits import check_shape, limits
from xmem.video.isolated import Conversation, is_isolated, shared

# Those that Pillow decodes itself, and people use. Without a list it also hands EPS to Ghostscript, a program.
FORMATS = ("PNG", "JPEG", "WEBP", "BMP")
# Of the modes that such images are decoded to.
_PIXEL_BYTES = {"L": 1, "P": 1, "LA": 2, "PA": 2, "I;16": 2, "I;16B": 2, "RGB": 3, "YCbCr": 3} | dict.fromkeys(
    ("RGBA", "RGBX", "RGBa", "CMYK", "I", "F"), 4
)
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


class StillReader:
    """Reads images one after the other; a context manager. Where `xmem.video.isolated` says so, another process decodes
    them, the same one for all."""

    def __init__(self) -> None:
        self._other: Conversation | None = None

    def __enter__(self) -> StillReader:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End the other process. Repeated calls do nothing; a later `read` begins another one."""
        if self._other is not None:
            self._other.close()
            self._other = None

    def read(
        self,
        source: Path | BinaryIO,
        what: str,
        advice: str,
        check: CheckSize | None = None,
        upright: bool = False,
        bound: Bound = check_shape,
    ) -> Image.Image:
        """See `read_still`."""
        if is_isolated():
            return self._by_another(source, what, advice, check, upright, bound)
        with open_still(source, what, advice) as image:
            _check(*image.size, what, check, bound)
            return load_still(image, what, advice, upright)

    def _by_another(
        self, source: Path | BinaryIO, what: str, advice: str, check: CheckSize | None, upright: bool, bound: Bound
    ) -> Image.Image:
        other = self._there(what, advice)
        with _descriptor_of(source, what, advice) as given:
            head = other.ask({"what": what, "advice": advice, "upright": upright}, (given,))
        with other.trusting_nothing():
            width, height, mode = int(head["size"][0]), int(head["size"][1]), str(head["mode"])
            size = max(_bytes_of(mode, width, height), _bytes_of(mode, height, width))
        _check(width, height, what, check, bound)
        with shared(size) as (memory, descriptor), memory:
            found = other.ask({"bytes": size}, (descriptor,))
            with other.trusting_nothing():
                sides = int(found["size"][0]), int(found["size"][1])
                if found["mode"] != mode or sorted(sides) != sorted((width, height)):
                    raise ValueError(f"an image of {found['mode']} {sides}")
                image = Image.frombytes(mode, sides, memory[: _bytes_of(mode, *sides)])
                _put_info(image, found)
                return image

    def _there(self, what: str, advice: str) -> Conversation:
        if self._other is None or self._other.is_closed:
            self._other = Conversation({"kind": "stills"}, "", "", 0)
        broken = f"{what} broke off the program that reads images, or takes more memory or time than allowed; {advice}."
        self._other.what, self._other.broken = what, broken
        return self._other


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
    with StillReader() as reader:
        return reader.read(source, what, advice, check, upright, bound)


def open_still(source: Path | BinaryIO, what: str, advice: str) -> Image.Image:
    """An image whose header was read, and no more. Raises InputError."""
    try:
        return Image.open(source, formats=FORMATS)
    except Image.DecompressionBombError as error:  # beyond twice Pillow's own bound
        raise InputError(f"{what} is far too large; {advice}.") from error
    except Exception as error:  # on damaged files, Pillow's parsers raise whatever their next line happens to
        raise _unreadable(what, advice) from error


def load_still(image: Image.Image, what: str, advice: str, upright: bool) -> Image.Image:
    """Its pixels. Raises InputError."""
    try:
        turn = _UPRIGHT.get(_orientation(image) or 1) if upright else None
        image.load()
        return image if turn is None else image.transpose(turn)
    except Exception as error:  # as in open_still
        raise _unreadable(what, advice) from error


def info_of(image: Image.Image) -> dict[str, Any]:
    """What belongs to the pixels of an image that was loaded, as plain values."""
    palette = image.getpalette("RGB") if image.mode == "P" else None
    clear = image.info.get("transparency")
    return {
        "mode": image.mode,
        "size": image.size,
        "palette": palette,
        "transparency": clear.hex() if isinstance(clear, bytes) else clear,
    }


def still_size(source: Path | BinaryIO, what: str, advice: str, upright: bool = False) -> tuple[int, int]:
    """Width and height by the header; refuses what `read_still` refuses by it."""
    with open_still(source, what, advice) as image:
        _check(*image.size, what, None, check_shape)
        try:
            orientation = _orientation(image) if upright else None
        except Exception as error:  # as in open_still
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


def _check(width: int, height: int, what: str, check: CheckSize | None, bound: Bound) -> None:
    if check is not None and width and height:
        check(width, height)
    bound(width, height, f"{what} is")


def _put_info(image: Image.Image, found: dict[str, Any]) -> None:
    """The reverse of `info_of`. Raises ValueError, TypeError or LookupError for what nobody can mean."""
    if found["palette"] is not None:
        image.putpalette(bytes(found["palette"]), "RGB")
    clear = found["transparency"]
    if clear is not None:
        kind = type(clear)
        whole = clear if kind is int else bytes.fromhex(clear) if kind is str else tuple(map(int, clear))
        image.info["transparency"] = whole


def _bytes_of(mode: str, width: int, height: int) -> int:
    """Of an image's pixels as Pillow gives and takes them. Raises KeyError for a mode that no image here has."""
    return (width + 7) // 8 * height if mode == "1" else _PIXEL_BYTES[mode] * width * height


@contextmanager
def _descriptor_of(source: Path | BinaryIO, what: str, advice: str) -> Iterator[int]:
    """Of a file, for another process; of what is no file, of memory. Raises InputError."""
    if not isinstance(source, Path):
        data = source.read()
        with shared(max(1, len(data))) as (memory, descriptor), memory:
            memory[: len(data)] = data
            yield descriptor
        return
    try:
        file = open(source, "rb")  # noqa: SIM115 - closed below
    except OSError as error:
        raise _unreadable(what, advice) from error
    with file:
        yield file.fileno()


def _orientation(image: Image.Image) -> int | None:
    """As the header tells it: of a PNG, Image's own method, since PNG's decodes it all to look behind the pixels."""
    return Image.Image.getexif(image).get(_ORIENTATION)


def _unreadable(what: str, advice: str) -> InputError:
    return InputError(f"{what} is not a readable image; {advice}.")
