"""An image that is clicked on: what all networks that answer clicks have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import torch

from xmem.errors import InputError

Click = tuple[float, float, bool]
Box = tuple[float, float, float, float]

SPECK = 0.02  # of a mask: smaller parts beside others are dropped
MOST_ANSWERS = 64  # kept of an image: to clicks so far


class Held(ABC):
    """An image that is clicked on. It keeps a bounded number of answers, and is for one thread at a time.

    image: uint8 [H, W, 3] RGB.
    """

    looks_closer = False  # whether an answer may be had more quickly, without a closer look

    def __init__(self, image: np.ndarray):
        self.image = image
        self._answers: OrderedDict[tuple, Any] = OrderedDict()

    @torch.inference_mode()
    def mask(
        self,
        clicks: Sequence[Click],
        box: Box | None = None,
        previous: np.ndarray | None = None,
        quick: bool = False,
    ) -> np.ndarray:
        """What some clicks mean: bool [H, W].

        clicks: (x, y, is it of the object) in pixels of the image, in the order in which they were made. box: left,
        top, right, bottom around the object. previous: a mask to correct, bool [H, W]. quick: without the closer look
        at the object, as for a pointer that moves.
        Raises InputError where there is neither click, box nor previous mask, or a place outside the image.
        """
        self._check(clicks, box, previous)
        clicks = [(float(x), float(y), bool(of)) for x, y, of in clicks]  # which may have been NumPy's
        box = None if box is None else (float(box[0]), float(box[1]), float(box[2]), float(box[3]))
        return without_specks(self._logits(self._answer(tuple(clicks), box, previous, quick)) > 0, clicks)

    def _check(self, clicks: Sequence[Click], box: Box | None, previous: np.ndarray | None) -> None:
        height, width = self.image.shape[:2]
        if not clicks and box is None and previous is None:
            raise InputError("Nothing is said about the object: click on it, or give a box.")
        for x, y, _ in clicks:
            if not (0 <= x < width and 0 <= y < height):
                raise InputError(f"A click at {x:g}, {y:g} is outside the image of {width} x {height} pixels.")
        if box is not None and not (box[0] < box[2] and box[1] < box[3]):
            raise InputError("A box is left, top, right, bottom, with left before right and top above bottom.")
        if previous is not None and previous.shape != (height, width):
            raise InputError(
                f"The earlier mask is {previous.shape[1]} x {previous.shape[0]}, the image {width} x {height}."
            )

    def _answer(self, clicks: tuple[Click, ...], box: Box | None, previous: np.ndarray | None, quick: bool) -> Any:
        """The answer to all clicks; each is answered with the answer to those before it."""
        quick = quick and self.looks_closer
        known = (clicks, box, None if previous is None else hash(previous.tobytes()), quick)
        if known in self._answers:
            self._answers.move_to_end(known)
            return self._answers[known]
        before = None
        if len(clicks) > 1 or (clicks and box is not None):
            before = self._answer(clicks[:-1], box, previous, False)
        answer = self._decide(clicks, box, previous, before, quick)
        self._answers[known] = answer
        while len(self._answers) > MOST_ANSWERS:
            self._answers.popitem(last=False)
        return answer

    @abstractmethod
    def _decide(
        self, clicks: tuple[Click, ...], box: Box | None, previous: np.ndarray | None, before: Any, quick: bool
    ) -> Any:
        """An answer, of whatever kind. before: that to all clicks but the last; None at the first."""

    @abstractmethod
    def _logits(self, answer: Any) -> np.ndarray:
        """An answer as logits at the image's size, float32 [H, W]."""


def without_specks(mask: np.ndarray, clicks: Sequence[Click]) -> np.ndarray:
    """A mask, bool [H, W], without parts of less than SPECK of it that nobody clicked on."""
    left, top, width, height = cv2.boundingRect(mask.view(np.uint8))
    if not width:
        return mask
    part = np.s_[top : top + height, left : left + width]
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask[part].view(np.uint8), connectivity=8)
    if count < 3:
        return mask
    kept = stats[:, cv2.CC_STAT_AREA] >= SPECK * stats[1:, cv2.CC_STAT_AREA].sum()
    for x, y, of in clicks:
        column, row = int(x) - left, int(y) - top
        if 0 <= column < width and 0 <= row < height:
            kept[labels[row, column]] |= of
    kept[0] = False
    whole = np.zeros_like(mask)
    whole[part] = kept[labels]
    return whole
