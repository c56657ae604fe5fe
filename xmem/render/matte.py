"""Soft masks from stored probabilities."""

from __future__ import annotations

import cv2
import numpy as np


def soft_mask(mask: np.ndarray, object_id: int, probability: np.ndarray | None, processed: bool) -> np.ndarray:
    """A soft mask uint8 [H, W] of one object, whose edge lies where that of its mask does.

    mask: index mask uint8 [H, W]. probability: float32 [h, w] at inference size; up to 1/3 is outside, from 2/3 on
    inside; None (a given mask): the mask's own edge, smoothed. processed: the mask was changed after it was computed,
    so that it and not the probability says what is inside.
    """
    inside = (mask == object_id).astype(np.uint8) * 255
    if probability is None:
        return cv2.GaussianBlur(inside, (0, 0), max(0.6, min(mask.shape) / 800))
    soft = np.clip(3 * cv2.resize(probability, mask.shape[::-1], interpolation=cv2.INTER_LINEAR) - 1, 0, 1)
    reach = 2 * max(2, min(mask.shape) // 120) + 1  # pixels; beyond it lies what is no part of the mask
    near = cv2.dilate(inside, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (reach, reach)))
    soft = np.minimum(np.round(soft * 255).astype(np.uint8), near)
    return np.maximum(soft, inside if processed else np.minimum(inside, 128))
