"""Frames of a video file or of a folder of images in any order, in constant memory."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from types import TracebackType

from av import VideoFrame

from xmem.errors import InputError
from xmem.video.colour import Colour, colour_of_images
from xmem.video.images import IMAGE_RATE, list_images, load_image
from xmem.video.index import FrameIndex, info_of_table, info_table
from xmem.video.probe import VideoInfo, folder_info
from xmem.video.reader import Frame
from xmem.video.seek import PictureSeeker
from xmem.video.source import existing_path

HELD_BYTES = 128_000_000  # of decoded pictures while going backwards
_HELD_FRAMES = 4  # at least, however large they are


class FrameAccess:
    """Any frame of `source`, a video file or a folder of images: the very frames that FrameReader gives, in any order.

    source is scanned once, by its packets; a file whose packets do not tell its frames (AVI, MPEG-TS, GIF, missing or
    repeated stamps, damage) is decoded once for it. `index` is the result, plain values for a JSON file: given back for
    the same source, it saves the scan; one of another file is not used. Use as a context manager.

    info (with the exact count of frames), time_base (seconds), colour, sample_aspect, audio_path, start and finished
    are those of a FrameReader, for a writer; finished is True once `forward` has come to the last frame of the source.
    A file whose damage shows only where it is decoded loses the frames that cannot be: frame_count and index then tell,
    and `forward` and `backward` leave them out.
    Raises InputError when nothing can be read.
    """

    def __init__(self, source: str | Path, index: Mapping | None = None) -> None:
        self.path = existing_path(source)
        self.finished = False
        self._frames = _FolderFrames(self.path, index) if self.path.is_dir() else _FileFrames(self.path, index)

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

    def forward(self, first: int, last: int) -> Iterator[Frame]:
        """Frames first to last, both included. Raises InputError where one is outside of the video."""
        self._check(first, last)
        self.finished = False
        return self._forward(first, last)

    def backward(self, last: int, first: int) -> Iterator[Frame]:
        """Frames last to first, both included, backwards. Raises InputError where one is outside of the video.

        At most about 128 MB of decoded pictures are held (four pictures at least).
        """
        self._check(first, last)
        return self._frames.backward(last, first)

    def _forward(self, first: int, last: int) -> Iterator[Frame]:
        for index in range(first, last + 1):
            frame = self._frames.frame(index)
            if frame is None:
                break
            yield frame
        self.finished = last >= self.frame_count - 1

    def _check(self, *indices: int) -> None:
        for index in indices:
            if not 0 <= index < self.frame_count:
                last = self.frame_count - 1
                raise InputError(f"There is no frame {index} in {self.path.name!r}: its frames are 0 to {last}.")


class _FolderFrames:
    """Images by number. The index holds the size, so that not every header is read again."""

    def __init__(self, path: Path, table: Mapping | None) -> None:
        self._images = list_images(path)
        self._names = zlib.crc32("\n".join(image.name for image in self._images).encode())
        mine = table if table is not None and table.get("names") == self._names else None
        self.info = folder_info(self._images) if mine is None else info_of_table(mine["info"])
        self.time_base = 1 / IMAGE_RATE
        self.colour = colour_of_images(self.info.width, self.info.height)
        self.sample_aspect = Fraction(1)
        self.start = Fraction(0)

    def __len__(self) -> int:
        return len(self._images)

    def table(self) -> dict:
        return {"names": self._names, "info": info_table(self.info)}

    def frame(self, index: int) -> Frame:
        path = self._images[index]
        return Frame(load_image(path), index, index / IMAGE_RATE, 1 / IMAGE_RATE, path.stem)

    def backward(self, last: int, first: int) -> Iterator[Frame]:
        return (self.frame(index) for index in range(last, first - 1, -1))

    def close(self) -> None:
        pass


class _FileFrames:
    """Frames of a video file by number."""

    def __init__(self, path: Path, table: Mapping | None) -> None:
        index = FrameIndex.of_table(table, path) if table is not None else None
        self._seeker = PictureSeeker(path, index)

    def __len__(self) -> int:
        return len(self._seeker.index)

    def table(self) -> dict:
        return self._seeker.index.table()

    @property
    def info(self) -> VideoInfo:
        return self._seeker.index.info

    @property
    def time_base(self) -> Fraction:
        return self._seeker.decoder.time_base

    @property
    def colour(self) -> Colour:
        return self._seeker.decoder.colour

    @property
    def sample_aspect(self) -> Fraction:
        return self._seeker.decoder.sample_aspect

    @property
    def start(self) -> Fraction:
        return self._seeker.decoder.start

    def frame(self, index: int) -> Frame | None:
        picture = self._seeker.picture(index)
        return None if picture is None else self._converted(index, picture)

    def backward(self, last: int, first: int) -> Iterator[Frame]:
        """In runs that are decoded forwards and held, not yet converted, until they were given."""
        count = max(_HELD_FRAMES, HELD_BYTES // self._seeker.decoder.picture_bytes)
        while last >= first:
            begin, known = max(first, last - count + 1), self._seeker.index
            held = [self._seeker.picture(index) for index in range(begin, last + 1)]
            if self._seeker.index is not known:  # the file turned out to be damaged: frames have other numbers now
                continue
            while held:
                picture = held.pop()
                if picture is not None:
                    yield self._converted(begin + len(held), picture)
            last = begin - 1

    def close(self) -> None:
        self._seeker.close()

    def _converted(self, index: int, picture: VideoFrame) -> Frame:
        decoder = self._seeker.decoder
        time = int(self._seeker.index.times[index]) * decoder.time_base
        return Frame(decoder.to_rgb(picture), index, time, decoder.duration(picture), f"{index:05d}")
