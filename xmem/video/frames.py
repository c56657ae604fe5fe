"""The frames of one source by number: of a folder of images, of a video file. `xmem.video.access` gives them to all."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Protocol

from av import VideoFrame

from xmem.video.colour import Colour, Room, colour_of_images
from xmem.video.images import IMAGE_RATE, list_images, load_image
from xmem.video.index import FrameIndex, info_of_table, info_table
from xmem.video.probe import VideoInfo, folder_info
from xmem.video.reader import Frame
from xmem.video.seek import PictureSeeker

HELD_BYTES = 128_000_000  # of decoded pictures while going backwards
_HELD_FRAMES = 4  # at least, however large they are


class Frames(Protocol):
    """What `FrameAccess` wants of a source. frame: None where a damaged file turns out not to have it; `len` then tells
    how many there are. room: where pictures are made, for those that can be. table: plain values that say which frames
    there are, for the next time."""

    @property
    def info(self) -> VideoInfo: ...
    @property
    def time_base(self) -> Fraction: ...
    @property
    def colour(self) -> Colour: ...
    @property
    def sample_aspect(self) -> Fraction: ...
    @property
    def start(self) -> Fraction: ...
    def __len__(self) -> int: ...
    def table(self) -> dict: ...
    def frame(self, index: int, room: Room | None = None) -> Frame | None: ...
    def forward(self, first: int, last: int, room: Room | None = None) -> Iterator[Frame | None]: ...
    def backward(self, last: int, first: int, room: Room | None = None) -> Iterator[Frame]: ...
    def close(self) -> None: ...


class FolderFrames:
    """Images by number. The index holds the size, so that not every header is read again."""

    def __init__(self, path: Path, table: Mapping | None, most: int | None = None, beside: bool = False) -> None:
        self._images = list_images(path, most)
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

    def frame(self, index: int, room: Room | None = None) -> Frame:
        path = self._images[index]
        return Frame(load_image(path), index, index / IMAGE_RATE, 1 / IMAGE_RATE, path.stem)

    def forward(self, first: int, last: int, room: Room | None = None) -> Iterator[Frame]:
        return (self.frame(index) for index in range(first, last + 1))

    def backward(self, last: int, first: int, room: Room | None = None) -> Iterator[Frame]:
        return (self.frame(index) for index in range(last, first - 1, -1))

    def close(self) -> None:
        pass


class FileFrames:
    """Frames of a video file by number. beside: as a `VideoDecoder` has it."""

    def __init__(self, path: Path, table: Mapping | None, most: int | None = None, beside: bool = False) -> None:
        index = FrameIndex.of_table(table, path) if table is not None else None
        self._seeker = PictureSeeker(path, index, most, beside)

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

    def frame(self, index: int, room: Room | None = None) -> Frame | None:
        picture = self._seeker.picture(index)
        return None if picture is None else self._converted(index, picture, room)

    def forward(self, first: int, last: int, room: Room | None = None) -> Iterator[Frame | None]:
        return (self.frame(index, room) for index in range(first, last + 1))

    def backward(self, last: int, first: int, room: Room | None = None) -> Iterator[Frame]:
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
                    yield self._converted(begin + len(held), picture, room)
            last = begin - 1

    def close(self) -> None:
        self._seeker.close()

    def _converted(self, index: int, picture: VideoFrame, room: Room | None) -> Frame:
        decoder = self._seeker.decoder
        time = int(self._seeker.index.times[index]) * decoder.time_base
        return Frame(decoder.to_rgb(picture, room), index, time, decoder.duration(picture), f"{index:05d}")
