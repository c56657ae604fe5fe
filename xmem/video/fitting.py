"""A copy of a video that is within the limits: smaller frames, and no more of them than are allowed."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

from xmem import leaving
from xmem.limits import shrinking
from xmem.video.access import FrameAccess
from xmem.video.writer import VideoWriter


@dataclass(frozen=True)
class Fitting:
    """How far a copy is. done, total: frames. width, height: pixels of its frames. is_part: whether the video has more
    frames than are taken."""

    done: int
    total: int
    width: int
    height: int
    is_part: bool


def write_fitting(source: Path, target: Path, most: int) -> Generator[Fitting, None, None]:
    """Write `source` as an MP4 with its sound, made smaller as `xmem.limits.smaller` says, of `most` frames at most and
    within the allowed seconds. Closing the generator, or a failure, leaves no file.

    Frames are made smaller where they are decoded. Raises InputError where the video is beyond that as well.
    """
    with shrinking(), FrameAccess(source, most=most) as access:
        total, info, is_part = access.frame_count, access.info, access.index.get("part") is True
        yield Fitting(0, total, info.width, info.height, is_part)
        writer = VideoWriter(target, access)
        try:
            for frame in access.forward(0, total - 1):
                leaving.ask()
                writer.write(frame.image, frame)
                yield Fitting(frame.index + 1, total, info.width, info.height, is_part)
        except BaseException:
            writer.discard()
            raise
        writer.close()
