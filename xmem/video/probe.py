"""What a video is, before its frames are read."""

from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av

from xmem import leaving
from xmem.limits import check_length
from xmem.video.decode import VideoDecoder, stream_rate
from xmem.video.images import IMAGE_RATE, check_sizes, list_images
from xmem.video.source import existing_path, open_container, sound_stream, video_stream

_SCANNED_PACKETS = 256  # enough to tell a variable rate where the container already knows its frame count
_REORDERED = 17  # the longest reordering of H.264 and HEVC, and one
# One packet is one shown frame; elsewhere packets may be hidden (VP8) or hold two frames (MPEG-4 in AVI).
_PACKET_IS_FRAME = ("h264", "hevc", "vp9", "av1", "libdav1d", "prores", "mjpeg", "gif", "png", "ffv1", "rawvideo")


@dataclass(frozen=True)
class VideoInfo:
    """width, height: pixels as displayed, after rotation. duration: seconds. rate: average frames per second.
    rotation: clockwise degrees already applied to frames. frame_count is an estimate unless frame_count_exact."""

    width: int
    height: int
    frame_count: int | None
    frame_count_exact: bool
    duration: float | None
    rate: Fraction
    variable_rate: bool
    rotation: int
    has_audio: bool
    codec: str
    is_folder: bool

    @property
    def exact_frame_count(self) -> int | None:
        """frame_count where it is exact, else None."""
        return self.frame_count if self.frame_count_exact else None


def probe(source: str | Path) -> VideoInfo:
    """Describe a video file or a folder of images; decodes no more than the first frame.

    Raises InputError for anything that cannot be read as a video.
    """
    path = existing_path(source)
    if path.is_dir():
        return folder_info(list_images(path))
    decoder = VideoDecoder(path)
    try:
        return file_info(decoder)
    finally:
        decoder.close()


def folder_info(images: list[Path]) -> VideoInfo:
    """Describe images in order; reads every header. Raises InputError when their sizes differ."""
    width, height = check_sizes(images)
    return VideoInfo(
        width=width,
        height=height,
        frame_count=len(images),
        frame_count_exact=True,
        duration=float(len(images) / IMAGE_RATE),
        rate=IMAGE_RATE,
        variable_rate=False,
        rotation=0,
        has_audio=False,
        codec=images[0].suffix[1:].lower(),
        is_folder=True,
    )


def file_info(decoder: VideoDecoder, is_whole: bool = True) -> VideoInfo:
    """Describe the file of an opened decoder, from a scan of its packets that decodes nothing.

    is_whole: all of it is to be read, so that it must not be too long.
    """
    with open_container(decoder.path) as container:
        stream = video_stream(container, decoder.path)
        scan = _scan(container, stream)
        told = stream.frames or None
        has_audio = sound_stream(container) is not None
        length = _seconds(stream.duration, stream.time_base) or _seconds(container.duration, Fraction(1, av.time_base))
    duration = scan.duration if scan.complete and scan.duration else length
    count = scan.packets if scan.complete else told
    if told and scan.packets + scan.hidden < told:  # the file is cut; the reader will say so
        count = told
    if is_whole:
        check_length(count or 0, float(duration or 0), decoder.path.name)
    exact = count is not None and decoder.codec in _PACKET_IS_FRAME
    if count and not duration:
        duration = count / decoder.rate
    if count is None and duration:
        count = max(1, round(duration * decoder.rate))
    rate = decoder.rate
    if scan.variable and count and duration:
        rate = (Fraction(count) / duration).limit_denominator(1001)
    return VideoInfo(
        width=decoder.width,
        height=decoder.height,
        frame_count=count,
        frame_count_exact=exact,
        duration=float(duration) if duration else None,
        rate=rate or decoder.rate,
        variable_rate=scan.variable,
        rotation=decoder.orientation.degrees,
        has_audio=has_audio,
        codec=decoder.codec,
        is_folder=False,
    )


@dataclass(frozen=True)
class _Scan:
    packets: int  # of frames to be shown
    hidden: int  # of frames that an edit list leaves out
    complete: bool
    duration: Fraction | None  # seconds
    variable: bool


def _scan(container: av.container.InputContainer, stream: av.VideoStream) -> _Scan:
    """Count packets and look at their times; the whole file only where the container does not tell its frame count."""
    stamps: list[int] = []  # of the first packets only
    packets, hidden, complete = 0, 0, True
    first: int | None = None
    last: int | None = None
    time_base = stream.time_base or 1 / stream_rate(stream)
    nominal = max(1, round(1 / (stream_rate(stream) * time_base)))  # ticks per frame
    try:
        for packet in container.demux(stream):
            leaving.ask()
            if packet.size == 0 or packet.is_discard:
                hidden += packet.size > 0
                continue
            packets += 1
            stamp = packet.dts if packet.pts is None else packet.pts
            if stamp is not None:
                first = stamp if first is None else min(first, stamp)
                last = max(last or stamp, stamp + (packet.duration or nominal))
                if len(stamps) < _SCANNED_PACKETS:
                    stamps.append(stamp)
            if packets >= _SCANNED_PACKETS and stream.frames:
                complete = False
                break
    except (av.error.FFmpegError, OSError):  # a damaged end; the decoder warns about it
        pass
    duration = (last - first) * time_base if first is not None and last is not None else None
    return _Scan(packets, hidden, complete, duration or None, _varies(stamps, packets <= _SCANNED_PACKETS and complete))


def _varies(stamps: list[int], complete: bool) -> bool:
    """Whether intervals differ by more than the rounding of a coarse clock (one tick either way) and a tenth."""
    ordered = sorted(set(stamps))
    intervals = [after - before for before, after in pairwise(ordered)]
    if not complete:  # packets come in decoding order: the latest times read may lack a neighbour that was not
        intervals = intervals[:-_REORDERED]
    return bool(intervals) and max(intervals) - min(intervals) > max(2, min(intervals) // 10)


def _seconds(ticks: int | None, time_base: Fraction | None) -> Fraction | None:
    return ticks * time_base if ticks and time_base and ticks > 0 else None
