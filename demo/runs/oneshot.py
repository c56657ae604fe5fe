"""`track`, the one-shot of the API: a video and a painting of its first frame in, overlay and masks out."""

import logging
import shutil
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import gradio as gr
import numpy as np

import xmem
from demo.html import panels
from demo.html.progress import Progress
from demo.runs import models, settings
from demo.runs.follow import follow
from demo.runs.run import Settings, pack_masks, propagate
from demo.runs.track import unexpected
from demo.visit import canvas, studio
from demo.visit import workspace as session
from xmem.checkpoints import EMBEDDED
from xmem.video import probe

log = logging.getLogger("xmem.demo")


def track(
    video: str | None,
    painting: dict[str, Any] | None,
    fill_outlines: bool,
    model: str,
    device: str,
    size: int,
    opacity: float,
    mem_every: float,
    min_working_frames: float,
    max_working_frames: float,
    prototypes: float,
    max_long_term: float,
    top_k: float,
    deep_update_every: float,
    long_term: bool,
    request: gr.Request,
) -> Iterator[tuple[str, str | None, str | None]]:
    """Follow the painted objects through the video.

    Yields (progress as HTML, overlay video, ZIP of mask PNGs) about once per second; the files come last.
    """
    try:
        memory = settings.memory(
            mem_every,
            min_working_frames,
            max_working_frames,
            prototypes,
            max_long_term,
            top_k,
            deep_update_every,
            long_term,
        )
        chosen = Settings(model, device, int(size) or None, opacity, memory)
        mask = _given_mask(video, painting, fill_outlines)
        yield from _run(video, mask, chosen, studio.workspace_of(request))
    except xmem.InputError as error:
        yield panels.failed(str(error)), None, None
        raise gr.Error(str(error), title="Not yet", print_exception=False) from error
    except Exception as error:
        log.exception("A run failed.")
        sentence = unexpected(error)
        yield panels.failed(sentence), None, None
        raise gr.Error(sentence, print_exception=False) from error


def _given_mask(video: str | None, painting: dict[str, Any] | None, fill: bool) -> np.ndarray:
    """The index mask uint8 [H, W] to start from. Raises InputError where there is no video or no paint."""
    if not video:
        raise xmem.InputError("There is no video yet: upload one, or take the sample.")
    info = probe(video)
    index = canvas.to_index(painting, info.width, info.height, fill)
    if not index.any():
        raise xmem.InputError("Nothing is painted yet: paint the object on the first frame, or choose a mask file.")
    return index


def _run(
    video: str, mask: np.ndarray, chosen: Settings, workspace: session.Workspace
) -> Iterator[tuple[str, str | None, str | None]]:
    note = ""
    for progress, note in models.bring(chosen.model):  # noqa: B007  (the last note is what counts)
        yield panels.busy(*models.fetched(chosen.model, progress)), None, None
    if note:
        chosen = replace(chosen, model=EMBEDDED)
    with workspace.new_run() as folder:
        last = Progress()
        for latest in follow(propagate(video, mask, str(folder), str(workspace.stop_file), chosen)):
            workspace.keep_alive()
            if latest is None:
                yield panels.busy(f"Loading {panels.short(chosen.model)}…"), None, None
            else:
                last = replace(latest, note=note or latest.note)
                yield panels.running(last), None, None
        stopped = workspace.stop_file.exists() and last.done != last.total
        workspace.clear_stop()
        stem = session.download_stem(video)
        overlay = shutil.move(folder / "overlay.mp4", folder / f"{stem}-overlay.mp4")
        archive = pack_masks(folder, stem)
        # Gradio copies the files into its cache before it asks for more, and then the folder goes
        yield panels.finished(last, stopped), str(overlay), str(archive)
