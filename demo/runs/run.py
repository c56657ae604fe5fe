"""A run: paths and a small array in, progress out. The only place where the page meets the engine.

`propagate` is what a Space's GPU decorator wraps, perhaps in another process: it takes and yields nothing but paths,
numbers, small arrays and JPEG bytes.
"""

import logging
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import cv2
import numpy as np

import xmem
from demo.html.progress import Progress
from demo.runs.models import load
from demo.visit import scene
from xmem.review.preflight import Estimate, estimate
from xmem.session import Session, Step, TrackSettings
from xmem.video import probe

if TYPE_CHECKING:
    pass

try:
    import spaces
except ImportError:  # only a Space has it
    spaces = None

PREVIEW_SECONDS = 0.8
PREVIEW_WIDTH = 720
GPU_FRAMES_PER_SECOND = 8  # a cautious guess of a Space's GPU, to ask for enough of its time

log = logging.getLogger("xmem.demo")

T = TypeVar("T")


@dataclass(frozen=True)
class Settings:
    """What a visitor may choose. size: shorter side for inference in pixels, None for the video's own."""

    model: str = "xmem-lite"
    device: str = "auto"
    size: int | None = 480
    opacity: float = 0.5
    memory: xmem.MemoryConfig = field(default_factory=xmem.MemoryConfig)


def _seconds(frames: int) -> int:
    return int(min(300, 30 + frames / GPU_FRAMES_PER_SECOND))


def _gpu_seconds(video: str, *_: Any) -> int:
    return _seconds(probe(video).frame_count or 300)


def _gpu_seconds_of_session(folder: str, _stop_file: str, settings: TrackSettings) -> int:
    return _seconds(sum(span.steps for span in Session.open(folder).pending(settings)))


def on_gpu(seconds: Callable[..., int]) -> Callable:
    """Wrap a generator so that it runs on a Space's GPU for as long as `seconds` says; elsewhere leave it as it is."""
    return spaces.GPU(duration=seconds) if spaces else lambda function: function


@on_gpu(_gpu_seconds_of_session)
def propagate_session(folder: str, stop_file: str, settings: TrackSettings) -> Iterator[Progress]:
    """Compute what is pending in the session in `folder`, where results appear.

    Ends early, keeping what is done, once `stop_file` exists or when it is closed. Raises InputError.
    """
    session = Session.open(folder)
    model, name, note = load(settings.model, settings.device, settings.precision)
    steps = session.propagate(replace(settings, model=name), model)
    shown, stop = -PREVIEW_SECONDS, Path(stop_file)
    progress, latest = Progress(model=name, note=note), None
    try:
        for latest in steps:
            preview = progress.preview
            if latest.seconds - shown >= PREVIEW_SECONDS:
                preview, shown = _session_preview(session, latest), latest.seconds
            progress = Progress(latest.done, latest.total, latest.seconds, preview, name, note, latest.memory.bytes)
            yield progress
            if stop.exists():
                break
    finally:
        steps.close()
    if latest:
        yield replace(progress, preview=_session_preview(session, latest))


@on_gpu(lambda *_: 30)
def estimate_session(folder: str, settings: TrackSettings) -> Estimate:
    """Time a few frames of the session in `folder`. Raises InputError."""
    model, _, _ = load(settings.model, settings.device, settings.precision)
    return estimate(Session.open(folder), settings, model)


def _session_preview(session: Session, step: Step) -> bytes:
    return _jpeg(scene.tinted(session, step.image, scene.visible(session, step.mask)))


@on_gpu(_gpu_seconds)
def propagate(video: str, mask: np.ndarray, output: str, stop_file: str, settings: Settings) -> Iterator[Progress]:
    """Track `mask` (uint8 [H, W], on the first frame) through `video`; overlay.mp4 and masks/ appear in `output`.

    Ends early, with a valid result, once `stop_file` exists or when it is closed. Raises InputError.
    """
    model, name, note = load(settings.model, settings.device)
    results = xmem.segment_video(
        video,
        {0: mask},
        output,
        model=model,
        config=settings.memory,
        size=settings.size,
        device=settings.device,
        opacity=settings.opacity,
    )
    begun, shown = time.monotonic(), -PREVIEW_SECONDS
    progress, stop = Progress(model=name, note=note), Path(stop_file)
    try:
        for done, result in enumerate(results, start=1):
            now = time.monotonic()
            preview = progress.preview
            if now - shown >= PREVIEW_SECONDS:
                preview, shown = _jpeg(result.overlay), now
            progress = Progress(done, result.frame_count, now - begun, preview, name, note)
            yield progress
            if stop.exists():
                break
    finally:
        results.close()
    if progress.done:
        yield replace(progress, preview=_jpeg(result.overlay))


def _jpeg(image: np.ndarray) -> bytes:
    height, width = image.shape[:2]
    if width > PREVIEW_WIDTH:
        size = (PREVIEW_WIDTH, round(height * PREVIEW_WIDTH / width))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    _, data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 82])
    return data.tobytes()


def pack_masks(output: Path, stem: str) -> Path:
    """The mask PNGs of a run as one ZIP beside them, in a folder named after the video."""
    archive = output / f"{stem}-masks.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as file:  # PNGs are compressed already
        for mask in sorted((output / "masks").glob("*.png")):
            file.write(mask, f"{stem}-masks/{mask.name}")
    return archive
