"""Results on disk, a folder per span: index masks as they were computed, probabilities, and figures per frame.

Probabilities are kept at inference size with 16 bits (steps of 1/65535, finer than the 1e-4 to which engines agree) as
grey PNGs, the objects one below another in order of their ids; index masks are made from the float values.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import cv2
import numpy as np

from xmem.engine.pipeline import Behind
from xmem.render.masks import read_index_mask, write_index_mask
from xmem.session.spans import Span, span_as_json, span_of_json
from xmem.session.stats import ObjectStats, StatsFile, measure, read_stats

_WAITING = 4  # frames or their figures that may wait to be written

Fetched = Callable[[], np.ndarray]  # as `xmem.engine.pipeline.fetch` gives it


@dataclass(frozen=True)
class SpanResult:
    """The folder of one span's results. signature: of the settings; complete: whether the run came to its end."""

    number: int
    folder: Path
    span: Span
    signature: dict
    complete: bool

    @staticmethod
    def read(folder: Path) -> SpanResult:
        values = json.loads((folder / "span.json").read_text())
        return SpanResult(int(folder.name), folder, span_of_json(values), values["signature"], bool(values["complete"]))

    def write(self) -> None:
        """Write span.json in one replace."""
        values = span_as_json(self.span) | {"signature": self.signature, "complete": self.complete}
        temporary = self.folder / "span.part"
        temporary.write_text(json.dumps(values))
        os.replace(temporary, self.folder / "span.json")

    def frames(self) -> list[int]:
        """Frames that have a mask here, ascending."""
        return sorted(int(name[:-4]) for name in os.listdir(self.folder / "masks") if name.endswith(".png"))

    def mask(self, frame: int) -> np.ndarray:
        """Index mask uint8 [H, W], as computed."""
        return read_index_mask(self.folder / "masks" / f"{frame:05d}.png")

    def probabilities(self, frame: int) -> np.ndarray | None:
        """float32 [O, h, w] at inference size, in order of `span.objects`; None on a frame without."""
        path = self.folder / "probabilities" / f"{frame:05d}.png"
        stacked = cv2.imread(str(path), cv2.IMREAD_UNCHANGED) if path.exists() else None
        if stacked is None:
            return None
        return (stacked.astype(np.float32) / 65535).reshape(len(self.span.objects), -1, stacked.shape[1])

    def stats(self) -> dict[tuple[int, int], ObjectStats]:
        """Figures by (frame, object)."""
        path = self.folder / "stats.csv"
        return read_stats(path) if path.exists() else {}


class ResultWriter:
    """Writes frames into a span's folder in a thread of its own, a few at a time; use as a context manager.

    An error shows at a later call, or on leaving the context.
    """

    def __init__(self, result: SpanResult):
        self._folder, self._objects = result.folder, result.span.objects
        for name in ("masks", "probabilities"):
            (self._folder / name).mkdir(parents=True, exist_ok=True)
        self._stats = StatsFile(self._folder / "stats.csv")
        self._writing = Behind(_WAITING)

    def __enter__(self) -> ResultWriter:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._writing.__exit__(kind, error, trace)

    def write(self, frame: int, mask: np.ndarray, probabilities: Fetched) -> None:
        """mask: index mask uint8 [H, W]; probabilities: gives float32 [O, h, w]."""
        self._writing.put(self._write, frame, mask, probabilities)

    def measure(self, frame: int, mask: np.ndarray, probabilities: Fetched, neighbour: np.ndarray | None) -> None:
        """Add the frame's figures. neighbour: the index mask of the frame that it is compared with, or None."""
        self._writing.put(self._measure, frame, mask, probabilities, neighbour)

    def flush(self) -> None:
        """Wait until all that was given is on disk."""
        self._writing.flush()

    def _write(self, frame: int, mask: np.ndarray, probabilities: Fetched) -> None:
        values = probabilities()
        stacked = np.round(values * 65535).astype(np.uint16).reshape(-1, values.shape[-1])
        name = f"{frame:05d}.png"
        encoded = cv2.imencode(".png", stacked)[1]  # OpenCV's own choice: half the time of level 1, 6 % more bytes
        _replace(self._folder / "probabilities" / name, lambda path: path.write_bytes(encoded))
        _replace(self._folder / "masks" / name, lambda path: write_index_mask(path, mask))

    def _measure(self, frame: int, mask: np.ndarray, probabilities: Fetched, neighbour: np.ndarray | None) -> None:
        self._stats.append(measure(frame, mask, probabilities(), self._objects, neighbour))


def _replace(path: Path, write: Callable[[Path], object]) -> None:
    temporary = path.with_suffix(".part")
    write(temporary)
    os.replace(temporary, path)


class Results:
    """All span results of a session, and which of them speaks for each frame."""

    def __init__(self, folder: Path, frame_count: int):
        self._folder = folder
        self._frame_count = frame_count
        folders = sorted((path for path in folder.glob("*") if path.name.isdigit()), key=lambda path: int(path.name))
        self.all = [SpanResult.read(path) for path in folders if (path / "span.json").exists()]

    def new(self, span: Span, signature: dict) -> SpanResult:
        """A new, empty result for `span`."""
        numbers = [int(path.name) for path in self._folder.glob("*") if path.name.isdigit()]
        number = max(numbers, default=0) + 1
        result = SpanResult(number, self._folder / str(number), span, signature, False)
        result.folder.mkdir(parents=True)
        result.write()
        self.all.append(result)
        return result

    def serving(self, span: Span, signature: dict | None) -> SpanResult | None:
        """The newest complete result of what `span` asks for; signature None: under whatever settings."""
        fitting = (
            result
            for result in reversed(self.all)
            if result.complete
            and span.is_served_by(result.span)
            and (signature is None or signature == result.signature)
        )
        return next(fitting, None)

    def owners(self, spans: Iterable[Span], signature: dict) -> list[SpanResult | None]:
        """For each frame of the video the result that speaks for it.

        First that of its span; where that is still to be computed, the newest that there is, complete or not.
        """
        owners: list[SpanResult | None] = [None] * self._frame_count
        frames = {result.number: [f for f in result.frames() if f < self._frame_count] for result in self.all}
        for result in self.all:
            for frame in frames[result.number]:
                owners[frame] = result
        for span in spans:
            result = self.serving(span, signature) or self.serving(span, None)
            for frame in frames[result.number] if result else ():
                if span.first <= frame <= span.last:
                    owners[frame] = result
        return owners

    def prune(self, kept: Iterable[SpanResult | None]) -> None:
        """Remove the results that are not among `kept`."""
        numbers = {result.number for result in kept if result is not None}
        for result in self.all:
            if result.number not in numbers:
                shutil.rmtree(result.folder, ignore_errors=True)
        self.all = [result for result in self.all if result.number in numbers]
