"""What speaks for and against a mask besides the network's own certainty: motion, colours, loose parts, both passes.

All of it is measured on a small copy of the frame (`SIDE` pixels), so that a run hardly notices.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

SIDE = 96  # pixels, shorter side of the frames looked at
_LEAST_PIXELS = 7  # of an object on such a frame: fewer tell nothing
_REACH = 5  # pixels beside a mask among which its colours are looked for
_BINS = (6, 12, 12)  # of L, a and b
_LIKE = 1.0  # logarithm of how much more usual a colour is in the object than elsewhere, to count as the object's
_BLUR = 3  # pixels around one that its blurred colour is made of
_RARE = 1e-4  # share below which no colour is told from another


@dataclass(frozen=True)
class Evidence:
    """Of one object on one frame, each from 0 (nothing speaks against it) to 1 or so; None where it cannot be told.

    motion: 1 minus the overlap (J) with the neighbouring frame's mask carried along by the optical flow.
    colour: Hellinger distance of its colours from those of the painted frame that they are most like.
    beside: pixels close beside it that have its colours, as a share of its own. loose: share of it outside its largest
    piece. lost, gained: the largest piece that the carried mask has and it has not, and the reverse, as a share of
    both together.
    passes: 1 minus the overlap of the forward and the backward pass.
    """

    motion: float | None = None
    colour: float | None = None
    beside: float | None = None
    loose: float | None = None
    lost: float | None = None
    gained: float | None = None
    passes: float | None = None


NAMES = tuple(Evidence.__dataclass_fields__)
NOTHING = Evidence()


class View:
    """A frame and its index mask, small: image uint8 [h, w, 3] RGB, grey [h, w], mask uint8 [h, w].

    image: uint8 [H, W, 3] RGB; mask: uint8 [H, W]. reach: pixels of the small copy beside the objects as far as which
    colours will be asked for, None for everywhere.
    """

    def __init__(self, image: np.ndarray, mask: np.ndarray, reach: int | None = _REACH):
        height, width = image.shape[:2]
        scale = min(1.0, SIDE / min(height, width))
        size = max(1, round(width * scale)), max(1, round(height * scale))
        # Four pixels of the frame are averaged for one, wherever it is much larger: all of them tell no more.
        self.image = cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)
        self.grey = cv2.cvtColor(self.image, cv2.COLOR_RGB2GRAY)
        self.mask = cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST)
        self.reach = reach
        self._colours: np.ndarray | None = None

    @property
    def colours(self) -> np.ndarray:
        """The bin of each pixel's colour, int [h, w]; 0 where none is asked for."""
        if self._colours is None:  # not `cached_property`, which in Python 3.11 makes all views wait for each other
            self._colours = self._bins()
        return self._colours

    def _bins(self) -> np.ndarray:
        colours = np.zeros(self.mask.shape, np.int16)
        rows, columns = self._asked()
        if rows.start < rows.stop:
            top, left = max(0, rows.start - _BLUR), max(0, columns.start - _BLUR)
            around = self.image[top : rows.stop + _BLUR, left : columns.stop + _BLUR]
            lab = cv2.cvtColor(cv2.GaussianBlur(around, (0, 0), 0.8), cv2.COLOR_RGB2LAB)
            lab = lab[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
            colours[rows, columns] = cv2.transform(cv2.LUT(lab, _bins_of_levels()), np.ones((1, 3), np.float32))
        return colours

    def _asked(self) -> tuple[slice, slice]:
        """Rows and columns in which colours will be asked for."""
        height, width = self.mask.shape
        if self.reach is None:
            return slice(0, height), slice(0, width)
        x, y, wide, high = cv2.boundingRect(self.mask)
        if wide == 0:
            return slice(0, 0), slice(0, 0)
        rows, columns = ((at - self.reach, at + length + self.reach) for at, length in ((y, high), (x, wide)))
        return slice(max(0, rows[0]), min(height, rows[1])), slice(max(0, columns[0]), min(width, columns[1]))

    def usual(self, where: np.ndarray) -> np.ndarray:
        """The share of each colour among some pixels, bool [h, w] -> float [bins]."""
        counts = np.bincount(self.colours[where], minlength=int(np.prod(_BINS))).astype(np.float32)
        smooth = cv2.GaussianBlur(counts.reshape(_BINS).transpose(1, 2, 0), (3, 3), 0.7).transpose(2, 0, 1).ravel()
        return smooth / max(float(smooth.sum()), 1e-9)


@dataclass(frozen=True)
class _Painted:
    """Colours on a frame whose mask was given: of the object, and of all that is not it; float [bins]."""

    own: np.ndarray
    other: np.ndarray


class Witness:
    """Collects evidence over the frames of a span, for several threads. objects: the ids that are followed."""

    def __init__(self, objects: Sequence[int]):
        self._objects = objects
        self._painted: dict[int, dict[int, _Painted]] = {}  # object -> frame -> colours
        self._flows = threading.local()

    def painted(self, frame: int, image: np.ndarray, mask: np.ndarray) -> None:
        """Tell of a frame with a given mask, before any is looked at: image uint8 [H, W, 3] RGB, index mask uint8
        [H, W]."""
        view = View(image, mask, reach=None)
        for i in self._objects:
            own = view.mask == i
            if np.count_nonzero(own) >= _LEAST_PIXELS:
                self._painted.setdefault(i, {})[frame] = _Painted(view.usual(_inner(own)), view.usual(~own))

    def look(self, view: View, before: View | None = None, passes: Mapping[int, float] | None = None) -> list[Evidence]:
        """What can be told of each object, in the order of `objects`.

        before: of the frame to compare with. passes: per object, see `Evidence`.
        """
        carried = self._carried(view, before) if before is not None else None
        return [self._of(i, view, carried, (passes or {}).get(i)) for i in self._objects]

    def _carried(self, view: View, before: View) -> np.ndarray | None:
        """The neighbouring frame's mask, each pixel where the flow has it on this one; uint8 [h, w]."""
        if view.grey.shape != before.grey.shape or min(view.grey.shape) < _REACH * 2:
            return None
        # where each pixel is on the neighbouring frame; OpenCV's stub knows no None
        flow = self._flow().calc(view.grey, before.grey, None)  # type: ignore[call-overload]  # [h, w, 2]
        came_from = cv2.add(_places(*view.grey.shape), flow)
        return cv2.remap(before.mask, came_from, None, cv2.INTER_NEAREST)  # type: ignore[call-overload]

    def _flow(self) -> cv2.DISOpticalFlow:
        """This thread's own, which has buffers."""
        if not hasattr(self._flows, "own"):
            self._flows.own = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
        return self._flows.own

    def _of(self, i: int, view: View, carried: np.ndarray | None, passes: float | None) -> Evidence:
        own = view.mask == i
        area = int(np.count_nonzero(own))
        passes = None if passes is None else round(passes, 4)
        if area < _LEAST_PIXELS:
            return Evidence(passes=passes)
        motion = lost = gained = None
        if carried is not None:
            came = carried == i
            both, either = np.count_nonzero(own & came), np.count_nonzero(own | came)
            motion = round(1 - both / either, 4)
            lost, gained = (round(_largest_piece(part, thin=False) / either, 4) for part in (came & ~own, own & ~came))
        colour, beside = self._of_colours(i, view, own, area)
        loose = round(max(0.0, 1 - _largest_piece(own) / area), 4)
        return Evidence(motion, colour, beside, loose, lost, gained, passes)

    def _of_colours(self, i: int, view: View, own: np.ndarray, area: int) -> tuple[float | None, float | None]:
        """Evidence.colour and .beside; None where the object was not painted."""
        painted = self._painted.get(i)
        if not painted:
            return None, None
        now = np.sqrt(view.usual(_inner(own)))
        alike = {frame: float(now @ np.sqrt(known.own)) for frame, known in painted.items()}
        nearest = max(alike, key=alike.__getitem__)
        reach = cv2.dilate(own.view(np.uint8), np.ones((2 * _REACH + 1,) * 2, np.uint8)) > 0
        ring = reach & ~(cv2.dilate(own.view(np.uint8), _CROSS) > 0)
        known = painted[nearest]
        elsewhere = (known.other + view.usual(ring)) / 2 if ring.any() else known.other
        like = np.log(known.own + _RARE) - np.log(elsewhere + _RARE)  # [bins]
        beside = np.count_nonzero(like[view.colours[ring]] > _LIKE) / area
        return round(max(0.0, 1 - alike[nearest]) ** 0.5, 4), round(min(beside, 1.0), 4)


_CROSS = np.ones((3, 3), np.uint8)


@lru_cache(maxsize=1)
def _bins_of_levels() -> np.ndarray:
    """What each level of L, a and b adds to the number of a colour's bin, float32 [1, 256, 3]."""
    levels = np.arange(256)
    steps = levels // 43, *(np.clip((levels - 64) // 11, 0, _BINS[c] - 1) for c in (1, 2))
    weights = _BINS[1] * _BINS[2], _BINS[2], 1
    return np.stack([step * weight for step, weight in zip(steps, weights, strict=True)], 1)[None].astype(np.float32)


@lru_cache(maxsize=4)
def _places(height: int, width: int) -> np.ndarray:
    """(x, y) of each pixel, float32 [h, w, 2]; not to be changed."""
    rows, columns = np.indices((height, width), np.float32)
    return np.dstack([columns, rows])


def _inner(mask: np.ndarray) -> np.ndarray:
    """bool [h, w] without its border, which has colours of both sides; all of it where that leaves little."""
    inner = cv2.erode(mask.view(np.uint8), _CROSS) > 0
    return inner if np.count_nonzero(inner) >= _LEAST_PIXELS else mask


def _largest_piece(mask: np.ndarray, thin: bool = True) -> int:
    """Pixels of the largest connected piece of bool [h, w]. thin: whether seams a pixel or two wide count."""
    x, y, width, height = cv2.boundingRect(mask.view(np.uint8))
    if width == 0:
        return 0
    counted: np.ndarray = mask[max(0, y - 1) : y + height + 1, max(0, x - 1) : x + width + 1].view(np.uint8)
    if not thin:
        counted = cv2.morphologyEx(counted, cv2.MORPH_OPEN, _CROSS)
        if not counted.any():
            return 0
    count, _, figures, _ = cv2.connectedComponentsWithStats(counted, connectivity=8)
    return int(figures[1:, cv2.CC_STAT_AREA].max()) if count > 1 else 0


def disagreement(first: np.ndarray, second: np.ndarray, objects: Sequence[int]) -> dict[int, float]:
    """Per object 1 minus the overlap (J) of what two passes gave it; probabilities float32 [O, h, w] of each."""
    masks = []
    for prob in (first, second):
        background = 1 - prob.sum(axis=0)
        best = np.maximum(background, prob.max(axis=0, initial=0))
        masks.append((prob >= best) & (prob > background))
    unions = [np.count_nonzero(a | b) for a, b in zip(*masks, strict=True)]
    shared = [np.count_nonzero(a & b) for a, b in zip(*masks, strict=True)]
    return {i: 1 - s / u if u else 0.0 for i, s, u in zip(objects, shared, unions, strict=True)}
