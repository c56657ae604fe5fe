"""GIF and animated WebP: small, for messages and readme files."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from av.video.reformatter import ColorRange, Interpolation
from PIL import Image

from xmem.export.render import renderer
from xmem.export.source import ExportSource
from xmem.render.tracked import TrackedFrame
from xmem.video.colour import BT601
from xmem.video.writer import add_video_stream, of_writing

MAX_SIDE = 360  # pixels of the shorter side
MAX_RATE = 15  # frames per second
_SAMPLES = 12  # frames that the palette is made from
_COLOURS = 255  # and one for "as before"
_DITHER = 16  # levels: about the distance of neighbouring colours in a palette of a natural picture
_GIF_CLOCK = Fraction(1, 100)
_WEBP_CLOCK = Fraction(1, 1000)
_WEBP_QUALITY = "78"


@dataclass(frozen=True)
class _Animation:
    """A file being written. Frames are those that follow the one before by at least 1 / MAX_RATE."""

    container: av.container.OutputContainer
    stream: av.VideoStream
    clock: Fraction

    @staticmethod
    def open(path: Path, kind: str, codec: str, pix_fmt: str, size: tuple[int, int], clock: Fraction) -> _Animation:
        """kind: the container, which repeats for ever. size: width, height."""
        container = av.open(str(path), "w", format=kind, options={"loop": "0"})
        stream = add_video_stream(container, codec, MAX_RATE)
        stream.width, stream.height = size
        stream.pix_fmt = pix_fmt
        stream.time_base = stream.codec_context.time_base = clock
        return _Animation(container, stream, clock)

    def write(self, picture: av.VideoFrame, start: Fraction, end: Fraction) -> None:
        """Show a picture from start to end, in seconds."""
        picture.pts, picture.time_base = round(start / self.clock), self.clock
        duration = max(1, round(end / self.clock) - picture.pts)
        picture.duration = duration
        for packet in self.stream.encode(picture):
            packet.duration = duration
            self.container.mux(packet)

    def close(self) -> None:
        try:
            if self.stream.codec_context.is_open:
                self.container.mux(self.stream.encode(None))
        finally:
            self.container.close()


def write_gif(source: ExportSource, path: Path) -> Generator[None, None, None]:
    """An animated GIF of one palette for all frames, made from some of them, with ordered dithering.

    What does not change between two frames stays as it is, and a fixed pattern of dithering leaves it so.
    """
    size, render = small_size(source), renderer(source)
    palette = _palette(source, render, size)
    pattern = _dither_pattern(size)
    colours = np.zeros((256, 4), np.uint8)  # alpha, red, green, blue; the last one stays transparent
    known = np.array(palette.getpalette("RGB"), np.uint8).reshape(-1, 3)
    colours[: len(known), 1:], colours[: len(known), 0] = known, 255

    def encode(image: np.ndarray) -> av.VideoFrame:
        dithered = Image.fromarray(cv2.subtract(cv2.add(image, pattern[0]), pattern[1]))
        index = np.asarray(dithered.quantize(palette=palette, dither=Image.Dither.NONE))
        # PyAV takes a pair for this format, which its stub does not say.
        return av.VideoFrame.from_ndarray((index, colours), format="pal8")  # type: ignore[arg-type]

    animation = _Animation.open(path, "gif", "gif", "pal8", size, _GIF_CLOCK)
    yield from _write(source, animation, lambda tracked: encode(_small(render(tracked), size)))


def write_webp(source: ExportSource, path: Path) -> Generator[None, None, None]:
    """An animated WebP. Each frame is a picture of its own, so that none has to be kept."""
    size, render = small_size(source), renderer(source)

    def encode(image: np.ndarray) -> av.VideoFrame:
        return av.VideoFrame.from_ndarray(image, format="rgb24").reformat(
            format="yuv420p",
            interpolation=Interpolation.BILINEAR | Interpolation.ACCURATE_RND,
            dst_colorspace=BT601,  # the only one that WebP has
            dst_color_range=ColorRange.MPEG,
        )

    animation = _Animation.open(path, "webp", "libwebp", "yuv420p", size, _WEBP_CLOCK)
    animation.stream.options = {"quality": _WEBP_QUALITY}
    yield from _write(source, animation, lambda tracked: encode(_small(render(tracked), size)))


def small_size(source: ExportSource) -> tuple[int, int]:
    """Width and height of an animation: square pixels, the shorter side at most MAX_SIDE."""
    with source.access() as reader:
        width, height = source.info.width * float(reader.sample_aspect), source.info.height
    scale = min(1.0, MAX_SIDE / min(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


def _write(
    source: ExportSource, animation: _Animation, picture: Callable[[TrackedFrame], av.VideoFrame]
) -> Generator[None, None, None]:
    """Write every frame that is due. Each waits for the next one, which ends it."""
    waiting: tuple[av.VideoFrame, Fraction] | None = None
    origin, end = None, Fraction(0)
    with _in_words(), closing(animation):
        for tracked in source.frames():
            frame = tracked.frame
            origin = frame.time if origin is None else origin
            time = frame.time - origin
            end = time + frame.duration
            if waiting is None or time - waiting[1] > _SHORTEST:
                if waiting is not None:
                    animation.write(*waiting, time)
                waiting = (picture(tracked), time)
            yield
        if waiting is not None:
            animation.write(*waiting, end)


@contextmanager
def _in_words() -> Iterator[None]:
    try:
        yield
    except av.error.FFmpegError as error:
        raise of_writing(error) from error


_SHORTEST = Fraction(1, MAX_RATE) - Fraction(1, 1000)  # seconds; clocks of milliseconds round down


def _small(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """uint8 [h, w, 3] of uint8 [H, W, 3]."""
    return image if image.shape[1::-1] == size else cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def _palette(source: ExportSource, render: Callable[[TrackedFrame], np.ndarray], size: tuple[int, int]) -> Image.Image:
    """A palette image of the colours of some frames of the range, evenly spread."""
    places = np.unique(np.linspace(source.first, source.last, _SAMPLES).round().astype(int))
    half = (max(1, size[0] // 2), max(1, size[1] // 2))
    parts = [_small(render(tracked), half) for place in places for tracked in source.frames(int(place), int(place))]
    return Image.fromarray(np.concatenate(parts)).quantize(_COLOURS, Image.Quantize.FASTOCTREE)


def _dither_pattern(size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """What to add and what to subtract, uint8 [h, w, 3] each: an 8 x 8 Bayer matrix over and over."""
    matrix = np.zeros((1, 1))
    for _ in range(3):
        matrix = np.block([[4 * matrix, 4 * matrix + 2], [4 * matrix + 3, 4 * matrix + 1]])
    level = np.round(((matrix + 0.5) / 64 - 0.5) * _DITHER)
    width, height = size
    tiled = np.tile(level, (height // 8 + 1, width // 8 + 1))[:height, :width, None].repeat(3, axis=2)
    return np.maximum(tiled, 0).astype(np.uint8), np.maximum(-tiled, 0).astype(np.uint8)
