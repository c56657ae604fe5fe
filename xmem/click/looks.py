"""Clicks answered by the network that comes along: features once for an image, then a few milliseconds a click."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch

from xmem.click.held import Box, Click, Held
from xmem.engine.preparing import IMAGE_MEAN, IMAGE_STD
from xmem.networks.click import ClickNet, Given, Seen

STRIDE = 32  # sides of what the network sees are multiples of it
WHOLE, CLOSER = 320, 448  # longer sides at which the network sees an image, and a part of it around the object
MARGIN = 0.35  # of the object's box, on each side, that a closer look takes in
CLOSER_LOOKS = 2  # at most: the second one, wider, where the mask of the first comes to where that ends
MOST_VIEWS = 4  # kept of an image: looks with their features
# Where a look ends within the image: a further click so near to it, as a share of its side, asks for another look, and
# so does a mask that comes nearer than the second one.
CLICK_EDGE, MASK_EDGE = 0.15, 0.01

Answer = tuple[np.ndarray, "View"]  # logits float32 [h, w] of a look


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

    def touches(self, box: Box, edge: float, shape: tuple[int, ...]) -> bool:
        """Whether a box comes as near as a share of its sides to where it ends within an image of that shape."""
        left, top, right, bottom = box
        near_x, near_y = edge * self.width, edge * self.height
        end_x, end_y = self.left + self.width, self.top + self.height
        return (
            (self.left > 0 and left < self.left + near_x)
            or (self.top > 0 and top < self.top + near_y)
            or (end_x < shape[1] and right > end_x - near_x)
            or (end_y < shape[0] and bottom > end_y - near_y)
        )

    def in_image(self, box: Box, shape: tuple[int, ...]) -> Box:
        """A box in pixels of the image; it is in those of a picture of that shape of what is seen."""
        ratio_y, ratio_x = self.height / shape[0], self.width / shape[1]
        left, top, right, bottom = box
        x, y = self.left, self.top
        return x + left * ratio_x, y + top * ratio_y, x + right * ratio_x, y + bottom * ratio_y

    def place(self, x: float, y: float) -> tuple[float, float]:
        """Where a place of the image, at a pixel's middle, lies in what the network sees."""
        return (
            (x + 0.5 - self.left) * self.size[1] / self.width - 0.5,
            (y + 0.5 - self.top) * self.size[0] / self.height - 0.5,
        )


class HeldByLooks(Held):
    """It keeps a bounded number of looks."""

    looks_closer = True

    def __init__(self, model: ClickNet, image: np.ndarray):
        super().__init__(image)
        self._model = model
        self._views: OrderedDict[tuple[int, int, int, int], View] = OrderedDict()
        height, width = image.shape[:2]
        self._whole = self._look(0, 0, width, height, WHOLE)

    def _decide(
        self,
        clicks: tuple[Click, ...],
        box: Box | None,
        previous: np.ndarray | None,
        before: Answer | None,
        quick: bool,
    ) -> Answer:
        start = None if previous is None else np.where(previous, np.float32(1), np.float32(0))
        if before is not None:
            start = _probability(self._logits(before))
            again = self._again(before[1], clicks, box, start)
            if again is not None:
                return again
        answer = self._decode(self._whole, clicks, box, start), self._whole
        for _ in range(0 if quick else CLOSER_LOOKS):
            is_enough = answer[1] is not self._whole and not self._is_cut(answer)
            around = None if is_enough else self._around(answer, clicks, box)
            if around is None:
                break
            closer = self._closer(around)
            refined = _probability(self._logits(answer))
            answer = self._decode(closer, clicks, box, refined), closer
        return answer

    def _is_cut(self, answer: Answer) -> bool:
        """Whether a mask comes to where its look ends within the image."""
        logits, view = answer
        found = _extent(logits)
        return found is not None and view.touches(view.in_image(found, logits.shape), MASK_EDGE, self.image.shape)

    def _again(self, view: View, clicks: tuple[Click, ...], box: Box | None, start: np.ndarray) -> Answer | None:
        """The answer to one more click in the look of the answer before, which is `start`; None where that look does
        not show enough."""
        x, y, _ = clicks[-1]
        if view is self._whole or view.touches((x, y, x, y), CLICK_EDGE, self.image.shape):
            return None
        answer = self._decode(view, clicks, box, start), view
        return None if _extent(answer[0]) is None or self._is_cut(answer) else answer

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

    def _around(self, answer: Answer, clicks: Sequence[Click], box: Box | None) -> Box | None:
        """The box of what is meant, with a margin, in pixels of the image; None where nothing is found."""
        height, width = self.image.shape[:2]
        logits, view = answer
        found = _extent(logits)
        if found is None:
            return None
        left, top, right, bottom = view.in_image(found, logits.shape)
        for x, y, _ in clicks:
            left, right, top, bottom = min(left, x), max(right, x + 1), min(top, y), max(bottom, y + 1)
        if box is not None:
            left, top, right, bottom = min(left, box[0]), min(top, box[1]), max(right, box[2]), max(bottom, box[3])
        margin = MARGIN * max(right - left, bottom - top, 16.0)
        return max(0, left - margin), max(0, top - margin), min(width, right + margin), min(height, bottom + margin)

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
        part = self.image[top : top + height, left : left + width]
        way = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        resized = cv2.resize(part, size[::-1], interpolation=way)
        device, dtype = self._model.device, self._model.dtype
        image = torch.from_numpy(resized).to(device).permute(2, 0, 1)[None].float() / 255
        mean, std = (torch.tensor(values, device=device).view(3, 1, 1) for values in (IMAGE_MEAN, IMAGE_STD))
        image = ((image - mean) / std).to(dtype).contiguous(memory_format=torch.channels_last)
        return View(left, top, width, height, (size[0], size[1]), self._model.see(image))

    def _logits(self, answer: Answer) -> np.ndarray:
        """What the look does not show is not of the object."""
        logits, view = answer
        height, width = self.image.shape[:2]
        part = cv2.resize(logits, (view.width, view.height), interpolation=cv2.INTER_LINEAR)
        if (view.height, view.width) == (height, width):
            return part
        whole = np.full((height, width), -20.0, np.float32)
        whole[view.top : view.top + view.height, view.left : view.left + view.width] = part
        return whole


def _extent(logits: np.ndarray) -> Box | None:
    """The box of what logits [h, w] say is of the object; None for nothing."""
    left, top, width, height = cv2.boundingRect((logits > 0).view(np.uint8))
    return (left, top, left + width, top + height) if width else None


def _probability(logits: np.ndarray) -> np.ndarray:
    return 1 / (1 + cv2.exp(-logits.clip(-20, 20)))
