"""Before a run: what the video is, and what time and memory following its objects will take."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from xmem.device import describe_device, free_memory
from xmem.families import family_of
from xmem.networks import Network
from xmem.review.trial import Trial, Work, run_trial
from xmem.session import Session, TrackSettings
from xmem.video import FrameAccess, VideoInfo, probe
from xmem.video.frames import HELD_BYTES

LONG_VIDEO = 300  # seconds: a video to be trimmed
LONG_RUN = 600  # seconds: a run for which a smaller size is proposed
LARGE_FRAME = 3840 * 2160  # pixels
_BYTES_PER_PIXEL = 60  # of a frame in its own size: a few pictures, and probabilities in floats on their way to a mask
SIZES = (720, 480, 384, 288, 240)  # pixels, those proposed; below, small objects are lost
_SHARE_OF_FREE = 0.8  # of free memory that a run may be planned with
_CODECS = {
    "h264": "H.264",
    "hevc": "HEVC",
    "vp9": "VP9",
    "vp8": "VP8",
    "libdav1d": "AV1",
    "av1": "AV1",
    "mpeg4": "MPEG-4",
    "mpeg2video": "MPEG-2",
    "prores": "ProRes",
    "mjpeg": "Motion JPEG",
    "gif": "GIF",
}


@dataclass(frozen=True)
class Preflight:
    """What a video is. seconds: its duration, None where unknown, as frames may be; rate: frames per second, on
    average; rotation: clockwise degrees by which the file's pictures are turned. warnings: sentences for people."""

    width: int
    height: int
    frames: int | None
    frames_exact: bool
    seconds: float | None
    rate: float
    variable_rate: bool
    rotation: int
    has_audio: bool
    codec: str
    is_folder: bool
    warnings: tuple[str, ...]

    def lines(self) -> list[str]:
        """Short labels for a card, the most asked first."""
        about = "" if self.frames_exact else "about "
        parts = [f"{self.width} × {self.height}"]
        if self.frames:
            parts.append(f"{about}{self.frames:,} frame{'s' * (self.frames != 1)}")
        if self.is_folder:
            return [*parts, f"{self.codec.upper()} images"]
        if self.seconds:
            parts.append(_clock(self.seconds))
        rate = f"{self.rate:.4g} frames per second"
        parts.append(f"variable rate, about {rate}" if self.variable_rate else rate)
        if self.rotation:
            parts.append(f"turned by {self.rotation}°")
        return [*parts, "with sound" if self.has_audio else "no sound", _CODECS.get(self.codec, self.codec)]


@dataclass(frozen=True)
class Estimate:
    """What a run should take. seconds_per_frame: of one frame in one pass; seconds: of all; peak_bytes: the process's
    resident memory, or what is allocated on a GPU, at its highest, None where
    the system does not tell; device: for people. proposed_size: a shorter side in
    pixels that takes less, None where the chosen one is fine; reason: a few sentences for people.
    """

    seconds_per_frame: float
    seconds: float
    peak_bytes: int | None
    device: str
    proposed_size: int | None
    reason: str


def preflight(source: str | Path | VideoInfo) -> Preflight:
    """Describe a video file, a folder of images, or one already probed. Raises InputError where it cannot be read."""
    info = source if isinstance(source, VideoInfo) else probe(source)
    return Preflight(
        width=info.width,
        height=info.height,
        frames=info.frame_count,
        frames_exact=info.frame_count_exact,
        seconds=info.duration,
        rate=float(info.rate),
        variable_rate=info.variable_rate,
        rotation=info.rotation,
        has_audio=info.has_audio,
        codec=info.codec,
        is_folder=info.is_folder,
        warnings=tuple(_warnings(info)),
    )


def estimate(
    source: Session | FrameAccess | str | Path,
    settings: TrackSettings,
    model: Network,
    *,
    objects: int | None = None,
    frames: int | None = None,
    timed_frames: int = 4,
) -> Estimate:
    """Time a few real frames with a stand-in mask, and say what the run with these settings will take.

    source: a session, of which what is pending counts (all of its range where nothing is), or a video. model: the
    network that will run; its device and precision count, not the settings'.
    objects: how many are followed (default: the session's, or 1); frames: that the network runs on, over all passes
    (default: what the session needs, or each once). timed_frames: half of them memory frames, after two for warming up.
    Raises InputError where the video cannot be read.
    """
    with _opened(source) as access:
        work = _work(source, settings) if isinstance(source, Session) else Work(0, access.frame_count)
        work = replace(work, objects=objects or work.objects, frames=frames or work.frames)
        trial = run_trial(access, settings, model, work, timed_frames)
    size = settings.size or min(access.info.width, access.info.height)
    proposed, advice = _advice(trial, work.frames, size, free_memory(model.device))
    device = describe_device(model.device)
    if model.dtype != torch.float32:
        device += f", {str(model.dtype).removeprefix('torch.')}"
    reason = f"Timed on this video at {size} pixels: {_number(trial.seconds)} s per frame on {device}. {advice}".strip()
    limit = family_of(model).limit
    if trial.growth_bytes and limit:
        grows = f"{_number(trial.growth_bytes / 1e6)} MB with each frame, and reading it takes longer"
        reason += f" Memory grows by {grows}: {limit}."
    return Estimate(trial.seconds, trial.seconds * work.frames, trial.peak_bytes, device, proposed, reason)


def _opened(source: Session | FrameAccess | str | Path) -> AbstractContextManager[FrameAccess]:
    """The video, opened for as long as it is needed; one that was open already stays so."""
    if isinstance(source, FrameAccess):
        return nullcontext(source)
    return source.access(beside=True) if isinstance(source, Session) else FrameAccess(source)


def _work(session: Session, settings: TrackSettings) -> Work:
    pending = session.pending(settings)
    length, backward = session.length, any(span.backward for span in pending)
    return Work(
        first=session.first,
        frames=sum(span.steps for span in pending) or length,
        objects=max(1, len(session.objects)),
        key_frames=max(0, len(session.key_frames) - 1),
        held_bytes=min(HELD_BYTES, length * session.info.width * session.info.height * 3 // 2) if backward else 0,
    )


def _advice(trial: Trial, frames: int, size: int, free: int | None) -> tuple[int | None, str]:
    """A smaller size where one is needed, and why. size: the shorter side in pixels; free: bytes, None = unknown."""
    room = None if free is None else _SHARE_OF_FREE * free

    def seconds(other: int) -> float:
        rest = trial.seconds - trial.network_seconds
        return frames * (rest + trial.network_seconds * (other / size) ** 2)

    def fits(other: int) -> bool:
        return room is None or trial.new_bytes * (other / size) ** 2 <= room

    if fits(size) and seconds(size) <= LONG_RUN:
        return None, "" if free is not None else "How much memory is free is not known here."
    if free is None or fits(size):
        trouble = "That is long on this device"
    else:
        trouble = f"The run needs {_number(trial.new_bytes / 1e9)} GB, of which {_number(free / 1e9)} are free"
    smaller = [other for other in SIZES if other < size]
    proposed = next((other for other in smaller if fits(other) and seconds(other) <= LONG_RUN), None)
    proposed = proposed or next((other for other in reversed(smaller) if fits(other)), None)
    if proposed is None:
        return None, f"{trouble}: trim the video, or follow fewer objects."
    return proposed, f"{trouble}; with {proposed} pixels it should take about {_clock(seconds(proposed))}."


def _warnings(info: VideoInfo) -> Iterator[str]:
    if info.variable_rate:
        yield "The frame rate varies: every frame keeps its own time."
    if info.rotation:
        yield f"The file stores its pictures turned; they are shown upright, turned by {info.rotation}°."
    if info.frame_count == 1:
        yield "The video has a single frame: there is nothing to follow."
    if info.frame_count and not info.frame_count_exact:
        yield "How many frames there are is known exactly only once they were read."
    if info.duration and info.duration > LONG_VIDEO:
        yield f"The video is {_clock(info.duration)} long: trim it to the part that you need."
    pixels = info.width * info.height
    free = free_memory(torch.device("cpu"))
    if free is not None and pixels * _BYTES_PER_PIXEL > _SHARE_OF_FREE * free:
        room = f"{_number(free / 1e9)} GB"
        yield f"Its frames may be too large for the {room} of memory that are free: use a smaller copy of the video."
    elif pixels > LARGE_FRAME:
        yield f"Its frames are large ({pixels / 1e6:.0f} megapixels): reading and writing them takes most of the time."
    if info.width % 2 or info.height % 2:
        yield "Its size is odd: MP4 results get one more row or column, masks keep the exact size."


def _clock(seconds: float) -> str:
    """For people: 4.2 s, 1 min 05 s, 1 h 10 min."""
    if seconds < 60:
        return f"{_number(seconds)} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def _number(value: float) -> str:
    """Two digits that matter, and no more: 0.12, 4.2, 42."""
    return f"{value:.2g}" if value < 10 else f"{value:.0f}"
