"""What a person would click, simulated: a first click inside the object, the next where the mask errs most."""

from __future__ import annotations

import cv2
import numpy as np

Generator = np.random.Generator
CLICK_OF, CLICK_NOT, NO_CLICK = 1.0, 0.0, -1.0


def depth(region: np.ndarray) -> np.ndarray:
    """Distance in pixels from the outside of a boolean region [h, w], beyond the picture's borders included."""
    padded = cv2.copyMakeBorder(region.astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    return cv2.distanceTransform(padded, cv2.DIST_L2, 3)[1:-1, 1:-1]


def next_click(
    truth: np.ndarray, mask: np.ndarray, rng: Generator | None = None, spread: float = 0.3
) -> tuple[float, float, float] | None:
    """x, y and kind (1 of it, 0 not of it) of the next click: the deepest place of the deepest error; None where mask
    and truth, boolean [h, w], agree.

    rng: take any place that is deeper than a random share, of at least `spread`, of the deepest.
    """
    missed, wrong = depth(truth & ~mask), depth(mask & ~truth)
    deepest, kind = (missed, CLICK_OF) if missed.max() >= wrong.max() else (wrong, CLICK_NOT)
    if deepest.max() == 0:
        return None
    if rng is None:
        y, x = np.unravel_index(int(deepest.argmax()), deepest.shape)
    else:
        places = np.flatnonzero(deepest >= rng.uniform(spread, 1.0) * deepest.max())
        y, x = np.unravel_index(int(rng.choice(places)), deepest.shape)
    return float(x), float(y), kind


def rough_box(truth: np.ndarray, rng: Generator) -> np.ndarray:
    """Left, top, right, bottom (float [4]) of a boolean mask [h, w], each side up to an eighth of its length off."""
    rows, columns = np.flatnonzero(truth.any(1)), np.flatnonzero(truth.any(0))
    left, right, top, bottom = columns[0], columns[-1] + 1, rows[0], rows[-1] + 1
    noise = rng.normal(0, 0.04, 4).clip(-0.125, 0.125) * np.array([right - left, bottom - top] * 2)
    return np.array([left, top, right, bottom]) + noise


def spoilt(truth: np.ndarray, others: np.ndarray, rng: Generator) -> np.ndarray:
    """The mask [h, w] as a tracker may have left it: moved, thicker or thinner, cut, or with some of `others`."""
    side = max(3, int(np.sqrt(truth.sum())))
    moved = rng.normal(0, 0.05 * side, 2)
    shift = np.array([[1, 0, moved[0]], [0, 1, moved[1]]], np.float32)
    mask: np.ndarray = cv2.warpAffine(truth.astype(np.uint8), shift, truth.shape[::-1], flags=cv2.INTER_NEAREST)
    kernel = np.ones((1 + 2 * int(rng.integers(0, 1 + side // 20 + 1)),) * 2, np.uint8)
    mask = cv2.dilate(mask, kernel) if rng.random() < 0.5 else cv2.erode(mask, kernel)
    if rng.random() < 0.5:
        y, x = (int(rng.choice(n)) for n in np.nonzero(truth))
        cv2.circle(mask, (x, y), int(side * rng.uniform(0.15, 0.5)), int(rng.random() < 0.4), -1)
    if rng.random() < 0.4:
        mask = np.maximum(mask, others.astype(np.uint8))
    return mask.astype(bool)
