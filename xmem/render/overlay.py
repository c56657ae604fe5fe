"""Objects shown on the frame: a tint inside, a thin smooth line around."""

import cv2
import numpy as np

from xmem.render.palette import color_of

_FILL = np.array([(0, 0, 0)] + [color_of(i) for i in range(1, 256)], np.uint8)  # [256, 3] RGB
_LINE_WHITE = 0.35  # share of white in the line, so that it stands out from its own tint
_LINE_PER_PIXEL = 1 / 540  # line width over the frame's shorter side
_SUBPIXEL_BITS = 4


def tint(frame: np.ndarray, index: np.ndarray, opacity: float = 0.5) -> np.ndarray:
    """The frame with its objects coloured and outlined.

    frame: uint8 [H, W, 3] RGB; index: uint8 [H, W], 0 = background; opacity of the tint from 0 (line only) to 1.
    Returns a new uint8 [H, W, 3]. Raises ValueError when sizes or the opacity do not fit.
    """
    if frame.shape[:2] != index.shape:
        raise ValueError(f"The mask is {index.shape}, the frame {frame.shape[:2]}.")
    if not 0 <= opacity <= 1:
        raise ValueError(f"Opacity must be from 0 to 1, not {opacity}.")
    result = frame.copy()
    left, top, width, height = cv2.boundingRect(index)
    if width == 0:
        return result
    box = np.s_[top : top + height, left : left + width]
    inside = np.ascontiguousarray(index[box])  # [h, w]
    colours = cv2.applyColorMap(inside, _FILL[:, None])  # [h, w, 3]
    mixed = cv2.addWeighted(result[box], 1 - opacity, colours, opacity, 0)
    cv2.copyTo(mixed, inside, result[box])
    for object_id in np.flatnonzero(np.bincount(inside.ravel(), minlength=256)[1:]) + 1:
        _outline(result, cv2.inRange(inside, int(object_id), int(object_id)), (left, top), int(object_id))
    return result


def _outline(image: np.ndarray, mask: np.ndarray, offset: tuple[int, int], object_id: int) -> None:
    """Draw around mask, uint8 [h, w], that lies at offset (x, y) in image, uint8 [H, W, 3]."""
    shorter = min(image.shape[:2])
    thickness = max(1, round(shorter * _LINE_PER_PIXEL))
    colour = [round(value + (255 - value) * _LINE_WHITE) for value in color_of(object_id)]
    contours, _ = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE, offset=offset)
    curves = [_smooth(contour, max(1, shorter // 360)) for contour in contours]
    cv2.polylines(image, curves, True, colour, thickness, cv2.LINE_AA, _SUBPIXEL_BITS)


def _smooth(contour: np.ndarray, radius: int) -> np.ndarray:
    """A closed contour [N, 1, 2] without its pixel steps: averaged over 2 radius + 1 points, in 1/16 pixels."""
    points = contour[:, 0].astype(np.float32)
    span = 2 * radius + 1
    if len(points) > 2 * span:
        around = np.concatenate([points[-radius:], points, points[:radius]])
        total = np.concatenate([np.zeros((1, 2)), np.cumsum(around, axis=0, dtype=np.float64)])
        points = (total[span:] - total[:-span]) / span
    return np.round(points * (1 << _SUBPIXEL_BITS)).astype(np.int32)[:, None]
