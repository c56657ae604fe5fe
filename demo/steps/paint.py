"""Step 2: the canvas, its frames and objects, and the key frames below it."""

from dataclasses import dataclass

import gradio as gr

from demo.events import paint
from demo.html import panels
from demo.shared import Shared
from demo.stage import painter
from demo.steps import PRIVATE, QUIET, SETTLE_WITH_FRAME

# A click on a key frame goes there, its cross removes it: both through the canvas, which does one thing at a time.
FOLLOW_KEYS = """
element.addEventListener("click", (event) => {
  const go = event.target.closest("[data-go]"), remove = event.target.closest("[data-remove]");
  if (go) window.xmemGo(Number(go.dataset.go));
  if (remove) window.xmemRemoveKey(Number(remove.dataset.remove));
});
"""


@dataclass(frozen=True)
class PaintStep:
    block: gr.Column
    canvas: gr.HTML
    keys: gr.HTML
    mask: gr.UploadButton
    frame: gr.Number


def build() -> PaintStep:
    with gr.Column(elem_classes="step", elem_id="step-paint"):
        gr.HTML(panels.heading(2, "Paint", "On any frame, one colour per object."))
        gr.HTML(panels.WAITING_FOR_VIDEO, elem_id="paint-empty")
        with gr.Column(visible=False, elem_id="paint-block") as block:
            canvas = painter("canvas")
            with gr.Row(elem_id="paint-foot"):
                keys = gr.HTML(js_on_load=FOLLOW_KEYS, apply_default_css=False, elem_id="keys")
                mask = gr.UploadButton(
                    "Upload a mask", file_types=["image"], size="sm", min_width=130, elem_id="mask-file", scale=0
                )
            frame = gr.Number(0, visible=False)  # of the canvas; a script fills it in
    return PaintStep(block, canvas, keys, mask, frame)


def wire(step: PaintStep, shared: Shared) -> None:
    outputs = [step.canvas, shared.refreshed, shared.restyled]
    for event, function in (
        (step.canvas.go, paint.go),
        (step.canvas.stroke, paint.stroke),
        (step.canvas.refine, paint.refine),
        (step.canvas.object, paint.change_object),
        (step.canvas.unkey, paint.remove_key_frame),
        (step.canvas.undo, paint.undo),
        (step.canvas.redo, paint.redo),
    ):
        # the canvas sends one action at a time; "multiple", so that none is ever dropped
        event(function, None, outputs, trigger_mode="multiple", **QUIET)
    step.mask.upload(
        paint.upload_mask, [step.mask, step.frame], outputs, js=SETTLE_WITH_FRAME, show_progress="hidden", **PRIVATE
    )
    shared.refreshed.change(paint.strip, None, step.keys, trigger_mode="always_last", **QUIET)
