"""What a process that reads for another one can be asked: see `xmem.video.worker`, and `xmem.video.isolated` for the
other side.

A reading is made of what is wanted. `about` answers that, `answer` each request; both give plain values, and raise
InputError.
"""

from __future__ import annotations

import math
import mmap
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image

from xmem.limits import shrinking
from xmem.video.frames import FileFrames, FolderFrames, Frames
from xmem.video.index import info_table
from xmem.video.reader import Frame
from xmem.video.sound_source import FileSound, handed, sound_table
from xmem.video.stills import info_of, load_still, open_still


class Reading(Protocol):
    def about(self) -> dict[str, Any]: ...
    def answer(self, request: dict[str, Any]) -> dict[str, Any]: ...


class FramesReading:
    """A video file or folder of images, and the memory in which its pictures are handed over."""

    def __init__(self, wanted: dict[str, Any]) -> None:
        self._path, self._table, self._most = Path(wanted["path"]), wanted["table"], wanted["most"]
        self._beside = wanted["beside"]
        self._held = ExitStack()
        if wanted["shrinks"]:
            self._held.enter_context(shrinking())
        self._frames: Frames | None = None
        self._backward: Iterator[Frame] = iter(())
        self._memory: np.ndarray | None = None  # uint8 [bytes]
        self._at = 0  # in it, of the picture that is being read

    def about(self) -> dict[str, Any]:
        """All that a FrameAccess tells of a file."""
        kind = FolderFrames if self._path.is_dir() else FileFrames
        self._frames = frames = kind(self._path, self._table, self._most, self._beside)
        colour = frames.colour
        return {
            "info": info_table(frames.info),
            "table": frames.table(),
            "count": len(frames),
            "time_base": str(frames.time_base),
            "colour": [int(number) for number in (colour.matrix, colour.primaries, colour.transfer)],
            "sample_aspect": str(frames.sample_aspect),
            "start": str(frames.start),
        }

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        assert self._frames is not None
        if "descriptor" in request:  # of the memory for pictures
            self._memory = _memory_of(request)
            return {}
        self._at = request.get("at", 0)
        if "frame" in request:
            found = self._frames.frame(request["frame"], self._room)
        elif "backward" in request:
            last, first = request["backward"]
            self._backward = iter(self._frames.backward(last, first, self._room))
            return {}
        elif "next" in request:
            found = next(self._backward, None)
        else:
            return {"table": self._frames.table(), "info": info_table(self._frames.info)}
        return {"count": len(self._frames)} | ({} if found is None else self._handed(found))

    def _room(self, shape: tuple[int, ...]) -> np.ndarray:
        assert self._memory is not None
        return self._memory[self._at : self._at + math.prod(shape)].reshape(shape)

    def _handed(self, frame: Frame) -> dict[str, Any]:
        room = self._room(frame.image.shape)
        if not np.may_share_memory(frame.image, room):
            room[:] = frame.image
        return {
            "index": frame.index,
            "time": str(frame.time),
            "duration": str(frame.duration),
            "name": frame.name,
            "shape": frame.image.shape,
        }


class StillsReading:
    """Images one after the other: first the header of one, which whoever asks may find too large, then its pixels."""

    def __init__(self, wanted: dict[str, Any]) -> None:
        self._image: Image.Image | None = None

    def about(self) -> dict[str, Any]:
        return {}

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        if "what" in request:
            self._words = request["what"], request["advice"]
            self._upright = request["upright"]
            self._image = open_still(os.fdopen(request["descriptor"], "rb"), *self._words)
            return {"size": self._image.size, "mode": self._image.mode}
        assert self._image is not None
        image, self._image = self._image, None
        loaded = load_still(image, *self._words, self._upright)
        pixels = loaded.tobytes()
        _memory_of(request)[: len(pixels)] = np.frombuffer(pixels, np.uint8)
        return info_of(loaded)


class SoundReading:
    """The sound of a file: first the memory for it, with whether it is to be decoded, then pieces of it by turns."""

    def __init__(self, wanted: dict[str, Any]) -> None:
        self._path, self._origin = Path(wanted["path"]), Fraction(wanted["origin"])

    def about(self) -> dict[str, Any]:
        try:
            self._source = FileSound(self._path, self._origin)
        except LookupError:
            return {"there": False}
        return sound_table(self._source.sound)

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        if "descriptor" in request:
            self._pieces = handed(self._source.pieces(request["decoded"]), _memory_of(request))
            return {}
        return {"pieces": next(self._pieces)}


READINGS: dict[str, Callable[[dict[str, Any]], Reading]] = {
    "frames": FramesReading,
    "stills": StillsReading,
    "sound": SoundReading,
}


def _memory_of(request: dict[str, Any]) -> np.ndarray:
    """uint8 [bytes] that came with a request."""
    try:
        return np.frombuffer(mmap.mmap(request["descriptor"], request["bytes"]), np.uint8)
    finally:
        os.close(request["descriptor"])
