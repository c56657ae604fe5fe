"""What is allowed here: one table, read from flags and the environment once.

How large what comes from elsewhere may be is compared before any decoding; how much the page's visitors may have and
keep, before any work begins.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, fields
from functools import cache

from xmem.errors import InputError

MIN_SIZE = 16  # pixels of the shorter side for inference: one element of the networks' grid
SMALLER = (1280, 720)  # pixels, longer and shorter side, within which frames are that were too large
PROFILE = "XMEM_PROFILE"
_PREFIX = "XMEM_LIMIT_"


class TooMuch(InputError):
    """A video of which what is allowed can be taken. offer: what can be done, in words for a button."""

    @property
    def offer(self) -> str:
        raise NotImplementedError


class TooLarge(TooMuch):
    """A video with more pixels a frame than are read, though not too many to be made smaller. width, height: pixels."""

    def __init__(self, sentence: str, width: int, height: int) -> None:
        super().__init__(sentence)
        self.width, self.height = width, height

    @property
    def offer(self) -> str:
        width, height = smaller(self.width, self.height)
        return f"Make it smaller ({width}x{height})"


class TooLong(TooMuch):
    """A video of more frames or seconds than are read.

    by_time: whether it is the seconds that are too many, not the frames.
    """

    def __init__(self, sentence: str, by_time: bool) -> None:
        super().__init__(sentence)
        self.by_time = by_time

    @property
    def offer(self) -> str:
        allowed = _clock(limits().seconds) if self.by_time else f"{limits().frames:,} frames"
        return f"Take its first {allowed}"


@dataclass(frozen=True)
class Limits:
    """Each may be set by an environment variable, e.g. XMEM_LIMIT_FRAME_PIXELS; the defaults are those of one's own
    machine, for which they are generous.

    frame_pixels: of a frame, an image or a mask; the default is 8K (8192 x 4320) and a little more.
    shrunk_pixels: of a frame of a video that is made smaller before it is read.
    aspect: longer side over shorter side.
    frames: of a video; the default is ten hours at 55 per second.
    seconds: of a video.
    inference_pixels: of a frame as the networks take it; the default is 4K (4096 x 2160) and a little more.
    objects, key_frames: of a session.
    stacked_pixels: of the probabilities of all objects on a frame.
    upload_bytes: of a file that is given to the page. request_bytes: of any other request to it.
    visitor_sessions: that one visit (a page from its loading to its closing, a program) may begin.
    sessions, disk_bytes: of all visitors together. Above, the oldest that nobody uses go.
    session_days: for which a session is kept after its last use.
    runs_at_once: of all visitors on one device. runs_waiting: of all visitors on all of them.
    run_seconds: after which a run is stopped; what it has is kept, and it can be gone on with.
    run_bytes: of memory that a run may take by its estimate.
    reader_bytes: of memory that the process may take which reads an upload.
    Raises InputError for a limit below 1.
    """

    frame_pixels: int = 36_000_000
    shrunk_pixels: int = 144_000_000
    aspect: int = 20
    frames: int = 2_000_000
    seconds: int = 36_000
    inference_pixels: int = 9_000_000
    objects: int = 255
    key_frames: int = 1000
    stacked_pixels: int = 128_000_000
    upload_bytes: int = 8_000_000_000
    request_bytes: int = 64_000_000
    visitor_sessions: int = 1000
    sessions: int = 10_000
    disk_bytes: int = 20_000_000_000
    session_days: int = 7
    runs_at_once: int = 1
    runs_waiting: int = 20
    run_seconds: int = 604_800
    run_bytes: int = 1_000_000_000_000
    reader_bytes: int = 6_000_000_000

    def __post_init__(self) -> None:
        for field in fields(self):
            if getattr(self, field.name) < 1:
                raise InputError(f"The limit {field.name} must be at least 1, not {getattr(self, field.name)}.")

    @staticmethod
    def of(environment: Mapping[str, str]) -> Limits:
        """The limits in an environment, and of those that it does not set those of its profile. Raises InputError."""
        values = dict(PROFILES[profile_of(environment)])
        for field in fields(Limits):
            name = _PREFIX + field.name.upper()
            if name in environment:
                values[field.name] = _whole(name, environment[name])
        return Limits(**values)


# Two cores and 16 GB, for everybody.
_SPACE = {
    "frame_pixels": 9_000_000,
    "shrunk_pixels": 36_000_000,
    "frames": 18_000,
    "seconds": 600,
    "inference_pixels": 1_000_000,
    "objects": 20,
    "key_frames": 200,
    "stacked_pixels": 32_000_000,
    "upload_bytes": 300_000_000,
    "request_bytes": 32_000_000,
    "visitor_sessions": 20,
    "sessions": 500,
    "session_days": 2,
    "runs_waiting": 10,
    "run_seconds": 1800,
    "run_bytes": 8_000_000_000,
    "reader_bytes": 2_000_000_000,
}
# A GPU of 24 GB or more, for everybody.
_GPU = _SPACE | {
    "frames": 36_000,
    "seconds": 1200,
    "inference_pixels": 2_500_000,
    "stacked_pixels": 128_000_000,
    "upload_bytes": 1_000_000_000,
    "disk_bytes": 100_000_000_000,
    "sessions": 2000,
    "runs_waiting": 20,
    "run_bytes": 20_000_000_000,
}
PROFILES: dict[str, dict[str, int]] = {"own": {}, "space": _SPACE, "gpu": _GPU}


def profile_of(environment: Mapping[str, str]) -> str:
    """The name of the profile: XMEM_PROFILE, else on a Space its own, else that of one's own machine.

    Raises InputError for one that there is not.
    """
    chosen = environment.get(PROFILE)
    if chosen:
        if chosen not in PROFILES:
            raise InputError(f"There is no profile {chosen!r}: choose one of {', '.join(PROFILES)}.")
        return chosen
    if not environment.get("SPACE_ID"):
        return "own"
    return "gpu" if environment.get("SPACES_ZERO_GPU") else "space"


def put(environment: MutableMapping[str, str], profile: str | None, pairs: Sequence[str]) -> None:
    """Put flags into the environment, where they count before what is there. pairs: each "name=number".

    Raises InputError where they name or hold what is no limit; nothing is changed then.
    """
    values = {PROFILE: profile} if profile else {}
    for pair in pairs:
        name, _, value = pair.partition("=")
        if name not in {field.name for field in fields(Limits)}:
            raise InputError(f"There is no limit {name!r}: see the table in docs/limits.md.")
        values[_PREFIX + name.upper()] = value
    Limits.of({**environment, **values})
    environment.update(values)


def _whole(name: str, text: str) -> int:
    try:
        return int(text)
    except ValueError as error:
        raise InputError(f"{name} must be a whole number, not {text!r}.") from error


@cache
def limits() -> Limits:
    """Those of this process."""
    return Limits.of(os.environ)


_SHRINKS: ContextVar[bool] = ContextVar("shrinks", default=False)


@contextmanager
def shrinking() -> Iterator[None]:
    """Within, frames of videos may have up to `shrunk_pixels`: whoever decodes them makes them smaller at once."""
    token = _SHRINKS.set(True)
    try:
        yield
    finally:
        _SHRINKS.reset(token)


def shrinks() -> bool:
    """Whether this is within `shrinking`."""
    return _SHRINKS.get()


def pixels_read() -> int:
    """Of a frame at most, as things are."""
    return max(limits().frame_pixels, limits().shrunk_pixels) if shrinks() else limits().frame_pixels


def smaller(width: int, height: int) -> tuple[int, int]:
    """Width and height (pixels, even) to which frames of that size are made smaller; of those that fit, their own."""
    if width * height <= limits().frame_pixels:
        return width, height
    fits = (limits().frame_pixels / (width * height)) ** 0.5
    scale = min(SMALLER[0] / max(width, height), SMALLER[1] / min(width, height), fits)
    return max(2, int(width * scale) // 2 * 2), max(2, int(height * scale) // 2 * 2)


def check_shape(width: int, height: int, what: str) -> None:
    """Refuse pictures that are too large or too narrow, by their header.

    width, height: pixels. what: the beginning of a sentence, such as "The mask 'a.png' is". Raises InputError, and
    TooLarge where the frames of a video could be made smaller.
    """
    allowed = limits()
    if width < 1 or height < 1:
        raise InputError(f"{what} {width}x{height}, without a pixel; give one with a picture.")
    if max(width, height) > allowed.aspect * min(width, height):
        raise InputError(
            f"{what} {width}x{height}, but a side may be at most {allowed.aspect} times as long as the other; crop it."
        )
    if width * height > pixels_read():
        sentence = (
            f"{what} {width}x{height}, more than the {_millions(allowed.frame_pixels)} megapixels that are read here; "
            "give a smaller copy."
        )
        if width * height <= allowed.shrunk_pixels:
            raise TooLarge(sentence, width, height)
        raise InputError(sentence)


def check_stack(width: int, height: int, what: str) -> None:
    """As `check_shape`, for pictures of all objects one below another. Raises InputError."""
    if not 0 < width * height <= limits().stacked_pixels:
        allowed = _millions(limits().stacked_pixels)
        raise InputError(f"{what} {width}x{height}, more than the {allowed} megapixels that are read here.")


def check_frames(count: int, name: str) -> None:
    """Refuse a video of more frames than `limits()` allows. name: of its file. Raises TooLong."""
    if count > limits().frames:
        sentence = f"{name!r} has more than the {limits().frames:,} frames that are read here; give a part of it."
        raise TooLong(sentence, by_time=False)


def check_seconds(seconds: float, name: str) -> None:
    """Refuse a video that is longer than `limits()` allows. name: of its file. Raises TooLong."""
    if seconds > limits().seconds:
        raise TooLong(
            f"{name!r} is {_clock(seconds)} long, and videos up to {_clock(limits().seconds)} are read here: "
            "cut it to the part that you need.",
            by_time=True,
        )


def check_length(frames: int, seconds: float, name: str) -> None:
    """Both of the above, first the one that allows less of it; 0 for what is not known. Raises TooLong."""
    if frames * limits().seconds < seconds * limits().frames:
        check_seconds(seconds, name)
    check_frames(frames, name)
    check_seconds(seconds, name)


def check_objects(count: int) -> None:
    """Refuse more objects than `limits()` allows. Raises InputError."""
    if count > limits().objects:
        raise InputError(f"A session may have {limits().objects:,} objects at most, not {count:,}: take some out.")


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


def _clock(seconds: float) -> str:
    return f"{seconds / 60:,.3g} minutes" if seconds >= 120 else f"{seconds:,.3g} seconds"


def _millions(pixels: int) -> str:
    return f"{pixels / 1e6:,.3g}"
