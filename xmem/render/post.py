"""Corrections of finished masks that need no new inference: growing, shrinking, filling holes, dropping specks."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from xmem.errors import InputError

MAX_GROW = 200  # pixels
SPECK_SHARE = 1 / 20  # of the object's largest piece: what is smaller is a speck


@dataclass(frozen=True)
class PostProcessing:
    """What is done to masks after tracking; the default does nothing.

    grow: pixels by which objects grow, negative to shrink them. fill_holes: background that one object encloses becomes
    that object. drop_specks: pieces smaller than 1/20 of the object's largest piece (each with what it encloses) become
    background.
    Raises InputError for a growth that is no whole number from -200 to 200, and for switches other than True and False.
    """

    grow: int = 0
    fill_holes: bool = False
    drop_specks: bool = False

    def __post_init__(self) -> None:
        is_number = isinstance(self.grow, int) and not isinstance(self.grow, bool)
        if not is_number or abs(self.grow) > MAX_GROW:
            raise InputError(
                f"Masks grow by a whole number of pixels from -{MAX_GROW} to {MAX_GROW}, not {self.grow!r}."
            )
        for name in ("fill_holes", "drop_specks"):
            if not isinstance(getattr(self, name), bool):
                raise InputError(f"{name} must be True or False, not {getattr(self, name)!r}.")


def post_process(mask: np.ndarray, post: PostProcessing) -> np.ndarray:
    """Index mask uint8 [H, W] after `post`: specks are dropped, then holes filled, then objects grown or shrunk.

    Ids stay what they are, and no object ever takes pixels of another one: what two objects grow into goes to the
    nearer. The edge of the frame is no edge of an object, so nothing shrinks there.
    Where there is nothing to do the input itself is returned, else a new array; the input is never changed.
    """
    if post == PostProcessing() or not mask.any():
        return mask
    result = mask.copy()
    if post.drop_specks:
        for object_id in object_ids(result):
            _drop_specks(result, object_id)
    if post.fill_holes:
        for object_id in object_ids(result):
            _fill_holes(result, object_id)
    if post.grow > 0:
        _grow(result, object_ids(result), post.grow)
    elif post.grow < 0:
        for object_id in object_ids(result):
            _shrink(result, object_id, -post.grow)
    return result


def grow(mask: np.ndarray, object_id: int, pixels: int) -> np.ndarray:
    """Index mask uint8 [H, W] in which one object has grown by `pixels`, or shrunk where negative; a new array.

    Other objects keep their pixels. Raises InputError for a number that PostProcessing would not take.
    """
    pixels = PostProcessing(grow=pixels).grow
    result = mask.copy()
    if pixels > 0:
        _grow(result, [object_id], pixels)
    elif pixels < 0:
        _shrink(result, object_id, -pixels)
    return result


def object_ids(mask: np.ndarray) -> list[int]:
    """Ids in an index mask uint8 [H, W], ascending, without the background."""
    left, top, width, height = cv2.boundingRect(mask)
    inside = np.ascontiguousarray(mask[top : top + height, left : left + width])
    counts = cv2.calcHist([inside], [0], None, [256], [0, 256]).ravel() if width else np.zeros(256)
    return [int(i) for i in np.flatnonzero(counts[1:]) + 1]


def box_of(mask: np.ndarray, margin: int = 0) -> tuple[slice, slice] | None:
    """Rows and columns around what is not 0 in uint8 [H, W], `margin` pixels wider within the frame; None if empty."""
    left, top, width, height = cv2.boundingRect(mask)
    if width == 0:
        return None
    return slice(max(0, top - margin), top + height + margin), slice(max(0, left - margin), left + width + margin)


def _object(index: np.ndarray, object_id: int, margin: int = 0) -> tuple[np.ndarray, np.ndarray] | None:
    """The part of index around an object, as a view [h, w], and the object in it as uint8 [h, w] of 0 and 255."""
    mask = cv2.inRange(index, object_id, object_id)
    box = box_of(mask, margin)
    return None if box is None else (index[box], np.ascontiguousarray(mask[box]))


def _drop_specks(index: np.ndarray, object_id: int) -> None:
    found = _object(index, object_id)
    if found is None:
        return
    part, mask = found
    # Outlines tell pieces apart several times faster than labelled components do.
    outlines, tree = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    pieces = [outline for outline, links in zip(outlines, tree[0], strict=True) if links[3] < 0]  # and no holes
    areas = np.array([_enclosed(outline) for outline in pieces])
    specks = np.zeros_like(mask)
    for number in np.flatnonzero(areas < areas.max() * SPECK_SHARE):
        cv2.drawContours(specks, pieces, int(number), 255, cv2.FILLED)
    np.copyto(part, 0, where=cv2.bitwise_and(specks, mask) > 0)


def _enclosed(outline: np.ndarray) -> float:
    """Pixels on and within an outline [N, 1, 2], by Pick's theorem."""
    return cv2.contourArea(outline) + len(outline) / 2 + 1


def _fill_holes(index: np.ndarray, object_id: int) -> None:
    found = _object(index, object_id)
    if found is None:
        return
    part, mask = found
    outlines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    filled = cv2.drawContours(np.zeros_like(mask), outlines, -1, 255, cv2.FILLED)
    np.copyto(part, object_id, where=(filled > 0) & (part == 0))


def _grow(mask: np.ndarray, objects: list[int], reach: int) -> None:
    """Grow `objects` into the background by `reach` pixels."""
    box = box_of(mask, reach)
    if box is None:
        return
    mask = mask[box]
    free = mask == 0  # [h, w]
    nearest = np.full(mask.shape, np.inf, np.float32)  # distance to the object that took a pixel
    for object_id in objects:
        box = box_of(cv2.inRange(mask, object_id, object_id), reach)
        if box is None:
            continue
        distance = _distance(cv2.bitwise_not(cv2.inRange(mask[box], object_id, object_id)))
        taken = (distance <= reach) & free[box]
        if len(objects) > 1:
            taken &= distance < nearest[box]
            np.copyto(nearest[box], distance, where=taken)
        np.copyto(mask[box], object_id, where=taken)


def _shrink(index: np.ndarray, object_id: int, pixels: int) -> None:
    found = _object(index, object_id, margin=1)
    if found is None:
        return
    part, mask = found
    if mask.all():  # the whole frame: there is no edge
        return
    np.copyto(part, 0, where=(mask > 0) & (_distance(mask) <= pixels))


def _distance(mask: np.ndarray) -> np.ndarray:
    """float32 [h, w]: pixels to the nearest 0 of uint8 [h, w]."""
    return cv2.distanceTransform(mask, cv2.DIST_L2, cv2.DIST_MASK_5)
