"""Clicks on an image -> the mask of what they mean: features once for an image, then a few milliseconds a click."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch

from xmem.checkpoints import read_state
from xmem.checkpoints.catalogue import CLICK
from xmem.checkpoints.load import locate, ready
from xmem.device import choose_precision, select_device
from xmem.engine.preparing import IMAGE_MEAN, IMAGE_STD
from xmem.errors import InputError
from xmem.networks.click import ClickNet, Given, Seen
from xmem.networks.weights import named_tensors, network_of

Click = tuple[float, float, bool]
Box = tuple[float, float, float, float]

STRIDE = 32  # sides of what the network sees are multiples of it
WHOLE, CLOSER = 448, 352  # longer sides at which the network sees an image, and a part of it around the object
MARGIN = 0.35  # of the object's box, on each side, that a closer look takes in
WORTH = 1.3  # times by which a closer look must be closer
SPECK = 0.02  # of a mask: smaller parts beside others are dropped
MOST_VIEWS, MOST_ANSWERS = 4, 64  # kept of an image: looks with their features, masks of clicks so far


@dataclass(frozen=True)
class View:
    """A look at a part of an image: left, top, width and height in its pixels; seen at `size` (h, w)."""

    left: int
    top: int
    width: int
    height: int
    size: tuple[int, int]
    seen: Seen

    def covers(self, box: Box) -> bool:
        """Whether a box (left, top, right, bottom) lies in it and fills enough of it to be seen well."""
        inside = self.left <= box[0] and self.top <= box[1]
        inside = inside and box[2] <= self.left + self.width and box[3] <= self.top + self.height
        return inside and max(box[2] - box[0], box[3] - box[1]) > 0.4 * max(self.width, self.height)

    def place(self, x: float, y: float) -> tuple[float, float]:
        """Where a place of the image, at a pixel's middle, lies in what the network sees."""
        return (
            (x + 0.5 - self.left) * self.size[1] / self.width - 0.5,
            (y + 0.5 - self.top) * self.size[0] / self.height - 0.5,
        )


class Clicker:
    """The click network, ready for images. Shared by all who click: it never changes.

    source: the registered name, or the path of a file. device: see `select_device`; precision: see `choose_precision`.
    Raises InputError for a file that is none of it.
    """

    def __init__(self, source: str | os.PathLike = CLICK, device: str = "auto", precision: str = "auto"):
        place = select_device(device)
        dtype = choose_precision(precision, place)
        tensors = named_tensors(read_state(locate(source)))
        self.model = ready(network_of(ClickNet, tensors, "click network"), place, dtype)

    def image(self, image: np.ndarray) -> Held:
        """Hold an image, uint8 [H, W, 3] RGB: its features are computed now, once for all clicks.

        Raises InputError for another shape or type.
        """
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
            raise InputError("An image to click on is RGB, 8 bits a colour: uint8 [height, width, 3].")
        return Held(self.model, image)


class Held:
    """An image that is clicked on. It keeps a bounded number of looks and answers, and is for one thread at a time."""

    def __init__(self, model: ClickNet, image: np.ndarray):
        self._model, self._image = model, image
        self._views: OrderedDict[tuple[int, int, int, int], View] = OrderedDict()
        self._answers: OrderedDict[tuple, tuple[np.ndarray, View]] = OrderedDict()
        height, width = image.shape[:2]
        self._whole = self._look(0, 0, width, height, WHOLE)

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
        at a small object, as for a pointer that moves.
        Raises InputError where there is neither click, box nor previous mask, or a place outside the image.
        """
        self._check(clicks, box, previous)
        logits, view = self._answer(tuple(clicks), box, previous, quick)
        return without_specks(self._paste(logits, view) > 0, clicks)

    def _check(self, clicks: Sequence[Click], box: Box | None, previous: np.ndarray | None) -> None:
        height, width = self._image.shape[:2]
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

    def _answer(
        self, clicks: tuple[Click, ...], box: Box | None, previous: np.ndarray | None, quick: bool
    ) -> tuple[np.ndarray, View]:
        """Logits float32 [h, w] of a view after all clicks; each is answered with the answer to those before it."""
        known = (clicks, box, None if previous is None else hash(previous.tobytes()), quick)
        if known in self._answers:
            self._answers.move_to_end(known)
            return self._answers[known]
        start = None if previous is None else np.where(previous, np.float32(1), np.float32(0))
        if len(clicks) > 1 or (clicks and box is not None):
            start = _probability(self._paste(*self._answer(clicks[:-1], box, previous, quick)))
        answer = self._decode(self._whole, clicks, box, start), self._whole
        around = None if quick else self._around(answer[0], clicks, box, start)
        if around is not None:
            closer = self._closer(around)
            refined = _probability(self._paste(*answer))
            answer = self._decode(closer, clicks, box, refined), closer
        self._answers[known] = answer
        while len(self._answers) > MOST_ANSWERS:
            self._answers.popitem(last=False)
        return answer

    def _decode(self, view: View, clicks: Sequence[Click], box: Box | None, previous: np.ndarray | None) -> np.ndarray:
        """Logits float32 [h, w] at half of what the network sees."""
        height, width = view.size
        places = [(*view.place(x, y), float(of)) for x, y, of in clicks]
        places = [(x, y, of) for x, y, of in places if -0.5 <= x < width and -0.5 <= y < height]
        given_box = (-1.0,) * 4 if box is None else (*view.place(*box[:2]), *view.place(*box[2:]))
        seen: np.ndarray = np.zeros((height // 2, width // 2), np.float32)
        if previous is not None:
            part = previous[view.top : view.top + view.height, view.left : view.left + view.width]
            seen = cv2.resize(part, (width // 2, height // 2), interpolation=cv2.INTER_AREA)
        device = self._model.device
        given = Given(
            torch.tensor([places or [(0.0, 0.0, -1.0)]], device=device),
            torch.tensor([given_box], device=device),
            torch.from_numpy(seen)[None, None].to(device),
            torch.tensor([float(previous is not None)], device=device),
        )
        return self._model.decode(view.seen, given)[0][0, 0].float().cpu().numpy()

    def _around(
        self, logits: np.ndarray, clicks: Sequence[Click], box: Box | None, previous: np.ndarray | None
    ) -> Box | None:
        """The box of what is meant, in pixels of the image; None where it fills the image, so that there is no closer
        look, or is not found."""
        height, width = self._image.shape[:2]
        rows, columns = np.nonzero(logits > 0)
        if not len(rows):
            return None
        ratio_y, ratio_x = height / logits.shape[0], width / logits.shape[1]
        left, right = columns.min() * ratio_x, (columns.max() + 1) * ratio_x
        top, bottom = rows.min() * ratio_y, (rows.max() + 1) * ratio_y
        for x, y, _ in clicks:
            left, right, top, bottom = min(left, x), max(right, x + 1), min(top, y), max(bottom, y + 1)
        if box is not None:
            left, top, right, bottom = min(left, box[0]), min(top, box[1]), max(right, box[2]), max(bottom, box[3])
        margin = MARGIN * max(right - left, bottom - top, 16.0)
        around = max(0, left - margin), max(0, top - margin), min(width, right + margin), min(height, bottom + margin)
        scale = max(self._whole.size) / max(width, height)
        closer = CLOSER / max(around[2] - around[0], around[3] - around[1])
        return around if closer > WORTH * scale else None

    def _closer(self, around: Box) -> View:
        """A look at that part, one of those kept where it fits."""
        left, top, right, bottom = around
        slack_x, slack_y = 0.1 * (right - left), 0.1 * (bottom - top)
        for key, view in reversed(self._views.items()):
            if view.covers((left + slack_x, top + slack_y, right - slack_x, bottom - slack_y)):
                self._views.move_to_end(key)
                return view
        x, y = int(left), int(top)
        view = self._look(x, y, int(np.ceil(right)) - x, int(np.ceil(bottom)) - y, CLOSER)
        self._views[x, y, view.width, view.height] = view
        while len(self._views) > MOST_VIEWS:
            self._views.popitem(last=False)
        return view

    @torch.inference_mode()
    def _look(self, left: int, top: int, width: int, height: int, longer: int) -> View:
        scale = longer / max(width, height)
        size = tuple(max(STRIDE, round(side * scale / STRIDE) * STRIDE) for side in (height, width))
        part = self._image[top : top + height, left : left + width]
        way = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        resized = cv2.resize(part, size[::-1], interpolation=way)
        device, dtype = self._model.device, self._model.dtype
        image = torch.from_numpy(resized).to(device).permute(2, 0, 1)[None].float() / 255
        mean, std = (torch.tensor(values, device=device).view(3, 1, 1) for values in (IMAGE_MEAN, IMAGE_STD))
        image = ((image - mean) / std).to(dtype).contiguous(memory_format=torch.channels_last)
        return View(left, top, width, height, (size[0], size[1]), self._model.see(image))

    def _paste(self, logits: np.ndarray, view: View) -> np.ndarray:
        """Logits of a view at the image's size, float32 [H, W]; what the view does not show is not of the object."""
        height, width = self._image.shape[:2]
        part = cv2.resize(logits, (view.width, view.height), interpolation=cv2.INTER_LINEAR)
        if (view.height, view.width) == (height, width):
            return part
        whole = np.full((height, width), -20.0, np.float32)
        whole[view.top : view.top + view.height, view.left : view.left + view.width] = part
        return whole


def without_specks(mask: np.ndarray, clicks: Sequence[Click]) -> np.ndarray:
    """A mask, bool [H, W], without parts of less than SPECK of it that nobody clicked on."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    if count < 3:
        return mask
    kept = stats[:, cv2.CC_STAT_AREA] >= SPECK * stats[1:, cv2.CC_STAT_AREA].sum()
    for x, y, of in clicks:
        kept[labels[int(y), int(x)]] |= of
    kept[0] = False
    return kept[labels]


def _probability(logits: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-logits.clip(-20, 20)))
