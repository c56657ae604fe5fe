"""Clicks on the canvas: what they would take, asked for while the pointer moves and at each click.

Pictures that are clicked on are held by the server, a few of all visitors together, by session and frame. What is
proposed changes nothing; the canvas sends what is taken as any other painting.
"""

import threading
from collections import OrderedDict
from functools import cache
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

import xmem
from demo.failures import sentence_of
from demo.html import pictures
from demo.stage import feed
from demo.visit import scene
from xmem.click import Held
from xmem.session import Session

MOST_HELD = 6  # pictures, of all visitors
MOST_CLICKS = 60


class HeldFrames:
    """The pictures last clicked on, at most `capacity`; each is asked by one at a time."""

    def __init__(self, capacity: int = MOST_HELD):
        self._capacity = capacity
        self._held: OrderedDict[tuple[str, int], tuple[threading.Lock, list[Held]]] = OrderedDict()
        self._lock = threading.Lock()

    def ask(self, session: Session, frame: int, clicks: list, box: Any, previous: Any, quick: bool) -> np.ndarray:
        """The mask, bool [H, W], that clicks on a frame mean; see `xmem.click.Held.mask`."""
        key = (str(session.folder), frame)
        with self._lock:
            lock, kept = self._held.setdefault(key, (threading.Lock(), []))
            self._held.move_to_end(key)
            while len(self._held) > self._capacity:
                self._held.popitem(last=False)
        with lock:
            if not kept:
                kept.append(clicker().image(session.image(frame)))
            return kept[0].mask(clicks, box, previous, quick)


@cache
def clicker() -> xmem.Clicker:
    """The click network, loaded at the first click."""
    return xmem.Clicker()


HELD = HeldFrames()


class Asked(BaseModel):
    """What the canvas asks. token: see `demo.stage.feed`; places are in pixels of the frame.

    previous: the mask to correct, as the canvas sends one.
    """

    model_config = ConfigDict(allow_inf_nan=False, extra="forbid")
    token: str
    frame: int
    clicks: list[tuple[float, float, bool]] = Field(max_length=MOST_CLICKS)
    box: tuple[float, float, float, float] | None = None
    previous: str | None = None
    quick: bool = False


def propose(data: Any) -> dict[str, Any]:
    """The mask that clicks mean, for the canvas: {left, top, width, height, mask: PNG}, or {refused: a sentence}.

    All of it is 0 where nothing is found.
    """
    try:
        asked = Asked.model_validate(data)
        _, session = feed.session_of({"token": asked.token})
        previous = None
        if asked.previous is not None:
            previous = scene.read_painting(asked.previous, session.info.width, session.info.height) > 0
        return _cut_out(answer(session, asked.frame, asked.clicks, asked.box, previous, asked.quick))
    except ValidationError:
        return {"refused": "That is no click on the canvas: load the page again."}
    except Exception as error:
        return {"refused": sentence_of(error)}


def answer(
    session: Session,
    frame: int,
    clicks: list[tuple[float, float, bool]],
    box: tuple[float, float, float, float] | None = None,
    previous: np.ndarray | None = None,
    quick: bool = False,
) -> np.ndarray:
    """The mask, bool [H, W], that clicks on a frame of a session mean. Raises InputError."""
    if not 0 <= frame < session.frame_count:
        raise xmem.InputError(f"There is no frame {frame}: the video has {session.frame_count}, counted from 0.")
    return HELD.ask(session, frame, clicks, box, previous, quick)


def _cut_out(mask: np.ndarray) -> dict[str, Any]:
    """The part of a mask that is not empty."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return {"left": 0, "top": 0, "width": 0, "height": 0, "mask": ""}
    part = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return {
        "left": int(columns[0]),
        "top": int(rows[0]),
        "width": part.shape[1],
        "height": part.shape[0],
        "mask": pictures.mask_uri(part.astype(np.uint8) * 255),
    }
