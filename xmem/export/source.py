"""What an export is made from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

import cv2
import numpy as np

from xmem.render.styles import Style
from xmem.render.tracked import TrackedFrame
from xmem.session.files import ExportProgress, plain_name
from xmem.session.project import SessionObject
from xmem.video import FrameAccess, FrameReader, VideoInfo

_MARGIN = 16  # pixels: beyond it, blocks of a codec no longer mix with what is seen


__all__ = ["ExportProgress", "ExportSource", "cut_out", "plain_name", "union_matte", "visible_objects"]


class ExportSource(Protocol):
    """What exports read; an `xmem.Session` has it all. first, last: the range of frames to export, inclusive."""

    @property
    def info(self) -> VideoInfo: ...

    @property
    def objects(self) -> Sequence[SessionObject]: ...

    @property
    def style(self) -> Style: ...

    @property
    def first(self) -> int: ...

    @property
    def last(self) -> int: ...

    def frames(self, first: int | None = None, last: int | None = None) -> Iterator[TrackedFrame]:
        """The frames of the range, or of a part of it, with the masks of the visible objects."""

    def access(self) -> AbstractContextManager[FrameReader | FrameAccess]:
        """What a VideoWriter needs to know of the video."""


def visible_objects(source: ExportSource) -> list[SessionObject]:
    """The objects that results show, in order of their ids."""
    return sorted((item for item in source.objects if item.visible), key=lambda item: item.id)


def union_matte(tracked: TrackedFrame, ids: Sequence[int]) -> np.ndarray:
    """uint8 [H, W]: how much of each pixel is one of the objects `ids`, 0 to 255.

    Shares of a pixel add up, so that no seam shows where two objects touch.
    """
    total: np.ndarray = np.zeros(tracked.mask.shape, np.uint8)
    for object_id in ids:
        total = cv2.add(total, tracked.matte(object_id))  # saturates
    return total


def cut_out(tracked: TrackedFrame, ids: Sequence[int]) -> np.ndarray:
    """uint8 [H, W, 4] RGBA of the objects `ids`: straight alpha with soft edges, colours of the frame.

    The colours reach a little beyond the edge, for whoever scales or blurs the picture or filters it in blocks; further
    out they are black, so that what was cut away is not in the file.
    """
    alpha = union_matte(tracked, ids)
    height, width = alpha.shape
    picture = np.zeros((height, width, 4), np.uint8)
    x, y, w, h = cv2.boundingRect(alpha)
    if w == 0:
        return picture
    left, top = max(0, x - _MARGIN), max(0, y - _MARGIN)
    box = np.s_[top : y + h + _MARGIN, left : x + w + _MARGIN]
    near = cv2.dilate((alpha[box] > 0).astype(np.uint8), np.ones((2 * _MARGIN + 1, 2 * _MARGIN + 1), np.uint8))
    picture[box][..., :3] = cv2.copyTo(tracked.frame.image[box], near)
    picture[..., 3] = alpha
    return picture
