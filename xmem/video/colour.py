"""Decoded pictures to RGB and back, by the stream's own matrix and range, so that no colour shifts on the way."""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from av import VideoFrame
from av.video.reformatter import ColorRange, Interpolation, VideoReformatter

# Matrix, primaries and transfer numbers are those of ITU-T H.273, as FFmpeg and every container use them.
BT709, UNSPECIFIED, BT601, BT2020 = 1, 2, 6, 9
_WRITABLE_MATRICES = (BT709, 4, 5, BT601, 7, BT2020)
# Without these flags swscale is off by up to three levels on flat colours.
_TO_RGB = Interpolation.BILINEAR | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT
# Of these, swscale makes planes of colours in half the time that it takes to make pixels, and the same levels where the
# rows are even: of odd ones a thousandth differs by one.
_QUICK_AS_PLANES = ("yuv420p", "yuvj420p", "nv12", "yuv420p10le")
_WORTH_THREADS = 1 << 20  # pixels; of fewer, waking other threads takes as long as they save
_TO_YUV = Interpolation.BILINEAR | Interpolation.ACCURATE_RND


@dataclass(frozen=True)
class Colour:
    """How RGB is to be written again: H.273 numbers. High dynamic range keeps its transfer; nothing is tone-mapped."""

    matrix: int
    primaries: int
    transfer: int


def assumed_matrix(width: int, height: int) -> int:
    """The matrix that players assume for an untagged stream of this size (pixels)."""
    return BT709 if width >= 1280 or height > 576 else BT601


def colour_of_images(width: int, height: int) -> Colour:
    """Tags for a video made of sRGB pictures."""
    return Colour(assumed_matrix(width, height), BT709, BT709)


def colour_of(frame: VideoFrame) -> Colour:
    """The tags of a decoded frame, fit for writing 4:2:0 H.264."""
    if "yuv" not in frame.format.name and "nv" not in frame.format.name:  # RGB, palette, grey
        return colour_of_images(frame.width, frame.height)
    matrix = frame.colorspace if frame.colorspace in _WRITABLE_MATRICES else assumed_matrix(frame.width, frame.height)
    return Colour(matrix, frame.color_primaries, frame.color_trc)


Room = Callable[[tuple[int, ...]], np.ndarray]  # makes an array uint8 of a shape that a picture is to lie in


def to_rgb(
    frame: VideoFrame, reformatter: VideoReformatter, width: int, height: int, room: Room | None = None
) -> np.ndarray:
    """uint8 [height, width, 3] RGB of a decoded frame; transparent parts are shown on white, as on a page.
    room: where pictures of usual videos are made at once, which saves a copy; others are not."""
    if frame.colorspace == UNSPECIFIED:
        frame.colorspace = assumed_matrix(frame.width, frame.height)
    if frame.format.name.startswith("yuvj"):
        frame.color_range = ColorRange.JPEG
    is_as_it_is = (width, height) == (frame.width, frame.height)
    if frame.format.name in _QUICK_AS_PLANES and is_as_it_is and height % 2 == 0:
        target = room((height, width, 3)) if room else None
        return _merged(_reformatted(frame, reformatter, width, height, "gbrp"), target)
    has_alpha = any(component.is_alpha for component in frame.format.components)
    layout = "rgba" if has_alpha or frame.format.has_palette else "rgb24"
    return on_white(_reformatted(frame, reformatter, width, height, layout).to_ndarray())


def _reformatted(frame: VideoFrame, reformatter: VideoReformatter, width: int, height: int, layout: str) -> VideoFrame:
    threads = 1 if width * height < _WORTH_THREADS else 0  # as many as there are cores
    return reformatter.reformat(
        frame, width, height, layout, interpolation=_TO_RGB, dst_color_range=ColorRange.JPEG, threads=threads
    )


def _merged(frame: VideoFrame, target: np.ndarray | None) -> np.ndarray:
    """uint8 [H, W, 3] RGB of planes of green, blue and red; written into `target`, if any."""
    green, blue, red = (
        np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, plane.line_size)[:, : plane.width]
        for plane in frame.planes
    )
    return cv2.merge([red, green, blue], target)


def on_white(image: np.ndarray) -> np.ndarray:
    """uint8 RGB [H, W, 3] of RGB or RGBA [H, W, 4] over white."""
    if image.shape[2] == 3:
        return image
    alpha = image[..., 3:]  # [H, W, 1]
    if alpha.min() == 255:
        return np.ascontiguousarray(image[..., :3])
    mixed = image[..., :3].astype(np.uint16) * alpha + 255 * (255 - alpha.astype(np.uint16))
    return ((mixed + 127) // 255).astype(np.uint8)


def to_yuv420(image: np.ndarray, colour: Colour, reformatter: VideoReformatter) -> VideoFrame:
    """A limited-range yuv420p frame of uint8 [H, W, 3] RGB with even sides."""
    converted = reformatter.reformat(
        VideoFrame.from_ndarray(image, format="rgb24"),
        format="yuv420p",
        interpolation=_TO_YUV,
        dst_colorspace=colour.matrix,
        dst_color_range=ColorRange.MPEG,
    )
    converted.colorspace = colour.matrix
    converted.color_range = ColorRange.MPEG
    converted.color_primaries = colour.primaries
    converted.color_trc = colour.transfer
    return converted
