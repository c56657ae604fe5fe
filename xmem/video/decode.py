"""From an opened file to pictures in presentation order, every one with a time."""

import logging
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import cv2
import numpy as np
from av import VideoFrame
from av.buffer import Buffer
from av.video.reformatter import VideoReformatter

from xmem.errors import InputError
from xmem.limits import check_shape, limits, smaller
from xmem.private import Private
from xmem.video.colour import Colour, Room, colour_of, to_rgb
from xmem.video.source import DAMAGE, open_container, video_stream
from xmem.video.timeline import Timeline

_log = logging.getLogger("xmem")
_FALLBACK_RATE = Fraction(25)  # frames per second for streams that do not say
_DECODER_THREADS = 4  # each holds a frame
_SMALL = 1 << 19  # pixels; beside a network, pictures of fewer are decoded by one thread


@dataclass(frozen=True)
class Orientation:
    """How to show a decoded picture: transpose first, then flip. All right angles and mirrors of a display matrix."""

    transpose: bool = False
    flip_x: bool = False
    flip_y: bool = False

    @classmethod
    def of(cls, frame: VideoFrame) -> "Orientation":
        """The orientation in a frame's display matrix; upright where it has none."""
        data = cast(Mapping[str, Buffer], frame.side_data).get("DISPLAYMATRIX")  # which the stub leaves out
        if data is None:
            return cls()
        a, b, _, c, d = np.frombuffer(bytes(data), np.int32)[:5]  # x' = a x + c y, y' = b x + d y
        if abs(int(b)) > abs(int(a)):
            return cls(True, bool(c < 0), bool(b < 0))
        return cls(False, bool(a < 0), bool(d < 0))

    @property
    def degrees(self) -> int:
        """Clockwise turn, 0, 90, 180 or 270; a mirrored picture counts by its turn alone."""
        if self.transpose:
            return 270 if self.flip_y else 90
        return 180 if self.flip_x and self.flip_y else 0

    def apply(self, image: np.ndarray) -> np.ndarray:
        """uint8 [H, W, 3] turned upright; [W, H, 3] when transposed."""
        if self.transpose:
            image = cv2.transpose(image)
        if self.flip_x or self.flip_y:
            image = cv2.flip(image, -1 if self.flip_x and self.flip_y else int(self.flip_x))
        return image


@dataclass(frozen=True)
class TimedPicture:
    """A decoded, unconverted frame with its time and duration in seconds from the first frame."""

    picture: VideoFrame
    time: Fraction
    duration: Fraction


class VideoDecoder:
    """Decodes one file front to back. Iterating yields a TimedPicture per frame; none is dropped, none repeated.

    start: the first frame's time on the file's own clock, in seconds, to which its sound refers. picture_bytes: of the
    first decoded picture, as they mostly are. is_damaged: whether something could not be decoded so far; of the first
    such thing a warning is logged, unless warns is False. beside: whether a network runs meanwhile, which needs the
    cores: small pictures then come from one thread, which wakes no others.
    """

    def __init__(self, path: Path, warns: bool = True, beside: bool = False) -> None:
        self.path = path
        self._warns = warns
        self._container = open_container(path)
        try:
            self._stream = video_stream(self._container, path)
            self._stream.thread_type = "AUTO"
            is_small = self._stream.width * self._stream.height < _SMALL
            threads = 1 if beside and is_small else min(_DECODER_THREADS, os.cpu_count() or 1)
            self._stream.codec_context.thread_count = threads
            self.rate = stream_rate(self._stream)
            self.time_base: Fraction = self._stream.time_base or 1 / self.rate
            self.codec = self._stream.codec_context.name
            # AVI knows no presentation times: what it offers as such is in decoding order.
            self.has_presentation_times = self._container.format.name != "avi"
            self.is_damaged = False
            self._pictures = self._timed()
            self._first: TimedPicture | None = next(self._pictures, None)
            if self._first is None:
                raise InputError(f"No picture can be decoded from {path.name!r}: it is damaged or cut; copy it again.")
            picture = self._first.picture
            check_shape(picture.width, picture.height, f"The frames of {path.name!r} are")
        except BaseException:
            self._container.close()
            raise
        self.orientation = Orientation.of(picture)
        self.colour: Colour = colour_of(picture)
        self.picture_bytes = sum(plane.buffer_size for plane in picture.planes)
        self._size = smaller(picture.width, picture.height)  # itself, unless within `xmem.limits.shrinking`
        self._reformatter = VideoReformatter()
        sides = self._size[::-1] if self.orientation.transpose else self._size
        self.width, self.height = sides
        aspect = self._plausible(self._stream.sample_aspect_ratio or Fraction(1))
        self.sample_aspect = 1 / aspect if self.orientation.transpose else aspect

    def __iter__(self) -> Iterator[TimedPicture]:
        if self._first is not None:
            first, self._first = self._first, None
            yield first
        yield from self._pictures

    def to_rgb(self, picture: VideoFrame, room: Room | None = None) -> np.ndarray:
        """uint8 [height, width, 3] RGB, upright; a picture of another size than the first is resized to it.

        room: where it is made, if it can be.
        Raises InputError for a picture whose form or colours FFmpeg cannot convert.
        """
        try:
            room = room if self.orientation == Orientation() else None
            return self.orientation.apply(to_rgb(picture, self._reformatter, *self._size, room))
        except av.error.FFmpegError as error:
            name = self.path.name
            raise InputError(f"{name!r} has pictures whose colours cannot be read; convert it to H.264 MP4.") from error

    def stamp(self, picture: VideoFrame) -> int | None:
        """The file's own time of a picture in ticks of time_base, as it stands there; None where there is none."""
        return picture.dts if picture.pts is None or not self.has_presentation_times else picture.pts

    def lasting_stamp(self, picture: VideoFrame) -> int | None:
        """The stamp, where the picture has the same one wherever decoding began; else None."""
        return picture.pts if self.has_presentation_times else None

    def duration(self, picture: VideoFrame) -> Fraction:
        """How long a picture is shown, in seconds."""
        return picture.duration * self.time_base if picture.duration else 1 / self.rate

    def seek(self, stamp: int) -> Iterator[VideoFrame]:
        """Pictures from a key packet at or before `stamp` (ticks) on, in presentation order, in place of what was left
        to iterate. Where files lie about themselves they may begin later, and the first ones may be broken, namely
        those that are shown before the key picture. Raises FFmpeg's errors where the file cannot be sought."""
        self._first, self._pictures = None, iter(())
        self._container.seek(stamp, stream=self._stream)
        return self._decoded()

    def close(self) -> None:
        """Free the file and the decoder; repeated calls do nothing."""
        self._container.close()

    def _plausible(self, aspect: Fraction) -> Fraction:
        """The aspect of a pixel, or 1 where pictures would then have a shape that none may have."""
        width, height = self._size
        shorter, longer = sorted((width * aspect, Fraction(height)))
        if longer <= limits().aspect * shorter:
            return aspect
        if self._warns:
            _log.warning(
                "%s claims pixels of the aspect %s; they are taken as square.", Private(self.path.name), aspect
            )
        return Fraction(1)

    def _timed(self) -> Iterator[TimedPicture]:
        timeline = Timeline(self.time_base, 1 / self.rate)
        first: int | None = None
        for picture in self._decoded():
            stamp = timeline.place(self.stamp(picture))
            if first is None:
                first = stamp
                start = first if self.has_presentation_times else self._stream.start_time or 0
                self.start = start * self.time_base
            yield TimedPicture(picture, (stamp - first) * self.time_base, self.duration(picture))

    def _decoded(self) -> Iterator[VideoFrame]:
        try:
            for packet in self._container.demux(self._stream):
                yield from self._decode(packet)
        except (av.error.FFmpegError, OSError) as error:  # the demuxer gives up; what it gave still holds frames
            self._warn(error)
            yield from self._decode(None)

    def _decode(self, packet: av.Packet | None) -> list[VideoFrame]:
        try:
            return self._stream.decode(packet)
        except av.error.EOFError:
            return []
        except DAMAGE as error:
            self._warn(error)
            return []

    def _warn(self, error: av.error.FFmpegError | OSError | ValueError) -> None:
        if self._warns and not self.is_damaged:
            reason = getattr(error, "strerror", None) or error
            _log.warning("%s is damaged or cut (%s); using what can be decoded.", Private(self.path.name), reason)
        self.is_damaged = True


def stream_rate(stream: av.VideoStream) -> Fraction:
    """Average frames per second as the container tells or guesses it; 25 where it does neither."""
    for rate in (stream.average_rate, stream.guessed_rate, stream.base_rate):
        if rate:
            return Fraction(rate)
    return _FALLBACK_RATE
