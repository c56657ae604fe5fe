"""Decoding by the GPU's own decoder (NVDEC), by FFmpeg's `cuvid` codecs where PyAV was built with them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
from av.codec import CodecContext

from xmem.errors import InputError

DECODERS = {name: f"{name}_cuvid" for name in ("h264", "hevc", "vp8", "vp9", "av1", "mpeg2video", "mjpeg")}


def decoder_of(codec: str) -> str | None:
    """The name of the GPU's decoder for FFmpeg's `codec`; None where PyAV has none."""
    name = DECODERS.get(codec)
    return name if name in av.codecs_available else None


def frames(path: Path) -> Iterator[np.ndarray]:
    """uint8 [H, W, 3] RGB of each frame. Raises InputError where PyAV has no such decoder."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        name = decoder_of(stream.codec_context.name)
        if name is None:
            raise InputError(f"This PyAV does not decode {stream.codec_context.name} on a GPU: decode it on the CPU.")
        decoder = CodecContext.create(name, "r")
        decoder.extradata = stream.codec_context.extradata
        for packet in container.demux(stream):
            for frame in decoder.decode(packet):  # type: ignore[attr-defined]  # of video codecs, which this is
                yield frame.to_ndarray(format="rgb24")
