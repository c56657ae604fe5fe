"""Small real clips, and masks of boxes."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

SIZE = (180, 320)  # height, width of `clip`


def write_clip(path: Path, width: int, height: int, frames: int = 12, ticks: list[int] | None = None) -> Path:
    """A moving bright square on a gradient, H.264. ticks: hundredths of a second at which frames begin."""
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=Fraction(25))
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        if ticks:
            stream.time_base = stream.codec_context.time_base = Fraction(1, 100)
        ramp = np.linspace(30, 120, width, dtype=np.uint8)
        for i in range(frames):
            image = np.repeat(np.tile(ramp, (height, 1))[..., None], 3, axis=2)
            image[height // 3 : height // 2, 40 + 4 * i : 120 + 4 * i] = (230, 200, 40)
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            if ticks:
                frame.pts, frame.time_base = ticks[i], Fraction(1, 100)
            for packet in stream.encode(frame):
                file.mux(packet)
        for packet in stream.encode(None):
            file.mux(packet)
    return path


def index_of(*boxes: tuple[int, int, int, int, int], size: tuple[int, int] = SIZE) -> np.ndarray:
    index = np.zeros(size, np.uint8)
    for i, top, bottom, left, right in boxes:
        index[top:bottom, left:right] = i
    return index
