"""What all wiring of the page shares: who may call an event, how many at once, and the counters that carry news.

Every module with controls has the same two functions: `build(...)` makes its components and returns them, `wire(...)`
connects them with plain functions of the same module. Imports in `demo` go one way: html, visit, wiring,
runs, stage, tabs, api, page.
"""

import time
from dataclasses import dataclass

import gradio as gr

PRIVATE = {"api_visibility": "private"}  # the page's own events; programs use those of `demo.api`
# Without `show_progress_on` Gradio tells each output that the event is pending, over, and redraws it each time.
QUIET = {"show_progress": "hidden", "show_progress_on": [], **PRIVATE}
RUNS = {"concurrency_limit": None, "concurrency_id": "run"}  # of all visitors; `demo.runs.turn` says whose turn it is
RENDERINGS = {"concurrency_limit": 2, "concurrency_id": "render"}
ESTIMATES = {"concurrency_limit": 1, "concurrency_id": "estimate"}  # two at once would time each other

# What is painted is on its way to the server until this has waited; it hands its arguments on.
SETTLE = "async (...values) => { if (window.xmemSettled) await window.xmemSettled(); return values; }"
# The same, and the last argument becomes the frame on the canvas.
SETTLE_WITH_FRAME = (
    "async (...values) => { if (window.xmemSettled) await window.xmemSettled(); "
    "return [...values.slice(0, -1), window.xmemFrame ? window.xmemFrame() : 0]; }"
)


@dataclass(frozen=True)
class Counters:
    """Their `.change` fires when an event puts a new value, a `stamp()`, into them.

    refreshed: after each finished run and each edit of key frames, objects, trim or post-processing.
    """

    refreshed: gr.State


def counters() -> Counters:
    return Counters(gr.State(0))


def stamp() -> int:
    """A new value of a counter."""
    return time.time_ns()
