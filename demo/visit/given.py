"""Gradio's components for pictures, which hand on the file that was given: `xmem.video.stills` reads it, within its
limits and, as the page has it, by another process."""

from typing import Any

import gradio as gr
from gradio.components.image_editor import EditorData
from gradio.data_classes import ImageData


class GivenImage(gr.Image):
    """The path of an image."""

    is_template = True  # for the page it is Gradio's own

    def preprocess(self, payload: ImageData | None) -> str | None:
        return None if payload is None else payload.path


class GivenPainting(gr.ImageEditor):
    """{"background", "layers", "composite"}, of which the layers alone are taken: a list of paths."""

    is_template = True
    accept_blobs = None  # which would keep all that anybody sends, without end

    def preprocess(self, payload: EditorData | None) -> dict[str, Any] | None:
        if payload is None:
            return None
        return {"background": None, "layers": [layer.path for layer in payload.layers], "composite": None}
