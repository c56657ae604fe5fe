"""Paintings and mask images as index masks: what API clients hand in as an editor's value, and mask files.

An editor's layers are RGBA at the frame's own size; object i has colour i - 1 of `OBJECT_COLORS`.
"""

from typing import Any

import cv2
import numpy as np

from xmem.errors import InputError
from xmem.render.masks import read_mask
from xmem.render.palette import OBJECT_COLORS

COLOURS = np.array(
    [[int(code[i : i + 2], 16) for i in (1, 3, 5)] for _, code in OBJECT_COLORS], dtype=np.int32
)  # [8, 3]
MAX_OBJECTS = len(COLOURS)
SOLID_DISTANCE = 12  # per channel: paint is exact, what is further off is a blend at a stroke's soft edge
MASK_DISTANCE = 60  # an opaque layer with colours that no brush has is a mask image, as API clients send it


def of_painting(value: dict[str, Any] | None, width: int, height: int, fill: bool = False) -> np.ndarray:
    """The index mask uint8 [height, width] of an editor's value; all zero where nothing is painted.

    value: {"background", "layers", "composite"} with layers as uint8 [H, W, 4]; a layer that is opaque all over is
    read like an uploaded mask. fill: closed outlines become their inside.
    Raises InputError for a painting of another size, or a mask image that cannot be used.
    """
    mask = np.zeros((height, width), np.uint8)
    for layer in (value or {}).get("layers") or []:
        painted = _decode(np.asarray(layer), width, height)
        mask = np.where(painted > 0, painted, mask)
    return fill_outlines(mask) if fill else mask


def _decode(layer: np.ndarray, width: int, height: int) -> np.ndarray:
    if layer.ndim != 3 or layer.shape[2] != 4:
        raise InputError("The painting arrived in a form that cannot be read: clear it and paint again.")
    opaque = layer[..., 3] >= 128  # [H, W]
    colours = layer[..., :3].astype(np.int32)
    nearest = np.zeros(opaque.shape, np.uint8)
    distance = np.full(opaque.shape, 256, np.int32)
    for i, colour in enumerate(COLOURS, start=1):
        away = np.abs(colours - colour).max(axis=2)
        nearest = np.where(away < distance, np.uint8(i), nearest)
        distance = np.minimum(distance, away)
    if opaque.all() and (distance > MASK_DISTANCE).any():
        return of_mask(layer[..., :3], width, height)[0]
    if opaque.shape != (height, width):
        raise InputError(
            f"The painting is {opaque.shape[1]}x{opaque.shape[0]} pixels but the video {width}x{height}: "
            "load the video again and paint on its first frame."
        )
    return _settle_edges(np.where(opaque, nearest, np.uint8(0)), opaque & (distance <= SOLID_DISTANCE))


def _settle_edges(mask: np.ndarray, solid: np.ndarray) -> np.ndarray:
    """Pixels at soft edges, where colours blend, take the object of the nearest solid paint: a blend is no object."""
    square = np.ones((3, 3), np.uint8)
    for i in np.unique(mask[solid]):
        if not cv2.erode((solid & (mask == i)).astype(np.uint8), square).any():
            solid = solid & (mask != i)
    if not solid.any():
        return np.zeros_like(mask)
    _, labels = cv2.distanceTransformWithLabels(
        (~solid).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    object_of_label = np.zeros(labels.max() + 1, np.uint8)
    object_of_label[labels[solid]] = mask[solid]
    return np.where(mask > 0, object_of_label[labels], np.uint8(0))


def fill_outlines(mask: np.ndarray) -> np.ndarray:
    """Closed outlines become their inside: unpainted pixels that an object's paint encloses join it.

    mask: index mask uint8 [H, W]. Of outlines inside each other the innermost counts; other paint stays as it is.
    """
    holes = []
    for i in np.unique(mask[mask > 0]):
        count, labels, stats, _ = cv2.connectedComponentsWithStats((mask != i).astype(np.uint8), connectivity=4)
        outside = set(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]]).tolist())
        holes += [
            (stats[label, cv2.CC_STAT_AREA], i, labels == label) for label in range(1, count) if label not in outside
        ]
    filled = mask.copy()
    for _, i, inside in sorted(holes, key=lambda hole: -hole[0]):
        filled[inside & (mask == 0)] = i
    return filled


def of_mask(source: Any, width: int, height: int) -> tuple[np.ndarray, str]:
    """A mask image as an index mask uint8 [height, width] that the brush colours can show, and what was done to it.

    source: whatever `xmem.render.masks.read_mask` takes. Ids above the number of colours are counted anew from 1.
    Raises InputError for a mask that cannot be used.
    """
    given = read_mask(source, width, height)
    mask, note = given.index, given.note
    if len(given.objects) > MAX_OBJECTS:
        raise InputError(
            f"The mask holds {len(given.objects)} objects and the page has colours for {MAX_OBJECTS}: "
            "use the command line, or a mask with fewer objects."
        )
    if max(given.objects) > MAX_OBJECTS:
        numbers = np.zeros(256, np.uint8)
        numbers[list(given.objects)] = np.arange(1, len(given.objects) + 1)
        mask = numbers[mask]
    return mask, note
