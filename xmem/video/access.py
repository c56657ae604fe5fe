"""Frames of a video file or of a folder of images in any order, in constant memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from types import TracebackType

from xmem.errors import InputError
from xmem.video.colour import Colour, Room
from xmem.video.frames import FileFrames, FolderFrames, Frames
from xmem.video.isolated import is_isolated
from xmem.video.isolated_frames import IsolatedFrames
from xmem.video.probe import VideoInfo
from xmem.video.reader import Frame
from xmem.video.source import existing_path


class FrameAccess:
    """Any frame of `source`, a video file or a folder of images: the very frames that FrameReader gives, in any order.

    source is scanned once, by its packets; a file whose packets do not tell its frames (AVI, MPEG-TS, GIF, missing or
    repeated stamps, damage) is decoded once for it. `index` is the result, plain values for a JSON file: given back for
    the same source, it saves the scan; one of another file is not used. Use as a context manager.

    info (with the exact count of frames), time_base (seconds), colour, sample_aspect, audio_path, start and finished
    are those of a FrameReader, for a writer; finished is True once `forward` has come to the last frame of the source.
    A file whose damage shows only where it is decoded loses the frames that cannot be: frame_count and index then tell,
    and `forward` and `backward` leave them out.
    most: without an index, frames from the beginning that are taken of a source which may be too long, as far as the
    allowed seconds go; what is behind them is never decoded. The index keeps to them. Within `xmem.limits.shrinking`
    the frames of a file that are too large come smaller, also in `info`. beside: whether a network runs meanwhile: then
    small pictures are decoded by one thread.
    Where `xmem.video.isolated` says so, another process reads it, with the same results.
    Raises InputError when nothing can be read.
    """

    def __init__(
        self, source: str | Path, index: Mapping | None = None, most: int | None = None, beside: bool = False
    ) -> None:
        self.path = existing_path(source)
        self.finished = False
        kind = IsolatedFrames if is_isolated() else FolderFrames if self.path.is_dir() else FileFrames
        self._frames: Frames = kind(self.path, index, most, beside)

    @property
    def index(self) -> dict:
        """The scan's result, which a later FrameAccess takes."""
        return self._frames.table()

    @property
    def info(self) -> VideoInfo:
        return self._frames.info

    @property
    def frame_count(self) -> int:
        """Exact."""
        return len(self._frames)

    @property
    def time_base(self) -> Fraction:
        return self._frames.time_base

    @property
    def colour(self) -> Colour:
        return self._frames.colour

    @property
    def sample_aspect(self) -> Fraction:
        return self._frames.sample_aspect

    @property
    def start(self) -> Fraction:
        return self._frames.start

    @property
    def audio_path(self) -> Path | None:
        return self.path if self.info.has_audio else None

    def __enter__(self) -> FrameAccess:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Free the file. Repeated calls do nothing; a later call for a frame opens it again."""
        self._frames.close()

    def frame(self, index: int) -> Frame:
        """Frame `index`, from 0. Decodes from the key picture before it, or on from the frame given last.

        Raises InputError for a frame that there is not.
        """
        self._check(index)
        frame = self._frames.frame(index)
        if frame is None:
            raise InputError(f"{self.path.name!r} is damaged: only {self.frame_count} of its frames can be decoded.")
        return frame

    def forward(self, first: int, last: int, room: Room | None = None) -> Iterator[Frame]:
        """Frames first to last, both included. room: makes an array uint8 of a shape for each picture, which is used
        where it saves a copy. Raises InputError where one is outside of the video."""
        self._check(first, last)
        self.finished = False
        return self._forward(first, last, room)

    def backward(self, last: int, first: int, room: Room | None = None) -> Iterator[Frame]:
        """Frames last to first, both included, backwards; room: as `forward` takes it. Raises InputError where one is
        outside of the video.

        At most about 128 MB of decoded pictures are held (four pictures at least).
        """
        self._check(first, last)
        return self._frames.backward(last, first, room)

    def _forward(self, first: int, last: int, room: Room | None) -> Iterator[Frame]:
        for frame in self._frames.forward(first, last, room):
            if frame is None:
                break
            yield frame
        self.finished = last >= self.frame_count - 1 and not self.index.get("part")

    def _check(self, *indices: int) -> None:
        for index in indices:
            if not 0 <= index < self.frame_count:
                last = self.frame_count - 1
                raise InputError(f"There is no frame {index} in {self.path.name!r}: its frames are 0 to {last}.")
