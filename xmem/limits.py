"""How large what comes from elsewhere may be: one table, read from the environment once, compared before any decoding.

The defaults are those of one's own machine, for which they are generous; on a Space they are smaller.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache

from xmem.errors import InputError

MIN_SIZE = 16  # pixels of the shorter side for inference: one element of the networks' grid
_PREFIX = "XMEM_LIMIT_"


@dataclass(frozen=True)
class Limits:
    """Each may be set by an environment variable, e.g. XMEM_LIMIT_FRAME_PIXELS.

    frame_pixels: of a frame, an image or a mask; the default is 8K (8192 x 4320) and a little more.
    aspect: longer side over shorter side.
    frames: of a video; the default is ten hours at 55 per second.
    inference_pixels: of a frame as the networks take it; the default is 4K (4096 x 2160) and a little more.
    key_frames: of a session.
    stacked_pixels: of the probabilities of all objects on a frame.
    upload_bytes: of a file that is given to the page.
    Raises InputError for a limit below 1.
    """

    frame_pixels: int = 36_000_000
    aspect: int = 20
    frames: int = 2_000_000
    inference_pixels: int = 9_000_000
    key_frames: int = 1000
    stacked_pixels: int = 128_000_000
    upload_bytes: int = 8_000_000_000

    def __post_init__(self) -> None:
        for field in fields(self):
            if getattr(self, field.name) < 1:
                raise InputError(f"The limit {field.name} must be at least 1, not {getattr(self, field.name)}.")

    @staticmethod
    def of(environment: Mapping[str, str]) -> Limits:
        """The limits in an environment, and of those that it does not set the defaults: smaller ones on a Space, which
        `SPACE_ID` tells. Raises InputError."""
        values = dict(_ON_A_SPACE) if environment.get("SPACE_ID") else {}
        for field in fields(Limits):
            name = _PREFIX + field.name.upper()
            if name in environment:
                try:
                    values[field.name] = int(environment[name])
                except ValueError as error:
                    raise InputError(f"{name} must be a whole number, not {environment[name]!r}.") from error
        return Limits(**values)


# Two cores and 16 GB, or a GPU in turns, for everybody.
_ON_A_SPACE = {
    "frame_pixels": 9_000_000,
    "frames": 18_000,
    "inference_pixels": 1_000_000,
    "key_frames": 200,
    "stacked_pixels": 32_000_000,
    "upload_bytes": 300_000_000,
}


@cache
def limits() -> Limits:
    """Those of this process."""
    return Limits.of(os.environ)


def check_shape(width: int, height: int, what: str) -> None:
    """Refuse pictures that are too large or too narrow, by their header.

    width, height: pixels. what: the beginning of a sentence, such as "The mask 'a.png' is". Raises InputError.
    """
    allowed = limits()
    if width < 1 or height < 1:
        raise InputError(f"{what} {width}x{height}, without a pixel; give one with a picture.")
    if width * height > allowed.frame_pixels:
        raise InputError(
            f"{what} {width}x{height}, more than the {_millions(allowed.frame_pixels)} megapixels that are read here; "
            "give a smaller copy."
        )
    if max(width, height) > allowed.aspect * min(width, height):
        raise InputError(
            f"{what} {width}x{height}, but a side may be at most {allowed.aspect} times as long as the other; crop it."
        )


def check_stack(width: int, height: int, what: str) -> None:
    """As `check_shape`, for pictures of all objects one below another. Raises InputError."""
    if not 0 < width * height <= limits().stacked_pixels:
        allowed = _millions(limits().stacked_pixels)
        raise InputError(f"{what} {width}x{height}, more than the {allowed} megapixels that are read here.")


def check_frames(count: int, name: str) -> None:
    """Refuse a video of more frames than `limits()` allows. name: of its file. Raises InputError."""
    if count > limits().frames:
        raise InputError(
            f"{name!r} has more than the {limits().frames:,} frames that are read here; give a part of it."
        )


def check_key_frames(count: int) -> None:
    """Refuse more key frames than `limits()` allows. Raises InputError."""
    if count > limits().key_frames:
        raise InputError(f"A session may have {limits().key_frames:,} key frames at most; take one back first.")


def inference_size(width: int, height: int, size: int | None, longest: int | None = None) -> tuple[int, int]:
    """(height, width) in pixels at which the networks run on frames of width x height.

    size: of the shorter side; None = the frames' own, made smaller where their longer side is above `longest`. The only
    place where this is bounded.
    Raises InputError where the frames are too narrow, or the size is too large for them.
    """
    check_shape(width, height, "The frames are")
    found = scaled(width, height, size, longest)
    allowed = limits().inference_pixels
    if found[0] * found[1] > allowed:
        raise InputError(
            f"The network would run at {found[1]}x{found[0]}, more than the {_millions(allowed)} megapixels allowed "
            f"here; choose a shorter side of at most {_largest(width, height, allowed)} pixels."
        )
    return found


def scaled(width: int, height: int, size: int | None, longest: int | None = None) -> tuple[int, int]:
    """`inference_size` without any bound: for comparing, not for making room."""
    if size is None:
        scale = min(longest / max(width, height), 1) if longest else 1
        return int(height * scale), int(width * scale)
    return (size, int(size * width / height)) if height <= width else (int(size * height / width), size)


def _largest(width: int, height: int, pixels: int) -> int:
    """The shorter side of the largest frames of this shape."""
    return int((pixels * min(width, height) / max(width, height)) ** 0.5)


def _millions(pixels: int) -> str:
    return f"{pixels / 1e6:,.3g}"
