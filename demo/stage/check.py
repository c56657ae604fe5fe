"""The timeline, the frames worth checking, and masks cleaned up without another run."""

from dataclasses import dataclass
from typing import Any

import gradio as gr
from gradio.components import Component

from demo.failures import in_words
from demo.html import panels
from demo.html.timeline import timeline
from demo.stage.paint import PaintStep
from demo.stage.parts import part, script
from demo.visit import scene, studio
from demo.wiring import QUIET, SETTLE_WITH_FRAME, Counters, stamp
from xmem.render.post import PostProcessing
from xmem.session import Session
from xmem.session.stats import ObjectStats
from xmem.session.suggestions import Suggestion, suggest

SUGGESTIONS = 6


@dataclass(frozen=True)
class CheckStep:
    block: gr.Column  # hidden before there is a result
    overview: gr.HTML  # the timeline, in the stage
    worth: gr.HTML
    grow: gr.Slider
    fill_holes: gr.Checkbox
    drop_specks: gr.Checkbox
    note: gr.HTML

    @property
    def post(self) -> list[Component]:
        return [self.grow, self.fill_holes, self.drop_specks]


def build_timeline() -> gr.HTML:
    """Its place is in the stage, under the picture."""
    return gr.HTML(js_on_load=script("timeline.js"), apply_default_css=False, elem_id="overview")


def build(overview: gr.HTML) -> CheckStep:
    """overview: what `build_timeline` made."""
    default = PostProcessing()
    with gr.Column(visible=False, elem_id="check") as block:
        worth = gr.HTML(js_on_load=part("worth.js"), apply_default_css=False, elem_id="worth")
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
    return CheckStep(block, overview, worth, grow, holes, specks, note)


def wire(step: CheckStep, paint: PaintStep, changed: Counters) -> None:
    changed.refreshed.change(overview, None, [step.overview, step.worth], trigger_mode="always_last", **QUIET)
    gr.on(
        [step.grow.release, step.fill_holes.input, step.drop_specks.input],
        set_post,
        [*step.post, paint.frame],
        [paint.canvas, step.note, changed.refreshed],
        js=SETTLE_WITH_FRAME,
        trigger_mode="always_last",
        **QUIET,
    )


# What the controls do


def overview(request: gr.Request) -> tuple[str, str]:
    """The timeline, "" without a video; and the list of frames worth checking, "" without a result."""
    if not studio.has_session(request):
        return "", ""
    session = studio.session_of(request)
    stats = session.stats()
    worst = suggestions(session, stats)
    drawn = timeline(session, stats, worst)
    worth = [
        (item.frame, item.object, item.reason, scene.thumbnail(session, item.frame))
        for item in sorted(worst, key=lambda item: item.frame)
    ]
    return drawn, panels.worth_checking(worth) if stats else ""


def suggestions(session: Session, stats: list[ObjectStats]) -> list[Suggestion]:
    """The frames most worth checking, worst first, with reasons that call objects by name. stats: the session's."""
    names = {item.id: item.name for item in session.objects}
    keys = [key.frame for key in session.key_frames]
    return suggest(stats, session.cuts(), keys, SUGGESTIONS, names, session.dismissed)


@in_words(lambda sentence, *_: (gr.skip(), panels.message(sentence, "bad"), gr.skip()), raises=False)
def set_post(grow: float, fill_holes: bool, drop_specks: bool, frame: float, request: gr.Request) -> tuple[Any, ...]:
    """How masks are cleaned up was changed. Updates of (canvas, message, refreshed)."""
    with studio.editing(request) as session:
        session.set_post(PostProcessing(int(grow), fill_holes, drop_specks))
        shown = scene.of_frame(session, min(max(int(frame), session.first), session.last))
    return shown, "", stamp()
