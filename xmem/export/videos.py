"""Videos: the overlay, a grey matte, and cut-outs with alpha."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np

from xmem.engine.pipeline import ahead
from xmem.export.render import renderer
from xmem.export.source import ExportSource, cut_out, union_matte, visible_objects
from xmem.render.tracked import TrackedFrame
from xmem.video.sound import open_for_mov, open_for_webm
from xmem.video.writer import ENCODER_THREADS, H264, VideoPreset, VideoWriter

_AHEAD = 2  # frames that may wait to be drawn, and drawn ones that may wait to be encoded

MATTE = replace(H264, sound=None)  # a layer over the video, which has its sound

# Realtime at speed 6 takes about as long as the H.264 overlay; "good" takes three times that for a sixth less data.
# Alpha is a second picture beside the first, so frames may neither be reordered nor held back.
WEBM = VideoPreset(
    "webm",
    "libvpx-vp9",
    "yuva420p",
    {
        "crf": "22",
        "b": "0",
        "deadline": "realtime",
        "cpu-used": "6",
        "row-mt": "1",
        "tile-columns": "2",
        "auto-alt-ref": "0",
        "lag-in-frames": "0",
        "threads": ENCODER_THREADS,
    },
    stream_metadata={"alpha_mode": "1"},  # without it players show the colours alone
    sound=open_for_webm,
)

# A fixed quantizer (2 keeps more than 50 dB) spares the encoder its search, which takes four times as long.
_LAMBDA = 118  # FFmpeg's steps per quantizer
PRORES = VideoPreset(
    "mov",
    "prores_ks",
    "yuva444p10le",
    {
        "profile": "4",  # 4444
        "vendor": "apl0",
        "alpha_bits": "16",
        "flags": "+qscale",
        "global_quality": str(2 * _LAMBDA),
        "threads": ENCODER_THREADS,
    },
    sound=open_for_mov,
)


def write_overlay(source: ExportSource, path: Path) -> Generator[None, None, None]:
    """The video in the source's style, as an H.264 MP4."""
    return _write(source, path, H264, renderer(source))


def write_matte(source: ExportSource, path: Path) -> Generator[None, None, None]:
    """All visible objects white on black, as an H.264 MP4 without sound."""
    ids = [item.id for item in visible_objects(source)]
    return _write(source, path, MATTE, lambda tracked: np.repeat(union_matte(tracked, ids)[..., None], 3, axis=2))


def write_webm(source: ExportSource, path: Path) -> Generator[None, None, None]:
    """The visible objects on nothing, as a WebM: VP9 with alpha, Opus."""
    ids = [item.id for item in visible_objects(source)]
    return _write(source, path, WEBM, lambda tracked: cut_out(tracked, ids))


def write_prores(source: ExportSource, path: Path) -> Generator[None, None, None]:
    """The visible objects on nothing, as a MOV: ProRes 4444, AAC or PCM."""
    ids = [item.id for item in visible_objects(source)]
    return _write(source, path, PRORES, lambda tracked: cut_out(tracked, ids))


def _write(
    source: ExportSource, path: Path, preset: VideoPreset, picture: Callable[[TrackedFrame], np.ndarray]
) -> Generator[None, None, None]:
    """Frames and masks are read in one thread, drawn in another and encoded by the caller; yields once per frame."""
    with (
        source.access() as reader,
        VideoWriter(path, reader, preset) as writer,
        closing(ahead(source.frames(), _AHEAD)) as frames,
        closing(ahead(((picture(tracked), tracked.frame) for tracked in frames), _AHEAD)) as drawn,
    ):
        for image, frame in drawn:
            writer.write(image, frame)
            yield
