"""The sound of a file, piece by piece: read in this process or, where `xmem.video.isolated` says so, by another one."""

from __future__ import annotations

import logging
import math
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

import av
import numpy as np
from av.audio.frame import AudioFrame, format_dtypes
from av.audio.layout import AudioLayout

from xmem.private import Private
from xmem.video.isolated import Conversation, is_isolated, shared
from xmem.video.source import DAMAGE, open_container, sound_stream
from xmem.video.timeline import Timeline

_log = logging.getLogger("xmem")
# A decoder needs the packet or two before the first audible one (AAC priming, Opus preskip); an edit list hides them.
_PREROLL = Fraction(1, 20)  # seconds
SHARED_BYTES = 8 << 20  # in which pieces are handed over, as many as fit and no more than
PIECES = 64
_MAX_EXTRA = 1 << 20  # bytes
_MAX_RATE, _MAX_CHANNELS = 768_000, 64
_MAX_APART = 60  # seconds between a packet and what is decoded of it


@dataclass(frozen=True)
class Sound:
    """codec: FFmpeg's name of its decoder. rate: samples per second. layout: FFmpeg's name. time_base: seconds of a
    tick. extra: what a decoder has to know beforehand."""

    codec: str
    rate: int
    layout: str
    time_base: Fraction
    extra: bytes

    @property
    def channels(self) -> int:
        return AudioLayout(self.layout).nb_channels


@dataclass(frozen=True)
class Piece:
    """A packet. time: seconds of output time at which it starts. stamp: the file's own, in ticks; duration in ticks.
    data: as it stands in the file, or nothing; frames: what is decoded of it, or nothing."""

    time: Fraction
    stamp: int | None
    duration: int
    data: bytes
    frames: tuple[AudioFrame, ...]


class SoundSource(Protocol):
    """pieces: from `origin` on, their times strictly increasing. decoded: whether as frames; else as data."""

    @property
    def sound(self) -> Sound: ...
    def pieces(self, decoded: bool) -> Generator[Piece, None, None]: ...
    def close(self) -> None: ...


def open_sound(path: Path, origin: Fraction) -> SoundSource | None:
    """The best sound of a file; None, and a warning, where none can be read. origin: seconds on the file's clock, from
    which times count; earlier sound is left out. Raises InputError where the file is none."""
    try:
        return IsolatedSound(path, origin) if is_isolated() else FileSound(path, origin)
    except LookupError:
        _log.warning("The sound of %s cannot be read; the result has none.", Private(path.name))
        return None


class FileSound:
    """Read in this process. Raises LookupError where there is no sound whose decoder is at hand."""

    def __init__(self, path: Path, origin: Fraction) -> None:
        self._origin, self._container = origin, open_container(path)
        stream = sound_stream(self._container)
        if stream is None:
            self._container.close()
            raise LookupError(path.name)
        self._stream = stream
        context = stream.codec_context
        base = stream.time_base or Fraction(1, stream.rate)
        self.sound = Sound(context.name, stream.rate, stream.layout.name, base, context.extradata or b"")

    def pieces(self, decoded: bool) -> Generator[Piece, None, None]:
        base = self.sound.time_base
        timeline = Timeline(base, Fraction(1024, self.sound.rate))
        try:
            for packet in self._container.demux(self._stream):
                if packet.size == 0:
                    continue
                stamp = packet.dts if packet.pts is None else packet.pts
                time, duration = timeline.place(stamp) * base - self._origin, packet.duration or 0
                if time + duration * base > -_PREROLL:
                    frames, data = (self._frames(packet), b"") if decoded else ((), bytes(packet))
                    yield Piece(time, stamp, duration, data, frames)
        except (av.error.FFmpegError, OSError) as error:
            _log.warning("The sound ends early: its file is damaged or cut (%s).", error.strerror)

    def close(self) -> None:
        self._container.close()

    def _frames(self, packet: av.Packet) -> tuple[AudioFrame, ...]:
        try:
            return tuple(self._stream.decode(packet))
        except DAMAGE:
            return ()  # one damaged packet, whose place is filled with silence


class IsolatedSound:
    """Read by another process. Raises as FileSound does, and InputError where that breaks down."""

    def __init__(self, path: Path, origin: Fraction) -> None:
        broken = (
            f"The sound of {path.name!r} broke off the program that reads it, or takes more memory or time than "
            "allowed; convert the video to MP4, or leave its sound out."
        )
        wanted = {"kind": "sound", "path": str(path), "origin": str(origin)}
        self._other = Conversation(wanted, path.name, broken, path.stat().st_size)
        try:
            about = self._other.first
            if not about["there"]:
                raise LookupError(path.name)
            with self._other.trusting_nothing():
                self.sound = _sound_of(about)
        except BaseException:
            self._other.close()
            raise

    def pieces(self, decoded: bool) -> Generator[Piece, None, None]:
        with shared(SHARED_BYTES) as (memory, descriptor), memory:
            self._other.ask({"bytes": SHARED_BYTES, "decoded": decoded}, (descriptor,))
            while tables := self._asked():
                with self._other.trusting_nothing():
                    pieces = [self._piece(table, memory, decoded) for table in tables[:PIECES]]
                yield from pieces

    def close(self) -> None:
        self._other.close()

    def _asked(self) -> list[dict[str, Any]]:
        answer = self._other.ask({})
        with self._other.trusting_nothing():
            return list(answer["pieces"])

    def _piece(self, table: dict[str, Any], memory: Any, decoded: bool) -> Piece:
        time, duration = Fraction(table["time"]), int(table["duration"])
        stamp = None if table["stamp"] is None else int(table["stamp"])
        if decoded:
            frames = tuple(_frame_of(each, memory) for each in table["frames"])
            for frame in frames:
                if frame.pts is not None and stamp is not None:
                    apart = frame.pts * (frame.time_base or self.sound.time_base) - stamp * self.sound.time_base
                    if abs(apart) > _MAX_APART:
                        raise ValueError("sound of another time")
            return Piece(time, stamp, duration, b"", frames)
        return Piece(time, stamp, duration, _part(memory, table), ())


def sound_table(sound: Sound) -> dict[str, Any]:
    """As plain values."""
    about = {"codec": sound.codec, "rate": sound.rate, "layout": sound.layout, "extra": sound.extra.hex()}
    return about | {"time_base": str(sound.time_base), "there": True}


def handed(pieces: Iterator[Piece], memory: np.ndarray) -> Iterator[list[dict[str, Any]]]:
    """Pieces as plain values, as many at a time as their bytes fit into memory, uint8 [bytes]; at last none.

    One that does not fit by itself is left out.
    """
    batch: list[dict[str, Any]] = []
    place = 0
    for piece in pieces:
        parts = [_bytes_of(frame) for frame in piece.frames] if piece.frames else [piece.data]
        size = sum(map(len, parts))
        if size > len(memory):
            _log.warning("A piece of sound of %d bytes is left out.", size)
            continue
        if batch and (place + size > len(memory) or len(batch) == PIECES):
            yield batch
            batch, place = [], 0
        places = []
        for part in parts:
            memory[place : place + len(part)] = np.frombuffer(part, np.uint8)
            places.append({"at": place, "size": len(part)})
            place += len(part)
        about = {"time": str(piece.time), "stamp": piece.stamp, "duration": piece.duration}
        frames = [_frame_table(frame) | where for frame, where in zip(piece.frames, places, strict=False)]
        batch.append(about | places[0] | {"frames": frames})
    if batch:
        yield batch
    while True:
        yield []


def _sound_of(about: dict[str, Any]) -> Sound:
    """The reverse of `sound_table`. Raises ValueError and the like for what no sound is."""
    extra, base = bytes.fromhex(about["extra"]), Fraction(about["time_base"])
    sound = Sound(str(about["codec"]), int(about["rate"]), str(about["layout"]), base, extra)
    if not 0 < sound.rate <= _MAX_RATE or not 0 < sound.channels <= _MAX_CHANNELS or len(extra) > _MAX_EXTRA:
        raise ValueError(f"sound of {sound.rate} hertz, {sound.layout}")
    if base <= 0:
        raise ValueError(f"a clock of {base}")
    return sound


def _frame_table(frame: AudioFrame) -> dict[str, Any]:
    return {
        "format": frame.format.name,
        "layout": frame.layout.name,
        "rate": frame.sample_rate,
        "samples": frame.samples,
        "pts": frame.pts,
        "time_base": None if frame.time_base is None else str(frame.time_base),
    }


def _frame_of(table: dict[str, Any], memory: Any) -> AudioFrame:
    layout, format = AudioLayout(str(table["layout"])), str(table["format"])
    rate, samples = int(table["rate"]), int(table["samples"])
    if not 0 < rate <= _MAX_RATE or not 0 < layout.nb_channels <= _MAX_CHANNELS or samples < 1:
        raise ValueError(f"sound of {rate} hertz")
    planes = layout.nb_channels if format.endswith("p") else 1
    values = np.frombuffer(_part(memory, table), format_dtypes[format])
    shape = (planes, samples * layout.nb_channels // planes)
    if len(values) != math.prod(shape):
        raise ValueError(f"{len(values)} values of sound")
    frame = AudioFrame.from_ndarray(values.reshape(shape), format, layout)
    frame.sample_rate = rate
    frame.pts = None if table["pts"] is None else int(table["pts"])
    if table["time_base"] is not None:
        frame.time_base = Fraction(table["time_base"])
    return frame


def _bytes_of(frame: AudioFrame) -> bytes:
    return np.ascontiguousarray(frame.to_ndarray()).tobytes()


def _part(memory: Any, table: dict[str, Any]) -> bytes:
    """A copy, since the other process may go on writing."""
    at, size = int(table["at"]), int(table["size"])
    if at < 0 or size < 0 or at + size > SHARED_BYTES:
        raise ValueError(f"{size} bytes at {at}")
    return bytes(memory[at : at + size])
