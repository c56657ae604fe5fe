"""The canvas of step 2, a component of our own: `gr.HTML` with a script.

`gr.ImageEditor` shows loaded masks as opaque paint, takes seconds to change the frame, and hands each stroke out only
once; here the mask is a translucent index mask at the video's own size, and each action names its frame.
"""

from pathlib import Path

import gradio as gr

FOLDER = Path(__file__).parent


def painter(elem_id: str) -> gr.HTML:
    """The component. Its value is a scene (see `demo.visit.scene`); its events carry what the visitor did:

    stroke {frame, mask, colors}, go {frame}, object {id, name | color | visible | remove}, refine {frame, object},
    undo {frame}, redo {frame}; each with `ack`, a number that the answering scene carries.
    """
    return gr.HTML(
        value={"empty": True},
        html_template=part("painter.html"),
        js_on_load=part("painter.js"),
        apply_default_css=False,
        elem_id=elem_id,
        elem_classes="painter",
    )


def part(name: str) -> str:
    """A file of this folder: a template or a script."""
    return (FOLDER / name).read_text(encoding="utf-8")
