"""Clicks on the canvas and words about it: what they mean, asked for while the pointer moves and at each click.

Pictures that are clicked on are held by the server, a few of all visitors together, by session and frame. What is
proposed changes nothing; the canvas sends what is taken as any other painting.
"""

import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

import xmem
from demo.failures import sentence_of
from demo.html import pictures
from demo.runs import helpers
from demo.runs.helpers import NotYetError
from demo.stage import feed
from demo.visit import scene
from xmem.checkpoints.catalogue import CLICK
from xmem.click import Box, Click, Held
from xmem.session import Session

MOST_HELD = 6  # pictures, of all visitors
MOST_CLICKS = 60
MOST_LETTERS = 200  # of words
MOST_SAID = 4  # words of which a picture keeps the masks


@dataclass(frozen=True)
class Question:
    """What is said of an object on a frame; see `xmem.click.Held.mask`. model: the network that answers clicks. words:
    the mask to correct is what they name; "" for none."""

    clicks: list[Click]
    box: Box | None = None
    previous: np.ndarray | None = None
    quick: bool = False
    model: str = CLICK
    words: str = ""


@dataclass
class _Picture:
    """Held at the first question, for one at a time. said: masks, bool [H, W], by the words for them."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    held: Held | None = None
    said: OrderedDict[str, np.ndarray] = field(default_factory=OrderedDict)

    def named(self, held: Held, words: str) -> np.ndarray:
        if words not in self.said:
            self.said[words] = helpers.words().mask(held, words)
            while len(self.said) > MOST_SAID:
                self.said.popitem(last=False)
        return self.said[words]


class HeldFrames:
    """The pictures last clicked on, at most `capacity`, by session, frame and network."""

    def __init__(self, capacity: int = MOST_HELD):
        self._capacity = capacity
        self._held: OrderedDict[tuple[str, int, str], _Picture] = OrderedDict()
        self._lock = threading.Lock()

    def ask(self, session: Session, frame: int, asked: Question) -> np.ndarray:
        """The mask, bool [H, W], that is meant. Raises InputError, and NotYetError while a helper is fetched."""
        key = (str(session.folder), frame, asked.model)
        clicker = helpers.clicker(asked.model)
        with self._lock:
            picture = self._held.setdefault(key, _Picture())
            self._held.move_to_end(key)
            while len(self._held) > self._capacity:
                self._held.popitem(last=False)
        with picture.lock:
            if picture.held is None:
                picture.held = clicker.image(session.image(frame))
            held, previous = picture.held, asked.previous
            if asked.words:
                previous = picture.named(held, asked.words)
                if not asked.clicks and asked.box is None:
                    return previous
            return held.mask(asked.clicks, asked.box, previous, asked.quick)


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
    model: str = CLICK
    words: str = Field("", max_length=MOST_LETTERS)


def propose(data: Any) -> dict[str, Any]:
    """The mask that clicks mean, for the canvas: {left, top, width, height, mask: PNG}, or {refused: a sentence}, or
    {later: a sentence} while a helper is fetched, which is to be asked again then.

    All of it is 0 where nothing is found.
    """
    try:
        asked = Asked.model_validate(data)
        _, session = feed.session_of({"token": asked.token})
        previous = None
        if asked.previous is not None:
            previous = scene.read_painting(asked.previous, session.info.width, session.info.height) > 0
        question = Question(asked.clicks, asked.box, previous, asked.quick, asked.model, asked.words.strip())
        return _cut_out(answer(session, asked.frame, question))
    except NotYetError as error:
        return {"later": str(error)}
    except ValidationError:
        return {"refused": "That is no click on the canvas: load the page again."}
    except Exception as error:
        return {"refused": sentence_of(error)}


def answer(session: Session, frame: int, asked: Question) -> np.ndarray:
    """The mask, bool [H, W], that is meant on a frame of a session. Raises InputError."""
    if not 0 <= frame < session.frame_count:
        raise xmem.InputError(f"There is no frame {frame}: the video has {session.frame_count}, counted from 0.")
    return HELD.ask(session, frame, asked)


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
