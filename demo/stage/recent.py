"""The session of the page's address, and the recent ones that this browser remembers."""

from typing import Any

import gradio as gr

from demo.failures import in_words
from demo.stage.parts import part
from demo.visit import scene, studio
from demo.wiring import QUIET, Counters
from xmem.limits import limits


def build() -> gr.HTML:
    return gr.HTML(
        value={"key": None, "days": limits().session_days},
        html_template='<div class="r-root"></div>',
        js_on_load=part("recent.js"),
        apply_default_css=False,
        elem_id="recent",
    )


def wire(step: gr.HTML, changed: Counters) -> None:
    changed.refreshed.change(here, None, step, trigger_mode="always_last", **QUIET)


@in_words(lambda *_: gr.skip(), raises=False)
def here(request: gr.Request) -> Any:
    """The session that the page is at, as the script takes it: its key, name and picture."""
    if not studio.has_session(request):
        return {"key": None, "days": limits().session_days}
    session = studio.session_of(request)
    frame = session.key_frames[0].frame if session.key_frames else session.first
    return {
        "key": studio.key_of(request),
        "name": session.name,
        "picture": scene.thumbnail(session, frame),
        "days": limits().session_days,
    }


def gone(key: str) -> dict[str, Any]:
    """What the script takes where the address led to a session that is over."""
    return {"key": None, "gone": key, "days": limits().session_days}
