"""Frames to a video with the source's timing, colours and sound: an H.264 MP4 that plays in browsers, or others."""

import errno
import os
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import av
import cv2
import numpy as np
from av.container import OutputContainer
from av.video.reformatter import ColorRange, Interpolation, VideoReformatter
from av.video.stream import VideoStream

from xmem.errors import InputError
from xmem.video.access import FrameAccess
from xmem.video.audio import AudioTrack
from xmem.video.colour import Colour, to_yuv420
from xmem.video.reader import Frame, FrameReader

_KEY_FRAME_SECONDS = 2  # how far apart a player finds places to seek to
_FINEST_CLOCK = 1_000_000  # ticks per second that players still accept
_MPEG_CLOCK = Fraction(1, 90_000)
# Each thread of an encoder holds frames, so a machine of many cores must not mean many frames in memory.
ENCODER_THREADS = str(min(8, os.cpu_count() or 1))

SoundOpener = Callable[[Path, OutputContainer, Fraction], AudioTrack | None]


@dataclass(frozen=True)
class VideoPreset:
    """How a video is stored. container, codec, pix_fmt and options: FFmpeg's names; the options are the encoder's.

    A pix_fmt with alpha takes RGBA frames (straight, not premultiplied). The encoder must not reorder frames.
    sound: opens the track that goes along, like `AudioTrack.open`, for what the container can hold; None for silence.
    """

    container: str
    codec: str
    pix_fmt: str
    options: Mapping[str, str] = field(default_factory=dict)
    container_options: Mapping[str, str] = field(default_factory=dict)
    stream_metadata: Mapping[str, str] = field(default_factory=dict)
    sound: SoundOpener | None = AudioTrack.open

    @property
    def has_alpha(self) -> bool:
        return self.pix_fmt.startswith("yuva")


# No B-frames: each frame's time is then written as it is, without reordering delays at either end.
H264 = VideoPreset(
    "mp4",
    "libx264",
    "yuv420p",
    {
        # Between "superfast" and "veryfast": two thirds of the latter's time, files a tenth larger, 0.2 dB less.
        **{"crf": "18", "preset": "superfast", "mbtree": "1", "rc-lookahead": "10"},
        **{"bf": "0", "threads": ENCODER_THREADS},
    },
    container_options={"movflags": "+faststart"},
)

_OF_ENCODERS = (av.error.ExternalError, av.error.BugError, av.error.EncoderNotFoundError, av.error.UnknownError)


class VideoWriter:
    """Writes a video (by default an MP4: H.264 yuv420p, faststart), timed and coloured like `reader`, with its sound.

    The sound is read from the source alongside; where the source's last frame was not written, it ends with the video.
    The file appears under its name only on close(), complete and valid after any number of frames; without frames there
    is none. 4:2:0 H.264 has even sides only (its cropping, too, counts in steps of two): an odd side gets one more row
    or column, a copy of the edge; videos with alpha keep every size.

    reader: it may have read further than what is written.
    """

    def __init__(self, path: str | Path, reader: FrameReader | FrameAccess, preset: VideoPreset = H264) -> None:
        self._path = Path(path)
        self._reader = reader
        self._preset = preset
        self._reformatter = VideoReformatter()
        self._container: OutputContainer | None = None
        self._partial: Path | None = None
        self._audio: AudioTrack | None = None
        self._origin = Fraction(0)  # source seconds of the first frame written
        self._end = Fraction(0)  # output seconds at which the last frame ends
        self._last_time = Fraction(-1)
        self._last_tick = -1
        self._last_index = -1  # of the frame written last
        self._durations: dict[int, int] = {}  # ticks by tick, of frames inside the encoder
        self._closed = False

    def __enter__(self) -> "VideoWriter":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def write(self, image: np.ndarray, frame: Frame) -> None:
        """Append an image of the source's size at the time of `frame`; times must increase.

        image: uint8 [H, W, 3] RGB, or [H, W, 4] RGBA where the preset has alpha.
        """
        if self._closed:
            raise ValueError("The writer is closed.")
        try:
            container = self._open(image, frame) if self._container is None else self._container
            self._encode(container, image, frame)
        except av.error.FFmpegError as error:
            self.discard()
            raise of_writing(error) from error
        except BaseException:
            self.discard()
            raise

    def close(self) -> None:
        """Finish the file and give it its name. Repeated calls do nothing; a failure leaves no file."""
        if self._closed:
            return
        self._closed = True
        if self._container is None or self._partial is None:
            return
        try:
            self._mux(self._container, self._video.encode(None))
            if self._audio is not None:
                self._audio.finish(None if self._has_all() else self._end)
            self._container.close()
            os.replace(self._partial, self._path)
        except av.error.FFmpegError as error:
            self.discard()
            raise of_writing(error) from error
        except BaseException:
            self.discard()
            raise
        finally:
            self._close_audio()

    def _open(self, image: np.ndarray, frame: Frame) -> OutputContainer:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{self._path.stem}-", suffix=".part", dir=self._path.parent)
        os.close(handle)
        self._partial = Path(name)
        self._partial.chmod(0o644)
        self._container = container = av.open(
            name, "w", format=self._preset.container, container_options=dict(self._preset.container_options)
        )
        self._origin = frame.time
        self._video = self._add_video(container, image.shape[1], image.shape[0])
        if self._reader.audio_path is not None and self._preset.sound is not None:
            start = self._reader.start + self._origin
            self._audio = self._preset.sound(self._reader.audio_path, container, start)
        return container

    def _add_video(self, container: OutputContainer, width: int, height: int) -> VideoStream:
        info, colour = self._reader.info, self._reader.colour
        clock = self._reader.time_base
        self._clock = clock if clock.denominator <= _FINEST_CLOCK else _MPEG_CLOCK
        rate = info.rate.limit_denominator(65535)
        stream = add_video_stream(container, self._preset.codec, rate, self._preset.options)
        stream.metadata.update(self._preset.stream_metadata)
        stream.time_base = self._clock
        context = stream.codec_context
        context.time_base = self._clock
        context.width, context.height = width, height
        if not self._preset.has_alpha:
            context.width, context.height = width + width % 2, height + height % 2
        context.pix_fmt = self._preset.pix_fmt
        context.gop_size = max(1, min(250, round(info.rate * _KEY_FRAME_SECONDS)))
        context.sample_aspect_ratio = self._reader.sample_aspect
        context.colorspace = colour.matrix
        context.color_primaries = colour.primaries
        context.color_trc = colour.transfer
        context.color_range = ColorRange.MPEG
        return stream

    def _encode(self, container: OutputContainer, image: np.ndarray, frame: Frame) -> None:
        time = frame.time - self._origin
        if time <= self._last_time:
            raise ValueError(f"Frame {frame.index} is not later than the frame before it.")
        self._last_time = time
        tick = max(round(time / self._clock), self._last_tick + 1)  # the source's clock may be finer
        self._last_tick, self._last_index = tick, frame.index
        duration = max(1, round(frame.duration / self._clock))
        self._durations[tick] = duration
        self._end = time + frame.duration
        picture = self._picture(image)
        picture.pts = tick
        picture.time_base = self._clock
        picture.duration = duration
        self._mux(container, self._video.encode(picture))
        if self._audio is not None:
            self._audio.advance(time)

    def _has_all(self) -> bool:
        """Whether the source's last frame was written."""
        return self._reader.finished and self._reader.frame_count == self._last_index + 1

    def _picture(self, image: np.ndarray) -> av.VideoFrame:
        if self._preset.has_alpha:
            return _to_yuva(image, self._preset.pix_fmt, self._reader.colour, self._reformatter)
        return to_yuv420(_even(image), self._reader.colour, self._reformatter)

    def _mux(self, container: OutputContainer, packets: list[av.Packet]) -> None:
        for packet in packets:
            duration = None if packet.pts is None else self._durations.pop(packet.pts, None)
            if duration is not None:
                packet.duration = duration
            container.mux(packet)

    def discard(self) -> None:
        """Leave nothing behind, after a failure or where nobody wants it any more."""
        self._closed = True
        self._close_audio()
        if self._container is not None:
            with suppress(av.error.FFmpegError, OSError):  # the failure that brought us here is the one to tell
                self._container.close()
        if self._partial is not None:
            self._partial.unlink(missing_ok=True)

    def _close_audio(self) -> None:
        if self._audio is not None:
            self._audio.close()


def of_writing(error: av.error.FFmpegError) -> Exception:
    """What to raise where a video cannot be written: the disk's and the memory's faults as they are, the encoder's and
    those of the source's times or sound in a sentence."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EACCES, errno.EROFS, errno.ENOMEM):
        return error
    if isinstance(error, _OF_ENCODERS):
        return InputError("The encoder of this kind of video failed; choose another kind, or masks as PNG.")
    return InputError("The video's time stamps or its sound are damaged beyond writing; convert it to MP4 first.")


def add_video_stream(
    container: OutputContainer, codec: str, rate: Fraction | int, options: Mapping[str, str] | None = None
) -> VideoStream:
    """A new stream of a video codec (FFmpeg's name, with its encoder's options), rate in frames per second."""
    stream = container.add_stream(codec, rate=rate, options=dict(options or {}))
    assert isinstance(stream, VideoStream)
    return stream


def _even(image: np.ndarray) -> np.ndarray:
    """uint8 [H, W, 3] with even sides, by repeating the last row or column."""
    height, width = image.shape[:2]
    if height % 2 or width % 2:
        return cv2.copyMakeBorder(image, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE)
    return np.ascontiguousarray(image)


def _to_yuva(image: np.ndarray, pix_fmt: str, colour: Colour, reformatter: VideoReformatter) -> av.VideoFrame:
    """A limited-range frame of 8 or 10 bits with alpha from uint8 [H, W, 4] RGBA."""
    converted = reformatter.reformat(
        av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgba"),
        format=pix_fmt,
        interpolation=Interpolation.BILINEAR | Interpolation.ACCURATE_RND,
        dst_colorspace=colour.matrix,
        dst_color_range=ColorRange.MPEG,
    )
    _set_alpha(converted, image[..., 3])
    converted.colorspace = colour.matrix
    converted.color_range = ColorRange.MPEG
    converted.color_primaries = colour.primaries
    converted.color_trc = colour.transfer
    return converted


def _set_alpha(frame: av.VideoFrame, alpha: np.ndarray) -> None:
    """Store uint8 [H, W] exactly: swscale's own is off by one, and with 10 bits full opacity is not full."""
    deep = frame.format.name.endswith("10le")
    plane = frame.planes[3]
    values = np.frombuffer(memoryview(plane), np.uint16 if deep else np.uint8).reshape(plane.height, -1)
    values[:, : plane.width] = alpha.astype(np.uint16) << 2 | alpha >> 6 if deep else alpha
