"""Shot cuts, found while a video streams by, and what they mean for the memories."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Mapping
from functools import cached_property
from typing import Any

import cv2
import numpy as np

_WIDTH, _HEIGHT = 64, 36  # pixels to which a frame is reduced: enough to tell scenes, quick to compare
_LEVELS = 8  # of the histogram, per channel
HISTORY = 6  # frames that a new one is compared with: a flash of up to 5 frames comes back to one of them
_SHIFT = 4  # pixels of the reduced frame by which a block may have moved: a sixteenth of the width
_BLOCK = 6  # pixels
_BLANK = 5.0  # grey levels of standard deviation below which a frame shows nothing (black, white-out)

# Chosen on pairs of DAVIS clips; tests/video/test_cuts.py measures what they give.
_COLOUR = 0.25  # part of the colour histogram that must change
_COLOUR_RISE = 1.4  # times what the frames before changed by: fast motion changes every frame
_STRUCTURE = 0.28  # see _Look.structure_change
_STRUCTURE_AFTER_BLANK = 0.42  # more, since the scene went on unseen, and its colours come back one by one

_USUAL_FRAMES = 10  # of which the mean certainty is what is usual
_SEEN_AGAIN = 0.9  # part of the usual certainty at which objects count as seen again after a cut
_LEAST_CERTAINTY = 0.5  # usual at least: where objects were lost before a cut, more is asked for


class CutDetector:
    """Tells at each frame of a video, given in time order, whether a new shot begins there. Holds a few tiny images.

    A cut changes the colours at once, more than the motion before it did, and leaves nothing where it was. So fast
    motion, flashes and changes of light are none, and neither are fades to black and back, nor dissolves, whose single
    steps are small. After a blank stretch (black, white) the
    comparison is with what was seen before it, so that fading to black and up to another scene is a cut.
    """

    def __init__(self) -> None:
        self._seen: deque[_Look] = deque(maxlen=HISTORY)
        self._changes: deque[float] = deque([0.0], maxlen=HISTORY)
        self._after_blank = False

    def is_cut(self, image: np.ndarray) -> bool:
        """Take the next frame, uint8 [H, W, 3] RGB of any size; True where it begins a new shot, never on the first."""
        look = _look(image)
        if look is None:
            self._after_blank = True
            return False
        cut = self._begins_shot(look)
        self._seen.append(look)
        self._after_blank = False
        return cut

    def _begins_shot(self, look: _Look) -> bool:
        if self._after_blank:
            return self._is_other_scene(look, _STRUCTURE_AFTER_BLANK)
        change = look.colour_change(self._seen) if self._seen else 0.0
        cut = change > max(_COLOUR, _COLOUR_RISE * max(self._changes)) and self._is_other_scene(look, _STRUCTURE)
        if not cut:
            self._changes.append(change)
        return cut

    def _is_other_scene(self, look: _Look, limit: float) -> bool:
        changes = (look.structure_change(other) for other in reversed(self._seen))
        return bool(self._seen) and all(change > limit for change in changes)


class _Look:
    """A frame reduced. histogram: float32 [512] of RGB, sums to 1."""

    def __init__(self, histogram: np.ndarray, levels: np.ndarray, mean: float, contrast: float):
        self.histogram = histogram
        self._levels, self._mean, self._contrast = levels, mean, contrast

    @cached_property
    def grey(self) -> np.ndarray:
        """float32 [36, 64], free of brightness and contrast."""
        return (self._levels.astype(np.float32) - self._mean) / self._contrast

    def colour_change(self, others: Collection[_Look]) -> float:
        """The part of the pixels, 0 to 1, that other colours would have to be found for, to be like the nearest of
        `others`."""
        shared = np.minimum(self.histogram, [other.histogram for other in others]).sum(axis=1)
        return 1 - float(shared.max())

    def structure_change(self, other: _Look) -> float:
        """0 where the same things are seen, moved or lit otherwise; about 0.7 between unrelated images.

        The geometric mean of two doubts: what no shift of a block explains, and 1 minus the correlation.
        """
        correlation = float((self.grey * other.grey).mean())
        return (_residual(other.grey, self.grey) * max(0.0, 1 - correlation)) ** 0.5


def _look(image: np.ndarray) -> _Look | None:
    """The frame reduced, or None where it shows nothing."""
    step = max(1, min(image.shape[0] // (2 * _HEIGHT), image.shape[1] // (2 * _WIDTH)))
    small = cv2.resize(image[::step, ::step], (_WIDTH, _HEIGHT), interpolation=cv2.INTER_AREA)
    levels = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
    mean, contrast = (float(found[0, 0]) for found in cv2.meanStdDev(levels))
    if contrast < _BLANK:
        return None
    histogram = cv2.calcHist([small], [0, 1, 2], None, [_LEVELS] * 3, [0, 256] * 3).ravel()
    return _Look(histogram / (_WIDTH * _HEIGHT), levels, mean, contrast)


def _residual(before: np.ndarray, after: np.ndarray) -> float:
    """Mean difference that remains of grey [36, 64] when each block comes from the best place near it."""
    padded = cv2.copyMakeBorder(before, _SHIFT, _SHIFT, _SHIFT, _SHIFT, cv2.BORDER_REPLICATE)
    best = np.full_like(after, np.inf)
    for y in range(2 * _SHIFT + 1):
        for x in range(2 * _SHIFT + 1):
            difference = cv2.absdiff(padded[y : y + _HEIGHT, x : x + _WIDTH], after)
            best = np.minimum(best, cv2.blur(difference, (_BLOCK, _BLOCK)))
    return float(best.mean())


class MemoryGate:
    """Keeps frames of another scene out of the memories: after a cut none enters until the objects are seen again.

    They count as seen once their certainty is back near what it was before the cut, or a mask was given, which is
    certain. So the gate stays shut while no object is found, or a doubtful one. It cannot tell an object from another
    one that the network takes for it: xmem-lite, shown clips A B A, was as certain of something in B within ten frames
    in 24 of 27. Asking for more certainty keeps B out more often (0.98: in 17 of 27), but the gate then stays shut on
    the return to A as well: mean J there was 0.74 without a gate, 0.73 with this one, 0.69 at 0.98.
    """

    def __init__(self, saved: Mapping[str, Any] | None = None) -> None:
        """saved: what `save` gave, to go on from."""
        self._usual: deque[float] = deque(saved["usual"] if saved else (), maxlen=_USUAL_FRAMES)
        self._shut = bool(saved and saved["shut"])

    def save(self) -> dict[str, Any]:
        """What it goes by, in JSON's types."""
        return {"usual": [float(value) for value in self._usual], "shut": self._shut}

    def allows(self, is_cut: bool, certainty: float) -> bool:
        """Whether the next frame may be remembered. is_cut: it begins a shot. certainty: 0 to 1, of the objects' pixels
        on the frame before it, 0 where none is seen."""
        if is_cut:
            self._shut = True
            return False
        if self._shut and certainty >= _SEEN_AGAIN * max(float(np.mean(self._usual or 0.0)), _LEAST_CERTAINTY):
            self._shut = False
        if not self._shut:
            self._usual.append(certainty)
        return not self._shut
