"""One tracked frame, as styles and exports take it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from xmem.video import Frame


@dataclass(frozen=True)
class TrackedFrame:
    """A frame of the video with what was found on it.

    frame: image uint8 [H, W, 3] RGB with index, time, duration (seconds) and name. mask: index mask uint8 [H, W] of the
    visible objects, post-processed. matte: object id -> soft mask uint8 [H, W] (0 to 255) from the stored
    probabilities, made when it is asked for. certainty: object id -> 0 to 1, empty where nothing was computed.
    is_key: the mask was given by a person.
    """

    frame: Frame
    mask: np.ndarray
    matte: Callable[[int], np.ndarray]
    certainty: dict[int, float]
    is_key: bool = False
