"""`track`, the endpoint for one call: a session of its own is painted, computed and exported, and then goes."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np

import xmem
from demo.failures import in_words
from demo.html import panels
from demo.runs import rendering, settings
from demo.runs.follow import follow
from demo.runs.track import compute
from demo.visit import canvas, studio
from demo.visit.asked import uploaded
from demo.visit.workspace import download_stem
from xmem.export import EXPORTS, export
from xmem.session import Session
from xmem.video.stills import read_still


@in_words(lambda sentence, *_, **__: (panels.failed(sentence), None, None))
def track(
    video: str | None,
    painting: dict[str, Any] | None,
    fill_outlines: bool,
    model: str,
    device: str,
    size: int,
    opacity: float,
    memory: dict[str, Any] | None,
    request: gr.Request,
) -> Iterator[tuple[str, str | None, str | None]]:
    """Follow the painted objects through the video. memory: the settings of the model's family by name, {} for the
    defaults.

    Yields (progress as HTML, overlay video, ZIP of mask PNGs) about once per second; the files come last.
    """
    chosen = settings.read(model, device, size, memory)
    if not video:
        raise xmem.InputError("There is no video yet: upload one, or open one of the gallery.")
    workspace = studio.workspace_of(request)
    with workspace.new_run() as folder:
        session = Session.create(uploaded(video, request), folder / "session", download_stem(video))
        set_painting(session, _with_pictures(painting, request), fill_outlines)
        session.set_style(replace(session.style, opacity=float(opacity)))
        for panel, progress in compute(session, chosen, workspace, is_visitors=False):  # noqa: B007
            yield panel, None, None
        if not progress.done:
            raise xmem.InputError("Stopped before the first frame: there is nothing to return.")
        session = Session.open(session.folder)
        session.set_trim(0, progress.done - 1)  # where it was stopped, what is done is the result
        files = []
        for kind in ("overlay", "index_png"):
            for step in follow(export(kind, session, folder, session.name)):
                workspace.keep_alive()
                yield rendering.written(session, step), None, None
            files.append(studio.handed(request, folder / f"{session.name}{EXPORTS[kind].suffix}"))
        yield panels.finished(*rendering.read_summary(session)), *files


def set_painting(session: Session, painting: dict[str, Any] | None, fill: bool) -> None:
    """Make a painting the key frame of the first frame. Raises InputError where there is no paint."""
    mask = canvas.of_painting(painting, session.info.width, session.info.height, fill)
    if not mask.any():
        raise xmem.InputError("Nothing is painted yet: paint the object on the first frame, or choose a mask file.")
    session.set_key_frame(0, mask, {int(i): int(i) - 1 for i in np.unique(mask[mask > 0])})


def _with_pictures(painting: dict[str, Any] | None, request: gr.Request) -> dict[str, Any] | None:
    """A painting with its layers as uint8 [H, W, 4], of which the page hands on files. Raises InputError."""
    if painting is None:
        return None
    layers = painting.get("layers") or []
    return painting | {"layers": [_layer(uploaded(x, request)) if isinstance(x, str) else x for x in layers]}


def _layer(path: Path) -> np.ndarray:
    return np.array(read_still(path, "The painting", "give a PNG").convert("RGBA"))
