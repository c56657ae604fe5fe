"""Step 4: the timeline, the frames worth checking, and masks cleaned up without another run."""

from dataclasses import dataclass

import gradio as gr
from gradio.components import Component

from demo.events import check
from demo.html import panels
from demo.shared import Shared
from demo.steps import QUIET, SETTLE_WITH_FRAME
from demo.steps.paint import PaintStep
from xmem.render.post import PostProcessing

# The plot follows the pointer and the canvas; whatever names a frame leads there.
FOLLOW_TIMELINE = """
const frameAt = (plot, event) => {
  const { first, last } = plot.closest(".timeline").dataset, box = plot.getBoundingClientRect();
  const share = Math.min(1, Math.max(0, (event.clientX - box.left) / box.width));
  return Math.round(Number(first) + share * (last - first));
};
const place = (frame) => {
  const line = element.querySelector(".timeline"), cursor = element.querySelector(".t-cursor");
  if (!line || frame === undefined) return;
  const { first, last } = line.dataset;
  cursor.style.left = `${100 * (frame - first) / Math.max(1, last - first)}%`;
};
element.addEventListener("click", (event) => {
  const target = event.target.closest("[data-frame]"), plot = event.target.closest(".t-plot");
  if (target) window.xmemGo(Number(target.dataset.frame));
  else if (plot) window.xmemGo(frameAt(plot, event));
});
element.addEventListener("pointermove", (event) => {
  const plot = event.target.closest(".t-plot"), tip = plot?.querySelector(".t-tip");
  if (!tip) return;
  const box = plot.getBoundingClientRect();
  tip.textContent = `Frame ${frameAt(plot, event) + 1}`;
  tip.style.left = `${Math.min(box.width - 40, Math.max(40, event.clientX - box.left))}px`;
});
document.addEventListener("xmem:frame", (event) => place(event.detail));
watch("value", () => place(window.xmemFrame?.()));
"""


@dataclass(frozen=True)
class CheckStep:
    overview: gr.HTML
    grow: gr.Slider
    fill_holes: gr.Checkbox
    drop_specks: gr.Checkbox
    note: gr.HTML

    @property
    def post(self) -> list[Component]:
        return [self.grow, self.fill_holes, self.drop_specks]


def build() -> CheckStep:
    gr.HTML(panels.heading(4, "Check and correct", "Go to a doubtful frame, correct it above, and run again."))
    overview = gr.HTML(js_on_load=FOLLOW_TIMELINE, apply_default_css=False, elem_id="overview")
    default = PostProcessing()
    with gr.Accordion("Clean up the masks", open=False, elem_id="post"):
        with gr.Row():
            grow = gr.Slider(
                -20,
                20,
                default.grow,
                step=1,
                min_width=240,
                label="Grow or shrink, pixels",
                info="Of all computed masks; painted ones stay.",
                elem_id="grow",
            )
            holes = gr.Checkbox(
                default.fill_holes,
                label="Fill holes",
                min_width=160,
                info="Background inside an object joins it.",
                elem_id="fill-holes",
            )
            specks = gr.Checkbox(
                default.drop_specks,
                label="Drop specks",
                min_width=160,
                info="Small stray pieces go.",
                elem_id="drop-specks",
            )
        note = gr.HTML(elem_id="post-note")
    return CheckStep(overview, grow, holes, specks, note)


def wire(step: CheckStep, paint: PaintStep, shared: Shared) -> None:
    shared.refreshed.change(check.overview, None, step.overview, trigger_mode="always_last", **QUIET)
    gr.on(
        [step.grow.release, step.fill_holes.input, step.drop_specks.input],
        check.set_post,
        [*step.post, paint.frame],
        [paint.canvas, step.note, shared.refreshed, shared.restyled],
        js=SETTLE_WITH_FRAME,
        trigger_mode="always_last",
        **QUIET,
    )
