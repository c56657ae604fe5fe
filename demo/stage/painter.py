"""The canvas, a component of our own: `gr.HTML` with a script.

`gr.ImageEditor` shows loaded masks as opaque paint, takes seconds to change the frame, and hands each stroke out only
once; here the mask is a translucent index mask at the video's own size, and each action names its frame.
"""

import gradio as gr

from demo.runs import helpers
from demo.stage import clicks, feed
from demo.stage.parts import part, script

WORDS_HERE = "<!-- words -->"


def painter(elem_id: str) -> gr.HTML:
    """The component. Its value is a scene (see `demo.visit.scene`); its events carry what the visitor did:

    stroke {frame, mask, colors}, go {frame}, object {id, name | color | visible | remove}, refine {frame, object},
    unkey {frame}, accept {frame}, dismiss {frame, object}, undo {frame}, redo {frame}, sync {frame}; each with `ack`, a
    number that the answering scene carries; and join, where a run of the session goes on that the page does not follow.
    """
    return gr.HTML(
        value={"empty": True},
        html_template=part("painter.html").replace(WORDS_HERE, part("words.html") if helpers.has_words() else ""),
        js_on_load=script("painter.js"),
        server_functions=[*feed.FUNCTIONS, clicks.propose],
        apply_default_css=False,
        elem_id=elem_id,
        elem_classes="painter",
    )
