"""Step 5, what to take away: a tab per file, each with `build` and `wire`."""

from dataclasses import dataclass
from types import ModuleType
from typing import Any

import gradio as gr

from demo.html import panels
from demo.runs import rendering
from demo.runs.track import TrackStep
from demo.tabs import compare, exports, looks, quality
from demo.wiring import QUIET, Counters

TABS = {"Looks": looks, "Export": exports, "Quality": quality, "Compare": compare}


@dataclass(frozen=True)
class TakeStep:
    block: gr.Column  # hidden before there is a result
    old: gr.HTML  # says where results are from before the last change
    tabs: list[tuple[ModuleType, Any]]  # (module, what its `build` made)


def build() -> TakeStep:
    made = []
    with gr.Column(visible=False, elem_classes="step", elem_id="step-take") as block:
        gr.HTML(panels.heading(5, "Take away", "Looks, files, figures."))
        old = gr.HTML(elem_id="old-take", min_height=0)
        with gr.Tabs(elem_id="take-tabs"):
            for label, module in TABS.items():
                with gr.Tab(label, elem_id=f"tab-{module.__name__.rpartition('.')[2]}"):
                    made.append((module, module.build()))
    return TakeStep(block, old, made)


def wire(step: TakeStep, track: TrackStep, changed: Counters) -> None:
    changed.refreshed.change(rendering.old, None, [track.old, step.old], trigger_mode="always_last", **QUIET)
    for module, components in step.tabs:
        module.wire(components, track, changed)
