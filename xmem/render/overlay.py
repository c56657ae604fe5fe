"""Objects shown on the frame: a tint inside, a thin smooth line around."""

from collections.abc import Mapping

import cv2
import numpy as np

from xmem.render.palette import color_of
from xmem.render.post import object_ids

Colors = Mapping[int, tuple[int, int, int]]  # object id -> RGB, 0 to 255; the palette's where an id is missing

_PALETTE = np.array([(0, 0, 0)] + [color_of(i) for i in range(1, 256)], np.uint8)  # [256, 3] RGB
_LINE_WHITE = 0.35  # share of white in the line, so that it stands out from its own tint
_LINE_PER_PIXEL = 1 / 540  # line width over the frame's shorter side
_SUBPIXEL_BITS = 4


def tint(frame: np.ndarray, mask: np.ndarray, opacity: float = 0.5, colors: Colors | None = None) -> np.ndarray:
    """The frame with its objects coloured and outlined.

    frame: uint8 [H, W, 3] RGB; mask: uint8 [H, W], 0 = background; opacity of the tint from 0 (line only) to 1.
    colors: RGB of objects by id, where they are not the palette's.
    Returns a new uint8 [H, W, 3]. Raises ValueError when sizes or the opacity do not fit.
    """
    if frame.shape[:2] != mask.shape:
        raise ValueError(f"The mask is {mask.shape}, the frame {frame.shape[:2]}.")
    if not 0 <= opacity <= 1:
        raise ValueError(f"Opacity must be from 0 to 1, not {opacity}.")
    result = frame.copy()
    left, top, width, height = cv2.boundingRect(mask)
    if width == 0:
        return result
    box = np.s_[top : top + height, left : left + width]
    inside = np.ascontiguousarray(mask[box])  # [h, w]
    if opacity > 0:
        mixed = cv2.addWeighted(result[box], 1 - opacity, coloured(inside, colors), opacity, 0)
        cv2.copyTo(mixed, inside, result[box])
    outline(result, mask, colors)
    return result


def coloured(mask: np.ndarray, colors: Colors | None = None) -> np.ndarray:
    """uint8 [H, W, 3] RGB: each pixel of an index mask in its object's colour, the background black."""
    table = _PALETTE.copy()
    for object_id, colour in (colors or {}).items():
        table[object_id] = colour
    return cv2.applyColorMap(mask, table[:, None])


def outline(image: np.ndarray, mask: np.ndarray, colors: Colors | None = None, width: float = 1.0) -> None:
    """Draw a line around each object into image, uint8 [H, W, 3]; width: over that of the overlay's line.

    mask: uint8 [H, W]. The line is a light shade of the object's colour.
    """
    left, top, box_width, box_height = cv2.boundingRect(mask)
    inside = np.ascontiguousarray(mask[top : top + box_height, left : left + box_width])
    thickness = max(1, round(min(image.shape[:2]) * _LINE_PER_PIXEL * width))
    for object_id in object_ids(inside):
        colour = (colors or {}).get(object_id) or color_of(object_id)
        light = [round(value + (255 - value) * _LINE_WHITE) for value in colour]
        curves = _curves(cv2.inRange(inside, object_id, object_id), (left, top), min(image.shape[:2]))
        cv2.polylines(image, curves, True, light, thickness, cv2.LINE_AA, _SUBPIXEL_BITS)


def _curves(mask: np.ndarray, offset: tuple[int, int], shorter: int) -> list[np.ndarray]:
    """Smooth outlines of mask, uint8 [h, w], that lies at offset (x, y) in a frame; int32 [N, 1, 2] in 1/16 pixels."""
    contours, _ = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE, offset=offset)
    return [_smooth(contour, max(1, shorter // 360)) for contour in contours]


def _smooth(contour: np.ndarray, radius: int) -> np.ndarray:
    """A closed contour [N, 1, 2] without its pixel steps: averaged over 2 radius + 1 points, in 1/16 pixels."""
    points = contour[:, 0].astype(np.float32)
    span = 2 * radius + 1
    if len(points) > 2 * span:
        around = np.concatenate([points[-radius:], points, points[:radius]])
        total = np.concatenate([np.zeros((1, 2)), np.cumsum(around, axis=0, dtype=np.float64)])
        points = (total[span:] - total[:-span]) / span
    return np.round(points * (1 << _SUBPIXEL_BITS)).astype(np.int32)[:, None]
