"""Frames of a video file or of a folder of images, streamed in time order."""

import logging
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import numpy as np

from xmem.private import Private
from xmem.video.colour import Colour, colour_of_images
from xmem.video.decode import VideoDecoder
from xmem.video.images import IMAGE_RATE, list_images, load_image
from xmem.video.probe import VideoInfo, file_info, folder_info
from xmem.video.source import existing_path

_log = logging.getLogger("xmem")


@dataclass(frozen=True)
class Frame:
    """One frame. image: uint8 [H, W, 3] RGB. time, duration: seconds from the first frame, exact.
    name: the image's stem in a folder, else the index in five digits."""

    image: np.ndarray
    index: int
    time: Fraction
    duration: Fraction
    name: str


class FrameReader:
    """Iterates once over the frames of `source`, a video file or a folder of images, holding a few frames at most.

    Rotation is applied, time stamps are kept and made strictly increasing, and every frame that decodes comes once.
    A file that is cut or damaged gives the frames that decode, and a warning. Use as a context manager.
    Raises InputError when nothing can be read.

    For a writer: time_base (seconds), colour, sample_aspect (pixel width over height), audio_path (None without sound),
    start (seconds on the file's clock), and finished: True once the last frame was handed out, when frame_count
    is exact.
    """

    def __init__(self, source: str | Path) -> None:
        self.path = existing_path(source)
        self.finished = False
        self._count: int | None = None
        self._decoder: VideoDecoder | None = None
        if self.path.is_dir():
            self._open_folder()
        else:
            self._open_file()
        self._frames = self._iterate()

    def _open_folder(self) -> None:
        self._images = list_images(self.path)
        self.info: VideoInfo = folder_info(self._images)
        self.time_base = 1 / IMAGE_RATE
        self.colour: Colour = colour_of_images(self.info.width, self.info.height)
        self.sample_aspect = Fraction(1)
        self.start = Fraction(0)
        self.audio_path: Path | None = None

    def _open_file(self) -> None:
        self._decoder = decoder = VideoDecoder(self.path)
        try:
            self.info = file_info(decoder)
        except BaseException:
            decoder.close()
            raise
        self.time_base = decoder.time_base
        self.colour = decoder.colour
        self.sample_aspect = decoder.sample_aspect
        self.start = decoder.start
        self.audio_path = self.path if self.info.has_audio else None

    @property
    def frame_count(self) -> int | None:
        """Frames of the source, as `info` tells them until all were read."""
        return self._count if self.finished else self.info.frame_count

    def __enter__(self) -> "FrameReader":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def __iter__(self) -> Iterator[Frame]:
        return self

    def __next__(self) -> Frame:
        return next(self._frames)

    def close(self) -> None:
        """Free the file; iteration ends. Repeated calls do nothing."""
        self._frames.close()
        if self._decoder is not None:
            self._decoder.close()

    def _iterate(self) -> Generator[Frame, None, None]:
        frames = self._of_folder() if self._decoder is None else self._of_file(self._decoder)
        self._count = yield from frames
        self.finished = True

    def _of_folder(self) -> Generator[Frame, None, int]:
        """Returns how many there were."""
        for index, path in enumerate(self._images):
            image = load_image(path)
            yield Frame(image, index, index / IMAGE_RATE, 1 / IMAGE_RATE, path.stem)
        return len(self._images)

    def _of_file(self, decoder: VideoDecoder) -> Generator[Frame, None, int]:
        """Returns how many there were."""
        count = 0
        for timed in decoder:
            yield Frame(decoder.to_rgb(timed.picture), count, timed.time, timed.duration, f"{count:05d}")
            count += 1
        expected = self.info.frame_count
        if self.info.frame_count_exact and expected and count < expected:
            _log.warning(
                "%s is cut or damaged: %d of %d frames could be read.", Private(self.path.name), count, expected
            )
        return count


def first_frame(source: str | Path) -> np.ndarray:
    """The first frame as uint8 [H, W, 3] RGB. Raises InputError."""
    with FrameReader(source) as reader:
        return next(reader).image
