"""One session's key frames tracked under several settings, side by side, so that one sees what each memory buys."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from xmem.checkpoints import load_model
from xmem.config import MemoryConfig
from xmem.errors import InputError
from xmem.networks import Network
from xmem.render.overlay import Colors, tint
from xmem.render.palette import color_of
from xmem.scoring.metrics import region_similarity
from xmem.session import Session, TrackSettings
from xmem.video import VideoWriter

VIDEO_NAME = "comparison.mp4"
DIFFERENCE = "Where they differ"
MAX_WIDTH = 1920  # pixels, of all sides together
_GAP = 8  # pixels between sides
_STRIP = 0.075  # height of the label's strip, of the picture's
_LEAST_STRIP, _LEAST_TEXT = 20, 8  # pixels
_INK, _PAPER = (245, 245, 245), (24, 24, 27)  # RGB


@dataclass(frozen=True)
class Preset:
    """Memory settings worth comparing, of XMem. label: for people."""

    label: str
    memory: MemoryConfig


DIFFERENT = (214, 40, 40)  # RGB, of the pixels where sides do not agree
PRESETS: dict[str, Preset] = {
    "three": Preset("XMem's three memories", MemoryConfig()),
    "working": Preset("Working memory only, without limit (as STM and STCN)", MemoryConfig(long_term=False)),
    "no_sensory": Preset("No sensory memory", MemoryConfig(sensory=False)),
    "given": Preset("Key frames only, nothing remembered on the way", MemoryConfig(mem_every=1_000_000)),
}


@dataclass(frozen=True)
class CompareProgress:
    """label: the variant at work, or "" while the video is written. done of total: frames, of all variants and the
    video together."""

    label: str
    done: int
    total: int


@dataclass(frozen=True)
class Variant:
    """What tracking under one setting took and gave.

    seconds: in the engine and writing its masks, loading the network left out. frames_per_second: without the first
    frame, which warms up. peak_elements, peak_bytes: at most in the memories. certainty: mean over frames and objects,
    0 to 1, key frames left out. agreement: mean intersection over union with the first variant's masks, likewise.
    """

    label: str
    settings: TrackSettings
    seconds: float
    frames_per_second: float
    peak_elements: int
    peak_bytes: int
    certainty: float
    agreement: float


@dataclass(frozen=True)
class Comparison:
    """rows: one per variant, in order; video: an MP4 with the variants side by side."""

    rows: tuple[Variant, ...]
    video: Path


@dataclass(frozen=True)
class _Run:
    """A variant's session and what was counted on its way."""

    label: str
    session: Session
    step_seconds: Sequence[float]
    peak_elements: int
    peak_bytes: int


def compare(
    session: Session,
    variants: Sequence[tuple[str, TrackSettings]],
    folder: str | PathLike,
    load: Callable[[str, str, str], Network] = load_model,
) -> Generator[CompareProgress, None, Comparison]:
    """Track the session's trimmed range from its key frames under each setting; write `comparison.mp4` into `folder`.

    variants: (label, settings), two or more. load: checkpoint name, device and precision -> network. The session itself
    is not changed; the variants' own sessions lie in `folder` meanwhile. Returns (as a generator does) the Comparison.
    Raises InputError where there is nothing to track or to compare.
    """
    if len(variants) < 2:
        raise InputError("There is nothing to compare: choose two settings.")
    if not session.key_frames:
        raise InputError("Nothing is painted yet: paint the object on a frame, then compare.")
    folder = Path(folder)
    with ExitStack() as clean_up:
        siblings = []
        for place, (_, settings) in enumerate(variants):
            own = folder / f"variant-{place}"
            clean_up.callback(shutil.rmtree, own, ignore_errors=True)
            siblings.append(_sibling(session, own, settings))
        frames = session.length
        counts = [sum(span.steps for span in one.pending(s)) for one, (_, s) in zip(siblings, variants, strict=True)]
        done, total, runs = 0, sum(counts) + frames, []
        for one, (label, settings), count in zip(siblings, variants, counts, strict=True):
            network = load(settings.model, settings.device, settings.precision)
            runs.append((yield from _track(one, label, settings, network, CompareProgress(label, done, total))))
            done += count
        agreements = yield from _write_video(runs, folder / VIDEO_NAME, CompareProgress("", done, total))
        rows = [_row(run, agreement) for run, agreement in zip(runs, agreements, strict=True)]
        return Comparison(tuple(rows), folder / VIDEO_NAME)


def _sibling(session: Session, folder: Path, settings: TrackSettings) -> Session:
    """A session of its own on the same video, with the same key frames, colours, range and post-processing."""
    sibling = Session.create(session.video, folder)
    sibling.set_trim(session.first, session.last)
    sibling.set_post(session.post)
    colors = {item.id: item.color for item in session.objects}
    for key in session.key_frames:
        sibling.set_key_frame(key.frame, session.given_mask(key.frame), colors)
    return sibling


def _track(
    session: Session, label: str, settings: TrackSettings, model: Network, progress: CompareProgress
) -> Generator[CompareProgress, None, _Run]:
    seconds: list[float] = []
    elements = size = 0
    with closing(session.propagate(settings, model)) as steps:
        while True:
            began = time.perf_counter()
            step = next(steps, None)
            if step is None:
                return _Run(label, session, seconds, elements, size)
            seconds.append(time.perf_counter() - began)  # not the time that the caller takes between frames
            memory = step.memory
            elements = max(elements, memory.permanent + memory.working + memory.long_term)
            size = max(size, memory.bytes)
            yield CompareProgress(label, progress.done + len(seconds), progress.total)


def _row(run: _Run, agreement: float) -> Variant:
    given = {key.frame for key in run.session.key_frames}
    certainties = [row.certainty for row in run.session.stats() if row.frame not in given]
    later = run.step_seconds[1:] or run.step_seconds
    return Variant(
        run.label,
        run.session.settings,
        sum(run.step_seconds),
        len(later) / sum(later),
        run.peak_elements,
        run.peak_bytes,
        float(np.mean(certainties)) if certainties else 1.0,
        agreement,
    )


def _write_video(
    runs: Sequence[_Run], path: Path, progress: CompareProgress
) -> Generator[CompareProgress, None, list[float]]:
    """Returns each run's mean overlap with the first, over the frames without a given mask."""
    first = runs[0].session
    given = {key.frame for key in first.key_frames}
    colors = {item.id: color_of(item.color + 1) for item in first.objects}
    canvas = _Canvas([run.label for run in runs], first.info.width, first.info.height)
    overlaps: list[list[float]] = [[] for _ in runs]
    with first.access() as access, VideoWriter(path, access) as writer:
        for n, frame in enumerate(access.forward(first.first, first.last), start=1):
            masks = [run.session.mask(frame.index) for run in runs]
            writer.write(canvas.draw(frame.image, masks, colors), frame)
            if frame.index not in given:
                for mask, found in zip(masks, overlaps, strict=True):
                    found += [region_similarity(mask == i, masks[0] == i) for i in colors]
            yield CompareProgress(progress.label, progress.done + n, progress.total)
    return [float(np.mean(found)) if found else 1.0 for found in overlaps]


class _Canvas:
    """Sides beside each other, each a strip with its label above its picture, and last where they differ."""

    def __init__(self, sides: Sequence[str], width: int, height: int) -> None:
        labels = [*sides, DIFFERENCE]
        scale = min(1.0, (MAX_WIDTH - _GAP * (len(labels) - 1)) / (len(labels) * width))
        self._size = max(2, int(width * scale)), max(2, int(height * scale))  # of a picture
        self._strips = [
            _strip(label, self._size[0], max(_LEAST_STRIP, int(self._size[1] * _STRIP))) for label in labels
        ]

    def draw(self, image: np.ndarray, masks: Sequence[np.ndarray], colors: Colors) -> np.ndarray:
        """image uint8 [H, W, 3], index masks uint8 [H, W] -> uint8 [h, w, 3]."""
        parts = []
        grey = np.repeat((image.mean(2, keepdims=True) * 0.6 + 40).astype(np.uint8), 3, 2)
        apart = np.any([mask != masks[0] for mask in masks[1:]], axis=0)
        pictures = [tint(image, mask, colors=colors) for mask in masks]
        pictures.append(tint(grey, apart.astype(np.uint8), colors={1: DIFFERENT}))
        for strip, picture in zip(self._strips, pictures, strict=True):
            if picture.shape[1::-1] != self._size:
                picture = cv2.resize(picture, self._size, interpolation=cv2.INTER_AREA)
            side = np.concatenate([strip, picture])
            parts += [side, np.full((len(side), _GAP, 3), _PAPER, np.uint8)]
        return np.concatenate(parts[:-1], axis=1)


def _strip(label: str, width: int, height: int) -> np.ndarray:
    """The label in one line, as large as fits, uint8 [height, width, 3]."""
    image = Image.new("RGB", (width, height), _PAPER)
    draw = ImageDraw.Draw(image)
    for size in range(int(height * 0.6), _LEAST_TEXT - 1, -1):
        font = ImageFont.load_default(size)
        if draw.textlength(label, font) <= width * 0.96:
            break
    draw.text((width / 2, height / 2), label, _INK, font, anchor="mm")
    return np.array(image)
