"""A source of exports from a real clip: a soft disc that moves, and one that stands still."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np

from tests.video.clips import flat_images, write_clip
from xmem.export import export
from xmem.render.styles import Style
from xmem.render.tracked import TrackedFrame
from xmem.session.project import SessionObject
from xmem.video import VideoInfo
from xmem.video.access import FrameAccess

SAMPLE = Path(__file__).parents[2] / "demo" / "samples" / "big-buck-bunny.mp4"
RADIUS = 50  # pixels


@dataclass
class DiscSource:
    """What a session offers to exports, with made-up masks: object 1 moves to the right, object 3 stays."""

    path: Path
    first: int
    last: int
    objects: tuple[SessionObject, ...] = (SessionObject(1, "bunny", 0), SessionObject(3, 'ball, "red"', 4))
    style: Style = field(default_factory=Style)
    gone: int | None = None  # from this frame on, object 3 is not seen
    closed: int = 0  # iterations that came to an end or were closed
    started: int = 0
    index: dict | None = None  # of the clip's frames, to scan it once

    @cached_property
    def info(self) -> VideoInfo:
        with self.access() as access:
            return access.info

    def access(self) -> FrameAccess:
        access = FrameAccess(self.path, self.index)
        self.index = access.index
        return access

    def mattes(self, frame: int) -> dict[int, np.ndarray]:
        """uint8 [H, W] by id."""
        height, width = self.info.height, self.info.width
        radius = min(RADIUS, height // 4)
        centres = {1: (width // 4 + 4 * frame, height // 2), 3: (3 * width // 4, height // 2)}
        if self.gone is not None and frame >= self.gone:
            del centres[3]
        found = {i: np.zeros((height, width), np.uint8) for i in (1, 3)}
        for i, centre in centres.items():
            cv2.circle(found[i], centre, radius, 255, -1)
            found[i] = cv2.GaussianBlur(found[i], (0, 0), 2)
        return found

    def mask(self, frame: int) -> np.ndarray:
        """Index mask uint8 [H, W] of the visible objects."""
        index = np.zeros((self.info.height, self.info.width), np.uint8)
        for item in self.objects:
            if item.visible:
                index[self.mattes(frame)[item.id] > 127] = item.id
        return index

    def frames(self, first: int | None = None, last: int | None = None) -> Iterator[TrackedFrame]:
        self.started += 1
        try:
            with self.access() as access:
                for frame in access.forward(
                    self.first if first is None else first, self.last if last is None else last
                ):
                    mattes = self.mattes(frame.index)
                    certainty = {1: 0.9375, 3: 0.5} if frame.index != self.first else {}
                    yield TrackedFrame(frame, self.mask(frame.index), mattes.__getitem__, certainty)
        finally:
            self.closed += 1

    def image(self, frame: int) -> np.ndarray:
        with self.access() as access:
            return access.frame(frame).image


def write_uneven(path: Path) -> Path:
    """Nine frames, 161x121, at uneven times, lossless; UNEVEN_SECONDS are those of the third and on."""
    times = [0, 30, 100, 140, 240, 260, 300, 500, 520]
    clock = Fraction(1, 1000)
    return write_clip(path, flat_images(9, 161, 121), codec="ffv1", pix_fmt="yuv444p", times=times, time_base=clock)


UNEVEN_SECONDS = (0, 0.04, 0.14, 0.16, 0.2, 0.4, 0.42)


def finish(kind: str, source: DiscSource, folder: Path) -> Path:
    """Run an export to its end; checks the progress that it tells on the way."""
    steps = export(kind, source, folder, "clip")
    count, done = source.last - source.first + 1, []
    while True:
        try:
            step = next(steps)
        except StopIteration as end:
            assert done == list(range(1, count + 1))
            assert end.value.name in {path.name for path in folder.iterdir()}
            assert not list(folder.glob(".*")), "nothing unfinished is left"
            return end.value
        assert step.total == count
        done.append(step.done)
