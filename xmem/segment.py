"""The whole way of a video, on one page: reader -> propagator -> mask files -> overlay -> writer."""

from __future__ import annotations

import logging
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from xmem.checkpoints import load_model
from xmem.config import MemoryConfig
from xmem.errors import InputError
from xmem.network import XMem
from xmem.propagator import Propagator
from xmem.render.masks import read_mask, write_index_mask
from xmem.render.overlay import tint
from xmem.video import FrameReader, VideoInfo, VideoWriter

log = logging.getLogger("xmem")

OVERLAY_NAME = "overlay.mp4"
MASKS_NAME = "masks"


@dataclass(frozen=True)
class FrameResult:
    """One frame, done. index: from 0; time: seconds from the first frame; name: stem of its mask file.
    mask: index mask uint8 [H, W]; overlay: uint8 [H, W, 3] RGB; both at the source's size.
    frame_count: frames in the source, or None where only reading them all would tell."""

    index: int
    time: float
    name: str
    mask: np.ndarray
    overlay: np.ndarray
    frame_count: int | None


def segment_video(
    source: str | PathLike,
    masks: Mapping[int, np.ndarray | str | PathLike],
    output_dir: str | PathLike,
    *,
    model: XMem | str = "xmem-lite",
    config: MemoryConfig | None = None,
    size: int | None = 480,
    device: str = "auto",
    opacity: float = 0.5,
) -> Generator[FrameResult, None, None]:
    """Follow the objects of the given masks through a video; yield a small result per frame, in constant memory.

    source: a video file or a folder of images. masks: frame index -> index mask uint8 [H, W] or a mask file.
    output_dir gets `overlay.mp4` (H.264, with the source's timing and sound) and `masks/NAME.png` (index masks, DAVIS
    palette), valid whenever the iteration stops, also early. Frames before the first mask are left as they are.
    model: a network or a checkpoint's name or path; device: where a named one runs. size: shorter side in pixels at
    which the networks run (None = the source's own). opacity: of the overlay's tint, 0 to 1.
    Raises InputError where video, masks, model or settings cannot be used.
    """
    if not 0 <= opacity <= 1:
        raise InputError(f"The overlay's opacity must be between 0 and 1, not {opacity}.")
    output = Path(output_dir)
    with FrameReader(source) as reader:
        given = _read_masks(masks, reader.info)
        network = load_model(model, device) if isinstance(model, str) else model
        engine = Propagator(network, config, size)
        (output / MASKS_NAME).mkdir(parents=True, exist_ok=True)
        with VideoWriter(output / OVERLAY_NAME, reader) as writer:
            for frame in reader:
                prob = engine.step(frame.image, given.get(frame.index))
                mask = index_mask(prob, engine.objects, given.pop(frame.index, None))
                write_index_mask(output / MASKS_NAME / f"{frame.name}.png", mask)
                overlay = tint(frame.image, mask, opacity)
                writer.write(overlay, frame)
                count = reader.info.frame_count
                yield FrameResult(frame.index, float(frame.time), frame.name, mask, overlay, count)
    if given:
        log.warning("The video ended before frame %d, for which a mask was given.", min(given))


def index_mask(prob: Tensor, objects: list[int], given: np.ndarray | None = None) -> np.ndarray:
    """The most probable object of each pixel; where a mask was given, exactly that for the ids it contains.

    prob: [O + 1, H, W], background first; objects: ids of its channels; given: index mask [H, W].
    Returns uint8 [H, W].
    """
    best, index = prob[0], torch.zeros(prob.shape[1:], dtype=torch.uint8, device=prob.device)
    for channel, i in enumerate(objects, start=1):  # a running maximum: argmax over the first axis is ten times slower
        score = prob[channel]
        if given is not None and (claimed := given == i).any():
            score = torch.where(torch.from_numpy(claimed).to(prob.device), 2.0, -1.0)  # beyond every probability
        index = torch.where(score > best, i, index)
        best = torch.maximum(best, score)
    return index.cpu().numpy()


def _read_masks(masks: Mapping[int, np.ndarray | str | PathLike], info: VideoInfo) -> dict[int, np.ndarray]:
    """Index masks [H, W] by frame. Raises InputError where there is none, or one is for no frame of the video."""
    if not masks:
        raise InputError("No mask was given: give one for the frame on which the objects are first seen.")
    given = {}
    for frame, mask in masks.items():
        outside = info.frame_count_exact and frame >= info.frame_count
        if frame < 0 or outside:
            last = f"0 to {info.frame_count - 1}" if info.frame_count_exact else "0 and up"
            raise InputError(f"A mask was given for frame {frame}, but the video's frames are {last}.")
        read = read_mask(mask, info.width, info.height)
        if read.note:
            log.info("Mask for frame %d: %s.", frame, read.note)
        given[frame] = read.index
    return given
