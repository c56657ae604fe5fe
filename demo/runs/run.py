"""A run: paths in, progress out. The only place where the page meets the engine.

`propagate_session` is what a Space's GPU decorator wraps, perhaps in another process: it takes and yields nothing but
paths, numbers and JPEG bytes.
"""

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from demo.html import pictures
from demo.html.progress import Progress
from demo.runs import models
from demo.visit import scene
from xmem.review.preflight import Estimate, estimate
from xmem.session import Session, Step, TrackSettings

spaces = None  # the package may be installed anywhere: the environment tells of a Space whose GPUs are lent by the call
if os.environ.get("SPACES_ZERO_GPU"):
    import spaces

PREVIEW_SECONDS = 0.8
PREVIEW_WIDTH = 720
GPU_FRAMES_PER_SECOND = 8  # a cautious guess of a Space's GPU, to ask for enough of its time


def gpu_seconds(frames: int) -> int:
    """Seconds of a Space's GPU to ask for."""
    return int(min(300, 30 + frames / GPU_FRAMES_PER_SECOND))


def _gpu_seconds(folder: str, _stop_file: str, settings: TrackSettings, _start_over: bool = False) -> int:
    return gpu_seconds(sum(span.steps for span in Session.open(folder).pending(settings)))


def on_gpu(seconds: Callable[..., int]) -> Callable:
    """Wrap a generator so that it runs on a Space's GPU for as long as `seconds` says; elsewhere leave it as it is."""
    return spaces.GPU(duration=seconds) if spaces else lambda function: function


@on_gpu(_gpu_seconds)
def propagate_session(
    folder: str, stop_file: str, settings: TrackSettings, start_over: bool = False
) -> Iterator[Progress]:
    """Compute what is pending in the session in `folder`, where results appear.

    It goes on where an earlier run was left, unless it is to start over. Ends early, keeping
    what is done, once `stop_file` exists or when it is closed. Raises InputError.
    """
    session = Session.open(folder)
    loaded = models.load(settings.model, settings.device, settings.precision)
    steps = session.propagate(settings.with_model(loaded.name), loaded.model, start_over)
    shown, stop = -PREVIEW_SECONDS, Path(stop_file)
    progress, latest = Progress(model=loaded.name, note=loaded.note), None
    try:
        for latest in steps:
            preview = progress.preview
            if latest.seconds - shown >= PREVIEW_SECONDS:
                preview, shown = _preview(session, latest), latest.seconds
            progress = replace(
                progress,
                done=latest.done,
                total=latest.total,
                seconds=latest.seconds,
                preview=preview,
                memory_bytes=latest.memory.bytes,
            )
            yield progress
            if stop.exists():
                break
    finally:
        steps.close()
    if latest:
        yield replace(progress, preview=_preview(session, latest))


@on_gpu(lambda *_: 30)
def estimate_session(folder: str, settings: TrackSettings) -> Estimate:
    """Time a few frames of the session in `folder`. Raises InputError."""
    loaded = models.load(settings.model, settings.device, settings.precision)
    found = estimate(Session.open(folder), settings.with_model(loaded.name), loaded.model)
    return replace(found, reason=f"{found.reason} {loaded.note}".strip())


def _preview(session: Session, step: Step) -> bytes:
    image = scene.tinted(session, step.image, scene.visible(session, step.mask))
    return pictures.jpeg(image, min(PREVIEW_WIDTH, image.shape[1]))
