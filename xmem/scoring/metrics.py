"""Region similarity J and boundary accuracy F, as DAVIS defines them (Perazzi et al., CVPR 2016)."""

from __future__ import annotations

import math

import cv2
import numpy as np

BOUNDARY_TOLERANCE = 0.008  # of the image diagonal


def region_similarity(pred: np.ndarray, truth: np.ndarray) -> float:
    """J: intersection over union of two masks, bool [H, W]; 1 where both are empty.

    Raises ValueError where their shapes differ.
    """
    pred, truth = _pair(pred, truth)
    union = np.count_nonzero(pred | truth)
    return np.count_nonzero(pred & truth) / union if union else 1.0


def boundary_accuracy(pred: np.ndarray, truth: np.ndarray, tolerance: float = BOUNDARY_TOLERANCE) -> float:
    """F: harmonic mean of the precision and recall of the boundary of `pred` against that of `truth`, bool [H, W].

    A boundary pixel counts as found where the other boundary passes within ceil(tolerance * diagonal) pixels.
    1 where neither mask has a boundary, 0 where one has none. Raises ValueError where the shapes differ.
    """
    pred, truth = _pair(pred, truth)
    pred_boundary, truth_boundary = boundary(pred), boundary(truth)
    found, wanted = np.count_nonzero(pred_boundary), np.count_nonzero(truth_boundary)
    if found == 0 or wanted == 0:
        return float(found == wanted)
    disk = _disk(math.ceil(tolerance * math.hypot(*truth.shape)))
    precision = np.count_nonzero(pred_boundary & _dilate(truth_boundary, disk)) / found
    recall = np.count_nonzero(truth_boundary & _dilate(pred_boundary, disk)) / wanted
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def boundary(mask: np.ndarray) -> np.ndarray:
    """Pixels of bool [H, W] that differ from their right, lower or lower right neighbour (DAVIS's one-pixel boundary).

    Beyond the image lies a copy of its last row and column, so a mask that touches the edge has no boundary there.
    """
    padded = np.pad(mask, ((0, 1), (0, 1)), mode="edge")
    return (mask != padded[:-1, 1:]) | (mask != padded[1:, :-1]) | (mask != padded[1:, 1:])


def _disk(radius: int) -> np.ndarray:
    """uint8 [2 r + 1, 2 r + 1], 1 within `radius` of the centre."""
    y, x = np.ogrid[-radius : radius + 1, -radius : radius + 1]
    return (x * x + y * y <= radius * radius).astype(np.uint8)


def _dilate(mask: np.ndarray, element: np.ndarray) -> np.ndarray:
    return cv2.dilate(mask.astype(np.uint8), element).astype(bool)


def _pair(pred: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if pred.shape != truth.shape or pred.ndim != 2:
        raise ValueError(f"Two masks of one size are compared, not {pred.shape} and {truth.shape}.")
    return pred.astype(bool), truth.astype(bool)
