"""How well clicks do, as the field of interactive segmentation counts: the next click is where the mask errs most."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from xmem.click import Clicker
from xmem.click.simulate import next_click
from xmem.errors import InputError
from xmem.render.refine import refine_mask
from xmem.scoring.metrics import region_similarity

Answer = Callable[[list[tuple[float, float, bool]]], np.ndarray]  # of all clicks so far -> a mask, bool [H, W]
MOST_CLICKS = 20
DOT = 0.015  # of an image's longer side: radius of the dots that stand for clicks where GrabCut is asked


@dataclass(frozen=True)
class ClickScores:
    """IoU, 0 to 1, of objects after each click: float [N, clicks]; after a click that was not needed, as before it."""

    ious: np.ndarray

    def median(self, clicks: int) -> float:
        """Median IoU after so many clicks."""
        return float(np.median(self.ious[:, clicks - 1]))

    def needed(self, iou: float) -> float:
        """NoC: mean number of clicks until that IoU, counting all that were allowed where it is not reached."""
        reached = self.ious >= iou
        first = np.where(reached.any(1), reached.argmax(1) + 1, self.ious.shape[1])
        return float(first.mean())

    def failed(self, iou: float) -> int:
        """Objects that do not reach that IoU."""
        return int((~(self.ious >= iou).any(1)).sum())


def click_through(truth: np.ndarray, answer: Answer, most: int = MOST_CLICKS, enough: float = 0.9) -> np.ndarray:
    """IoU after each of up to `most` clicks on an object, float [most]; no more of them from `enough` and 3 clicks on.

    truth: bool [H, W]; the first click is its deepest place.
    """
    clicks: list[tuple[float, float, bool]] = []
    mask, ious = np.zeros_like(truth), []
    for _ in range(most):
        found = next_click(truth, mask)
        if found is None:
            break
        clicks.append((found[0], found[1], found[2] > 0))
        mask = answer(clicks)
        ious.append(region_similarity(mask, truth))
        if len(ious) >= 3 and max(ious) >= enough:
            break
    return np.array(ious + [ious[-1] if ious else 1.0] * (most - len(ious)))


def network_answer(clicker: Clicker, image: np.ndarray) -> Answer:
    """Clicks that the network answers on an image uint8 [H, W, 3]."""
    held = clicker.image(image)
    return lambda clicks: held.mask(clicks)


def grabcut_answer(image: np.ndarray) -> Answer:
    """Clicks as dots of paint, which GrabCut grows into the object; those that are not of it, as another object's."""

    def answer(clicks: Sequence[tuple[float, float, bool]]) -> np.ndarray:
        painted = np.zeros(image.shape[:2], np.uint8)
        radius = max(3, round(DOT * max(image.shape[:2])))
        for x, y, of in clicks:
            cv2.circle(painted, (int(x), int(y)), radius, 1 if of else 2, -1)
        try:
            return refine_mask(image, painted, 1) == 1
        except InputError:  # nothing found: the dots are what there is
            return painted == 1

    return answer
