"""Which frames a video file has, when each is shown, and at which of them decoding may begin."""

from __future__ import annotations

import logging
import math
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av import VideoFrame

from xmem import leaving
from xmem.limits import check_frames, limits
from xmem.private import Private
from xmem.video.decode import VideoDecoder
from xmem.video.probe import VideoInfo, file_info
from xmem.video.source import open_container, video_stream

_log = logging.getLogger("xmem")
_FORM = 1  # of the stored table
_NO_STAMP = -(2**62)
# Where a packet is one shown picture, and a key packet a place to begin at: packets alone tell the frames.
_PLAIN_CONTAINERS = ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm")
_PLAIN_CODECS = ("h264", "hevc", "vp9", "av1", "libdav1d", "prores", "mjpeg", "ffv1", "dnxhd")
_HOLE = bytes(4)  # no packet of these codecs begins so, but what a broken transfer left out does


@dataclass(frozen=True)
class FrameIndex:
    """The frames of one file, in the order in which FrameReader gives them.

    info: with their exact count. bytes: the file's size, by which an index is known to be of another file.
    stamps: int64 [N], the file's own ticks, _NO_STAMP where it has none; times: int64 [N], ticks from the first frame.
    keys: int64 [K], frames at which decoding may begin, ascending. checks: int64 [N], a sum of each decoded picture,
    where stamps do not tell frames apart safely; None where they do: there they ascend. is_part: the file has more
    frames behind these.
    """

    info: VideoInfo
    bytes: int
    stamps: np.ndarray
    times: np.ndarray
    keys: np.ndarray
    checks: np.ndarray | None
    is_part: bool = False

    def __len__(self) -> int:
        return len(self.stamps)

    def key_before(self, frame: int, skip: int = 0) -> int:
        """The last key at or before `frame`, or the one `skip` places before it; 0, the beginning, without one."""
        place = int(np.searchsorted(self.keys, frame, "right")) - 1 - skip
        return int(self.keys[place]) if place >= 0 else 0

    def is_frame(self, frame: int, picture: VideoFrame, stamp: int | None) -> bool:
        """Whether a decoded picture is that frame."""
        if frame >= len(self):
            return False
        if self.checks is None:
            return stamp == self.stamps[frame]
        return checksum(picture, stamp) == self.checks[frame]

    def find(self, picture: VideoFrame, stamp: int | None) -> int | None:
        """Which frame a decoded picture is; None where it is none, or could be several."""
        if self.checks is None:
            place = int(np.searchsorted(self.stamps, stamp)) if stamp is not None else len(self)
            return place if self.is_frame(place, picture, stamp) else None
        (places,) = np.nonzero(self.checks == checksum(picture, stamp))
        return int(places[0]) if len(places) == 1 else None

    def first(self, most: int, time_base: Fraction) -> FrameIndex:
        """Of the first `most` frames, as far as they are within the allowed seconds. time_base: seconds of a tick."""
        count = min(most, int(np.searchsorted(self.times, math.ceil(limits().seconds / time_base))))
        if count >= len(self):
            return self
        end = int(self.times[count]) * time_base
        info = replace(self.info, frame_count=count, duration=float(end))
        checks = None if self.checks is None else self.checks[:count]
        keys = self.keys[self.keys < count]
        stamps, times = self.stamps[:count], self.times[:count]
        return FrameIndex(info, self.bytes, stamps, times, keys, checks, is_part=True)

    def table(self) -> dict:
        """As plain values for a JSON file; small where the rate is constant."""
        return {
            "form": _FORM,
            "bytes": self.bytes,
            "info": info_table(self.info),
            "stamps": _packed(self.stamps),
            "times": _packed(self.times),
            "keys": self.keys.tolist(),
            "checks": None if self.checks is None else self.checks.tolist(),
            "part": self.is_part,
        }

    @classmethod
    def of_table(cls, table: Mapping, path: Path) -> FrameIndex | None:
        """The index in a table; None where it is of another file or form."""
        if table.get("form") != _FORM or table.get("bytes") != path.stat().st_size:
            return None
        checks = None if table["checks"] is None else np.array(table["checks"], np.int64)
        return cls(
            info=info_of_table(table["info"]),
            bytes=table["bytes"],
            stamps=_unpacked(table["stamps"]),
            times=_unpacked(table["times"]),
            keys=np.array(table["keys"], np.int64),
            checks=checks,
            is_part=table.get("part") is True,
        )


def index_file(decoder: VideoDecoder, most: int | None = None) -> FrameIndex:
    """Index an opened file by its packets, which is quick; where they cannot tell its frames, by decoding it once.

    most: frames from its beginning that are wanted of a file that may be too long, as far as they are within the
    allowed seconds; without it all are, and it has to be within the limits.
    """
    path, info = decoder.path, file_info(decoder, is_whole=most is None)
    found = _by_packets(path)
    if found is None:
        _log.info("%s is decoded once, since its packets do not tell its frames.", Private(path.name))
        index = index_by_decoding(path, info, most)
    else:
        stamps, keys = found
        info = replace(info, frame_count=len(stamps), frame_count_exact=True)
        index = FrameIndex(info, path.stat().st_size, stamps, stamps - stamps[0], keys, None)
    return index if most is None else index.first(most, decoder.time_base)


def index_by_decoding(path: Path, info: VideoInfo, most: int | None = None) -> FrameIndex:
    """Index a file from its pictures, of which none is kept. info: as the packets tell it. most: as in `index_file`,
    and one more, which tells where they end."""
    stamps, times, checks, keys = [], [], [], []
    is_beyond = False
    decoder = VideoDecoder(path, warns=False)
    try:
        for frame, timed in enumerate(decoder):
            leaving.ask()
            if most is None:
                check_frames(frame + 1, path.name)
            elif frame > most or is_beyond:
                break
            is_beyond = timed.time >= limits().seconds
            stamp = decoder.stamp(timed.picture)
            if timed.picture.key_frame and stamp is not None:
                keys.append(frame)
            stamps.append(_NO_STAMP if stamp is None else stamp)
            times.append(int(timed.time / decoder.time_base))
            checks.append(checksum(timed.picture, decoder.lasting_stamp(timed.picture)))
    finally:
        decoder.close()
    told = info.exact_frame_count if most is None else None
    if told is not None and told > len(stamps):
        _log.warning("%s is cut or damaged: %d of %d frames could be read.", Private(path.name), len(stamps), told)
    info = replace(info, frame_count=len(stamps), frame_count_exact=True)
    first, second, third, fourth = (np.array(column, np.int64) for column in (stamps, times, keys, checks))
    return FrameIndex(info, path.stat().st_size, first, second, third, fourth)


def info_table(info: VideoInfo) -> dict:
    """As plain values for a JSON file."""
    return asdict(info) | {"rate": str(info.rate)}


def info_of_table(table: Mapping) -> VideoInfo:
    """What `info_table` made."""
    return VideoInfo(**{**table, "rate": Fraction(table["rate"])})


def checksum(picture: VideoFrame, stamp: int | None) -> int:
    """A sum of the picture and its stamp, the same whenever it is decoded."""
    total = zlib.crc32(repr(stamp).encode())
    for plane in picture.planes:
        rows = np.frombuffer(memoryview(plane), np.uint8, plane.height * plane.line_size)
        rows = rows.reshape(plane.height, plane.line_size)
        total = zlib.crc32(np.ascontiguousarray(rows[:, : plane.width]).data, total)  # beyond the width lies anything
    return total


def _by_packets(path: Path) -> tuple[np.ndarray, np.ndarray] | None:
    """Ascending stamps [N] and key frames [K]; None where packets cannot tell them."""
    stamps, keys, first, total = [], [], None, 0
    with open_container(path) as container:
        stream = video_stream(container, path)
        if container.format.name not in _PLAIN_CONTAINERS or stream.codec_context.name not in _PLAIN_CODECS:
            return None
        try:
            for packet in container.demux(stream):
                leaving.ask()
                if packet.size == 0:
                    continue
                if packet.pts is None or packet.is_corrupt or (total == 0 and not packet.is_keyframe):
                    return None
                if bytes(memoryview(packet)[:4]) == _HOLE:
                    return None
                total += 1
                first = packet.pts if first is None else first
                if not packet.is_discard:
                    stamps.append(packet.pts)
                    if packet.is_keyframe:
                        keys.append(packet.pts)
        except (av.error.FFmpegError, OSError):
            return None
        told = stream.frames or total
    ordered = np.unique(np.array(stamps, np.int64))
    if not stamps or told != total or len(ordered) < len(stamps) or ordered[0] < first:  # before a key: not decodable
        return None
    return ordered, np.searchsorted(ordered, np.unique(np.array(keys, np.int64)))


def _packed(values: np.ndarray) -> list[list[int]]:
    """Runs of one step: [first value, 1], then [step, how often] each."""
    steps = np.diff(values, prepend=0)
    starts = np.flatnonzero(np.diff(steps, prepend=steps[0] + 1))
    lengths = np.diff(starts, append=len(steps))
    return [[int(steps[start]), int(length)] for start, length in zip(starts, lengths, strict=True)]


def _unpacked(runs: list[list[int]]) -> np.ndarray:
    steps, lengths = np.array(runs, np.int64).T
    return np.cumsum(np.repeat(steps, lengths))
