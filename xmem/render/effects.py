"""What styles are made of: soft edges, blending, blur and mosaic of one side of a mask. All uint8 images are RGB."""

from __future__ import annotations

import cv2
import numpy as np

_THIN = 12.0  # of 255: the share of a cell below which rounding spoils its mean
_SMALL_SIGMA = 1.8  # pixels: blurs stronger than this are made at half the size, and again


def soft_edges(mask: np.ndarray, pixels: float, outward: float = 0.0) -> np.ndarray:
    """Opacity uint8 [H, W] of mask, uint8 [H, W] of 0 and 255, whose edges rise over about `pixels`.

    Pixel steps along the edge are evened out. outward: pixels by which the edge moves out, negative for inwards.
    """
    blurred = cv2.GaussianBlur(mask, (0, 0), pixels * 0.6)
    # The blur's slope at a straight edge is 255 / (sigma sqrt(2 pi)) levels per pixel; the ramp below is steeper.
    slope = 255 / (pixels * 0.6 * 2.507)
    gain = 255 / (pixels * slope)
    middle = 127.5 - outward * slope
    ramp = np.clip((np.arange(256) - middle) * gain + 127.5, 0, 255)
    ramp[0], ramp[255] = 0, 255  # far from the edge nothing is mixed
    return cv2.LUT(blurred, np.round(ramp).astype(np.uint8))


def blend(top: np.ndarray, below: np.ndarray, opacity: np.ndarray) -> np.ndarray:
    """top over below, uint8 [h, w, 3], with opacity uint8 [h, w]; exact where it is 0 or 255."""
    alpha = cv2.merge([opacity] * 3)  # [h, w, 3]
    shown = cv2.multiply(top, alpha, scale=1 / 255)
    hidden = cv2.multiply(below, cv2.bitwise_not(alpha), scale=1 / 255)
    return cv2.add(shown, hidden, dst=shown)


def blurred(image: np.ndarray, part: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian blur of uint8 [h, w, 3] with nothing bleeding in from outside of part, uint8 [h, w] of 0 and 255.

    sigma: pixels. Strong blurs are computed at 1/2, 1/4, ... of the size. What lies far outside of part is undefined.
    """
    halvings = 0
    while sigma / 2 ** (halvings + 1) >= _SMALL_SIGMA:
        halvings += 1
    height, width = part.shape
    values, weights = _padded(cv2.copyTo(image, part), 1 << halvings), _padded(part, 1 << halvings)
    size = (values.shape[1], values.shape[0])
    for _ in range(halvings):
        values, weights = _half(values), _half(weights)
    sigma /= 1 << halvings
    total = cv2.GaussianBlur(values.astype(np.float32), (0, 0), sigma)
    share = cv2.GaussianBlur(weights.astype(np.float32), (0, 0), sigma)
    small = cv2.convertScaleAbs(_mean(total, share))
    return cv2.resize(small, size, interpolation=cv2.INTER_LINEAR)[:height, :width]


def mosaic(image: np.ndarray, part: np.ndarray, cell: int) -> np.ndarray:
    """Square cells of one colour each, the mean of what part, uint8 [h, w] of 0 and 255, covers in the cell.

    image: uint8 [h, w, 3]; cell: pixels. Cells count from the upper left corner. Cells next to part have the mean of
    their neighbours; what lies further outside of part is undefined.
    """
    height, width = part.shape
    values, weights = _padded(cv2.copyTo(image, part), cell), _padded(part, cell)
    size = (values.shape[1], values.shape[0])
    small = (size[0] // cell, size[1] // cell)
    while cell % 2 == 0:  # halving is several times faster than other ratios
        values, weights, cell = _half(values), _half(weights), cell // 2
    total = cv2.resize(values, small, interpolation=cv2.INTER_AREA).astype(np.float32)
    share = cv2.resize(weights, small, interpolation=cv2.INTER_AREA).astype(np.float32)
    around = _mean(cv2.blur(total, (3, 3)), cv2.blur(share, (3, 3)))
    cells = cv2.convertScaleAbs(np.where(share[..., None] < _THIN, around, _mean(total, share)))
    return cv2.resize(cells, size, interpolation=cv2.INTER_NEAREST)[:height, :width]


def grey(image: np.ndarray, brightness: float) -> np.ndarray:
    """uint8 [h, w, 3] without colour, times brightness (0 to 1)."""
    values = cv2.convertScaleAbs(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), alpha=brightness)
    return cv2.cvtColor(values, cv2.COLOR_GRAY2RGB)


def cover(image: np.ndarray, width: int, height: int) -> np.ndarray:
    """uint8 [h, w, 3] resized to cover width x height pixels and cropped around its centre."""
    scale = max(width / image.shape[1], height / image.shape[0])
    size = (max(width, round(image.shape[1] * scale)), max(height, round(image.shape[0] * scale)))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    resized = cv2.resize(image, size, interpolation=method)
    left, top = (size[0] - width) // 2, (size[1] - height) // 2
    return np.ascontiguousarray(resized[top : top + height, left : left + width])


def _mean(total: np.ndarray, share: np.ndarray) -> np.ndarray:
    """float32 [h, w, 3]: sums over the pixels of a part, divided by the part's share (0 to 255)."""
    return total * (255 / np.maximum(share, 0.5))[..., None]


def _half(image: np.ndarray) -> np.ndarray:
    return cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)


def _padded(image: np.ndarray, step: int) -> np.ndarray:
    """With sides that are multiples of step, by repeating the last row and column."""
    below, right = -image.shape[0] % step, -image.shape[1] % step
    if below or right:
        return cv2.copyMakeBorder(image, 0, below, 0, right, cv2.BORDER_REPLICATE)
    return image
