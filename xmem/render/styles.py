"""Looks of a tracked video, made from stored masks: nothing here needs a network."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from xmem.errors import InputError
from xmem.render.effects import blend, blurred, cover, grey, mosaic, soft_edges
from xmem.render.overlay import Colors, coloured, outline, tint
from xmem.render.post import box_of
from xmem.render.tracked import TrackedFrame
from xmem.video.images import load_image

STYLES: dict[str, str] = {
    "tint_contour": "Tint and contour",
    "tint": "Tint",
    "contour": "Contour",
    "spotlight_grey": "Spotlight, background grey",
    "spotlight_dim": "Spotlight, background dimmed",
    "blur_background": "Blur the background",
    "blur_object": "Blur the objects",
    "pixelate_background": "Pixelate the background",
    "pixelate_object": "Pixelate the objects",
    "cutout_colour": "Cut-out on a colour",
    "cutout_image": "Cut-out on an image",
    "wipe": "Before and after",
}

# Of the frame's shorter side: looks do not change with the size of the video.
_FEATHER = 2.2 / 720
_BLUR = (5 / 720, 45 / 720)  # sigma at strength 0 and 1
_CELL = (8 / 720, 64 / 720)  # of the mosaic, at strength 0 and 1
_HALO = 3 / 720  # around objects, kept out of the background's blur
_LINE = 2.4  # of the contour alone, over the overlay's line
_CUT_INSIDE = -0.6  # pixels by which cut-outs are smaller, so that no old background shines around them
_WIPE_LINE = 3 / 720


@dataclass(frozen=True)
class Style:
    """How a tracked video looks.

    kind: a key of STYLES. opacity: of the tint, 0 to 1 (tint, tint_contour, wipe). strength: 0 to 1, of the blur, of
    the mosaic, and how dark a spotlight's background is. background: "#rrggbb" (cutout_colour). image: path of the
    background image (cutout_image); it is read by StyleRenderer.
    Raises InputError for values that are not so.
    """

    kind: str = "tint_contour"
    opacity: float = 0.5
    strength: float = 0.5
    background: str = "#00b140"
    image: str | None = None

    def __post_init__(self) -> None:
        if self.kind not in STYLES:
            raise InputError(f"There is no style {self.kind!r}; choose one of {', '.join(STYLES)}.")
        for name in ("opacity", "strength"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
                raise InputError(f"The {name} must be a number from 0 to 1, not {value!r}.")
        if not isinstance(self.background, str) or not re.fullmatch("#[0-9a-fA-F]{6}", self.background):
            raise InputError(f"The background colour must look like #00b140, not {self.background!r}.")
        if self.image is not None and not isinstance(self.image, str):
            raise InputError(f"The background image must be the path of a file, not {self.image!r}.")


class StyleRenderer:
    """Renders frames of width x height pixels in one style.

    colors: RGB (0 to 255) by object id; the palette's where an id is missing.
    Raises InputError for a cut-out on an image that is not given or not readable.
    """

    def __init__(self, style: Style, width: int, height: int, colors: Colors) -> None:
        self._style = style
        self._size = (width, height)
        self._shorter = min(width, height)
        self._colors = dict(colors)
        self._feather = max(1.5, self._shorter * _FEATHER)
        self._sigma = self._shorter * _between(_BLUR, style.strength)
        self._cell = 4 * max(1, round(self._shorter * _between(_CELL, style.strength) / 4))
        self._backdrop = _backdrop(style, width, height)
        self._look = getattr(self, f"_{style.kind}")

    def render(self, tracked: TrackedFrame, progress: float = 0.0) -> np.ndarray:
        """The frame in this style, a new uint8 [H, W, 3] RGB. progress: 0 to 1, the place in the clip (for the wipe).

        Raises ValueError for a frame or a mask of another size.
        """
        image, index = tracked.frame.image, tracked.mask
        for shape in (image.shape[:2], index.shape):
            if shape != self._size[::-1]:
                raise ValueError(f"The renderer was made for {self._size}, and this is {shape[::-1]} (width, height).")
        return self._look(image, index, progress)

    def _tint_contour(self, image: np.ndarray, mask: np.ndarray, _progress: float) -> np.ndarray:
        return tint(image, mask, self._style.opacity, self._colors)

    def _tint(self, image: np.ndarray, mask: np.ndarray, _progress: float) -> np.ndarray:
        result = image.copy()
        box = box_of(mask, self._reach)
        if box is not None:
            inside = np.ascontiguousarray(mask[box])  # [h, w]
            around = cv2.dilate(inside, np.ones((5, 5), np.uint8))  # what soft edges show of the colour outside
            colours = coloured(cv2.copyTo(inside, inside, around), self._colors)
            mixed = cv2.addWeighted(image[box], 1 - self._style.opacity, colours, self._style.opacity, 0)
            result[box] = blend(mixed, image[box], soft_edges(_mask(inside), self._feather))
        return result

    def _contour(self, image: np.ndarray, mask: np.ndarray, _progress: float) -> np.ndarray:
        result = image.copy()
        outline(result, mask, self._colors, _LINE)
        return result

    def _spotlight_grey(self, image: np.ndarray, mask: np.ndarray, _progress: float) -> np.ndarray:
        return self._over(image, mask, grey(image, 1 - 0.7 * self._style.strength))

    def _spotlight_dim(self, image: np.ndarray, mask: np.ndarray, _progress: float) -> np.ndarray:
        return self._over(image, mask, cv2.convertScaleAbs(image, alpha=(1 - self._style.strength) ** 1.5))

    def _blur_background(self, image: np.ndarray, mask: np.ndarray, _progress: float) -> np.ndarray:
        return self._over(image, mask, blurred(image, self._background(mask), self._sigma))

    def _pixelate_background(self, image: np.ndarray, mask: np.ndarray, _progress: float) -> np.ndarray:
        return self._over(image, mask, mosaic(image, self._background(mask), self._cell))

    def _blur_object(self, image: np.ndarray, mask: np.ndarray, _progress: float) -> np.ndarray:
        # The steps of the blur's halvings keep their places from frame to frame, so that it does not shimmer.
        return self._hidden(image, mask, math.ceil(3 * self._sigma), 64, lambda a, b: blurred(a, b, self._sigma))

    def _pixelate_object(self, image: np.ndarray, mask: np.ndarray, _progress: float) -> np.ndarray:
        return self._hidden(image, mask, 0, self._cell, lambda a, b: mosaic(a, b, self._cell))

    def _cutout_colour(self, image: np.ndarray, mask: np.ndarray, _progress: float) -> np.ndarray:
        assert self._backdrop is not None  # a cut-out has one
        return self._over(image, mask, self._backdrop.copy(), _CUT_INSIDE)

    _cutout_image = _cutout_colour

    def _wipe(self, image: np.ndarray, mask: np.ndarray, progress: float) -> np.ndarray:
        line = max(2.0, self._shorter * _WIPE_LINE)
        forth_and_back = (1 - math.cos(2 * math.pi * progress)) / 2
        place = -2 * line + (self._size[0] + 4 * line) * forth_and_back  # the line starts and ends outside
        edge = min(max(0, round(place)), self._size[0])
        result = image.copy()
        result[:, :edge] = tint(image, mask, self._style.opacity, self._colors)[:, :edge]
        for width, value, opacity in ((3 * line, 0, 0.25), (line, 255, 1.0)):
            _vertical_line(result, place, width, value, opacity)
        return result

    @property
    def _reach(self) -> int:
        """Pixels around objects within which soft edges end."""
        return math.ceil(2 * self._feather) + 1

    def _over(self, image: np.ndarray, mask: np.ndarray, below: np.ndarray, outward: float = 0.0) -> np.ndarray:
        """The image's objects, with soft edges, over below, uint8 [H, W, 3], which is changed and returned."""
        box = box_of(mask, self._reach)
        if box is not None:
            opacity = soft_edges(_mask(mask[box]), self._feather, outward)
            below[box] = blend(image[box], below[box], opacity)
        return below

    def _background(self, mask: np.ndarray) -> np.ndarray:
        """uint8 [H, W], 255 away from objects and from the pixels next to them, which have some of their colour."""
        halo = 2 * round(self._shorter * _HALO) + 1
        return cv2.bitwise_not(_mask(cv2.dilate(mask, np.ones((halo, halo), np.uint8))))

    def _hidden(
        self,
        image: np.ndarray,
        index: np.ndarray,
        margin: int,
        step: int,
        effect: Callable[[np.ndarray, np.ndarray], np.ndarray],
    ) -> np.ndarray:
        """The image with its objects under an effect that takes part of an image [h, w, 3] and the mask in it [h, w].

        The part is `margin` wider than the objects and starts at multiples of `step` (pixels). Objects count as so much
        larger that the effect is at its full strength on their last pixels.
        """
        more = 2 * math.ceil(self._feather + 1) + 1
        index = cv2.dilate(index, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (more, more)))
        result = image.copy()
        box = box_of(index, margin + self._reach)
        if box is not None:
            rows, columns = (slice(side.start - side.start % step, side.stop) for side in box)
            mask = _mask(index[rows, columns])
            opacity = soft_edges(mask, self._feather, -self._feather / 2)
            result[rows, columns] = blend(effect(image[rows, columns], mask), image[rows, columns], opacity)
        return result


def _between(limits: tuple[float, float], strength: float) -> float:
    """From the first limit to the second, in equal ratios."""
    return limits[0] * (limits[1] / limits[0]) ** strength


def _mask(mask: np.ndarray) -> np.ndarray:
    """uint8 [h, w]: 255 where there is an object."""
    return cv2.threshold(mask, 0, 255, cv2.THRESH_BINARY)[1]


def _backdrop(style: Style, width: int, height: int) -> np.ndarray | None:
    """What a cut-out lies on, uint8 [height, width, 3]; None for other styles."""
    if style.kind == "cutout_colour":
        colour = [int(style.background[i : i + 2], 16) for i in (1, 3, 5)]
        return np.full((height, width, 3), colour, np.uint8)
    if style.kind != "cutout_image":
        return None
    if style.image is None:
        raise InputError("A cut-out on an image needs the image: choose one.")
    if not Path(style.image).is_file():
        raise InputError(f"There is no image {Path(style.image).name!r} for the background; choose another one.")
    return cover(load_image(Path(style.image)), width, height)


def _vertical_line(image: np.ndarray, place: float, width: float, value: int, opacity: float) -> None:
    """A line of `width` pixels around x = place in image, uint8 [H, W, 3], with exact parts of pixels at its sides."""
    left, right = place - width / 2, place + width / 2
    first, last = max(0, math.floor(left)), min(image.shape[1], math.ceil(right))
    if first >= last:
        return
    x = np.arange(first, last)
    share = opacity * np.clip(np.minimum(x + 1, right) - np.maximum(x, left), 0, 1)[:, None]  # [w, 1]
    image[:, first:last] = np.round(image[:, first:last] * (1 - share) + value * share)
