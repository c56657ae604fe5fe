"""The clip that is measured on: real film at any size, looped to any length, with stand-in objects."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

from xmem.errors import InputError
from xmem.resources import RESTORE, SAMPLE_VIDEO
from xmem.video import FrameReader
from xmem.video.writer import add_video_stream

RATE = 25  # frames per second
ENCODER = {"preset": "veryfast", "crf": "20", "bf": "0"}  # no reordering: copies of its packets then follow each other
RADIUS = 0.3  # of a stand-in object, of the room that it has


def scaled_clip(path: Path, size: int, source: Path = SAMPLE_VIDEO) -> Path:
    """Write `source` as H.264 with a shorter side of `size` pixels. Raises InputError where there is no source."""
    if not source.is_file():
        raise InputError(f"The sample clip {source} is missing: {RESTORE}.")
    with FrameReader(source) as reader, av.open(str(path), "w") as container:
        info = reader.info
        scale = size / min(info.width, info.height)
        width, height = (2 * round(side * scale / 2) for side in (info.width, info.height))
        stream = add_video_stream(container, "libx264", RATE, ENCODER)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for frame in reader:
            image = np.asarray(cv2.resize(frame.image, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    return path


def looped_clip(path: Path, clip: Path, frames: int) -> Path:
    """Write a file of exactly `frames` frames that plays `clip` again and again; its packets are copied as they are."""
    with av.open(str(path), "w") as container:
        stream, count = None, 0
        while count < frames:
            with av.open(str(clip)) as source:
                video = source.streams.video[0]
                stream = stream or container.add_stream_from_template(video)
                assert video.time_base is not None  # of a file that we wrote
                step = round(Fraction(1, RATE) / video.time_base)  # ticks
                for packet in source.demux(video):
                    if packet.dts is None or count == frames:
                        break
                    packet.pts = packet.dts = count * step
                    packet.stream = stream
                    container.mux(packet)
                    count += 1
    return path


def stand_in(width: int, height: int, objects: int) -> np.ndarray:
    """Index mask uint8 [height, width] with that many discs side by side: no work depends on what objects look like."""
    y, x = np.mgrid[:height, :width]
    mask = np.zeros((height, width), np.uint8)
    for number in range(objects):
        centre = (number + 0.5) * width / objects
        radius = max(1.0, RADIUS * min(height, width / objects))
        mask[(x - centre) ** 2 + (y - height / 2) ** 2 <= radius**2] = number + 1
    return mask
