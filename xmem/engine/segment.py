"""The whole way of a video, on one page: reader -> propagator -> mask files -> overlay -> writer."""

from __future__ import annotations

import logging
from collections.abc import Generator, Mapping
from concurrent.futures import Future
from contextlib import closing
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from xmem.checkpoints import load_model
from xmem.engine.masks import index_of
from xmem.engine.pipeline import Behind, ahead
from xmem.engine.propagator import Propagator
from xmem.engine.transfers import Fetched, brought_near, fetch
from xmem.errors import InputError
from xmem.networks import Network
from xmem.render.masks import read_mask, write_index_mask
from xmem.render.overlay import tint
from xmem.video import Frame, FrameReader, VideoInfo, VideoWriter

log = logging.getLogger("xmem")

OVERLAY_NAME = "overlay.mp4"
MASKS_NAME = "masks"
_AHEAD, _BEHIND = 2, 3  # frames read before, and drawn or encoded behind the network


@dataclass(frozen=True)
class FrameResult:
    """One frame, done. index: from 0; time: seconds from the first frame; name: stem of its mask file.
    frame_count: frames in the source, or None where only reading them all would tell.
    mask and overlay may still be on their way when the frame is given: asking for them waits."""

    index: int
    time: float
    name: str
    frame_count: int | None
    _mask: Fetched = field(repr=False)
    _overlay: Future[np.ndarray] = field(repr=False)

    @property
    def mask(self) -> np.ndarray:
        """Index mask uint8 [H, W] at the source's size."""
        return self._mask()

    @property
    def overlay(self) -> np.ndarray:
        """uint8 [H, W, 3] RGB at the source's size. Raises what went wrong where it could not be made."""
        return self._overlay.result()


def segment_video(
    source: str | PathLike,
    masks: Mapping[int, np.ndarray | str | PathLike],
    output_dir: str | PathLike,
    *,
    model: Network | str = "xmem-lite",
    config: Any = None,
    size: int | None = 480,
    device: str = "auto",
    precision: str = "auto",
    opacity: float = 0.5,
) -> Generator[FrameResult, None, None]:
    """Follow the objects of the given masks through a video; yield a small result per frame, in constant memory.

    source: a video file or a folder of images. masks: frame index -> index mask uint8 [H, W] or a mask file.
    output_dir gets `overlay.mp4` (H.264, with the source's timing and sound) and `masks/NAME.png` (index masks, DAVIS
    palette). Both are valid once the iteration has come to its end or was closed early, and go up to the last frame
    given. Frames before the first mask are left as they are.
    model: a network or a checkpoint's name or path; device, precision: of a named one, see `load_model`. config:
    settings of the network's family. size: shorter side in pixels at which the networks run (None = the source's own).
    opacity: of the overlay's tint, 0 to 1.
    Raises InputError where video, masks, model or settings cannot be used.
    """
    if not 0 <= opacity <= 1:
        raise InputError(f"The overlay's opacity must be between 0 and 1, not {opacity}.")
    output = Path(output_dir)
    with FrameReader(Path(source)) as reader:
        given = _read_masks(masks, reader.info)
        network = load_model(model, device, precision) if isinstance(model, str) else model
        engine = Propagator(network, config, size)
        (output / MASKS_NAME).mkdir(parents=True, exist_ok=True)
        with (
            VideoWriter(output / OVERLAY_NAME, reader) as writer,
            Behind(_BEHIND) as encoding,
            Behind(_BEHIND) as rendering,
            closing(ahead(brought_near(reader, network.device), _AHEAD)) as frames,
        ):

            def render(frame: Frame, mask: Fetched) -> np.ndarray:
                write_index_mask(output / MASKS_NAME / f"{frame.name}.png", mask())
                return tint(frame.image, mask(), opacity)

            def encode(frame: Frame, overlay: Future[np.ndarray]) -> None:
                writer.write(overlay.result(), frame)

            for frame, prob in engine.run(frames, lambda frame: {"mask": given.get(frame.index)}):
                mask = fetch(index_of(prob, engine.objects, given.pop(frame.index, None)))
                overlay = rendering.put(render, frame, mask)
                encoding.put(encode, frame, overlay)
                yield FrameResult(frame.index, float(frame.time), frame.name, reader.info.frame_count, mask, overlay)
    if given:
        log.warning("The video ended before frame %d, for which a mask was given.", min(given))


def _read_masks(masks: Mapping[int, np.ndarray | str | PathLike], info: VideoInfo) -> dict[int, np.ndarray]:
    """Index masks [H, W] by frame. Raises InputError where there is none, or one is for no frame of the video."""
    if not masks:
        raise InputError("No mask was given: give one for the frame on which the objects are first seen.")
    given, count = {}, info.exact_frame_count
    for frame, mask in masks.items():
        if frame < 0 or (count is not None and frame >= count):
            last = "0 and up" if count is None else f"0 to {count - 1}"
            raise InputError(f"A mask was given for frame {frame}, but the video's frames are {last}.")
        read = read_mask(mask if isinstance(mask, np.ndarray) else Path(mask), info.width, info.height)
        if read.note:
            log.info("Mask for frame %d: %s.", frame, read.note)
        given[frame] = read.index
    return given
