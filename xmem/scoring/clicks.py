"""How well clicks do, as the field of interactive segmentation counts: the next click is where the mask errs most."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from xmem.click import Clicker
from xmem.click.simulate import next_click
from xmem.scoring.metrics import region_similarity

Answer = Callable[[list[tuple[float, float, bool]]], np.ndarray]  # of all clicks so far -> a mask, bool [H, W]
MOST_CLICKS = 20
DOT, AROUND = 0.012, 0.2  # of an image's longer side: radii of GrabCut's dots, and of what may be object around them
GRABCUT_SIDE, GRABCUT_ROUNDS = 400, 3  # longer side in pixels at which it is asked; rounds of it


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


def click_through(
    truth: np.ndarray,
    answer: Answer,
    most: int = MOST_CLICKS,
    enough: float = 0.9,
    start: np.ndarray | None = None,
) -> np.ndarray:
    """IoU after each of up to `most` clicks on an object, float [most]; no more of them from `enough` and 3 clicks on.

    truth: bool [H, W]; the first click is its deepest place, or where `start`, a mask bool [H, W], errs most.
    """
    clicks: list[tuple[float, float, bool]] = []
    mask, ious = np.zeros_like(truth) if start is None else start, []
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
    """Clicks as certain dots for GrabCut (Rother et al., 2004), which begins with object around those on the object."""
    height, width = image.shape[:2]
    scale = min(1.0, GRABCUT_SIDE / max(height, width))
    small = cv2.resize(image, (round(width * scale), round(height * scale)), interpolation=cv2.INTER_AREA)

    def answer(clicks: Sequence[tuple[float, float, bool]]) -> np.ndarray:
        mask = np.full(small.shape[:2], cv2.GC_PR_BGD, np.uint8)
        places = [(int(x * scale), int(y * scale), of) for x, y, of in clicks]
        for x, y, of in places:
            if of:
                cv2.circle(mask, (x, y), round(AROUND * GRABCUT_SIDE), cv2.GC_PR_FGD, -1)
        for x, y, of in places:
            cv2.circle(mask, (x, y), round(DOT * GRABCUT_SIDE), cv2.GC_FGD if of else cv2.GC_BGD, -1)
        if (mask % 2 == 1).all() or not (mask % 2 == 1).any():
            return np.full((height, width), bool((mask % 2 == 1).all()))
        model = np.zeros((2, 1, 65))
        cv2.setRNGSeed(0)  # it begins at random
        cv2.grabCut(small, mask, (0, 0, 1, 1), model[0], model[1], GRABCUT_ROUNDS, cv2.GC_INIT_WITH_MASK)
        return cv2.resize(mask % 2, (width, height), interpolation=cv2.INTER_NEAREST) > 0

    return answer
