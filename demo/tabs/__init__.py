"""What to take away: a tab per file, each with `build` and `wire`."""

from dataclasses import dataclass
from types import ModuleType
from typing import Any

import gradio as gr

from demo.html import panels
from demo.runs import rendering
from demo.runs.track import TrackStep
from demo.tabs import compare, exports, looks, quality
from demo.wiring import QUIET, Counters

TABS = {"Video": looks, "Files": exports}
RESEARCH = {"Quality": quality, "Compare": compare}  # folded


@dataclass(frozen=True)
class TakeStep:
    block: gr.Column  # hidden before there is a result
    old: gr.HTML  # says where results are from before the last change
    tabs: list[tuple[ModuleType, Any]]  # (module, what its `build` made)

    @property
    def video(self) -> gr.Video:
        """The result in a look, once it was made."""
        return dict(self.tabs)[looks].video


def build() -> TakeStep:
    made = []
    with gr.Column(visible=False, elem_id="take") as block:
        gr.HTML(panels.heading("Take away"))
        old = gr.HTML(elem_id="old-take", min_height=0)
        with gr.Tabs(elem_id="take-tabs"):
            made += _tabs(TABS)
        with gr.Accordion("For researchers", open=False, elem_id="research"), gr.Tabs(elem_id="research-tabs"):
            made += _tabs(RESEARCH)
    return TakeStep(block, old, made)


def _tabs(modules: dict[str, ModuleType]) -> list[tuple[ModuleType, Any]]:
    made = []
    for label, module in modules.items():
        with gr.Tab(label, elem_id=f"tab-{module.__name__.rpartition('.')[2]}"):
            made.append((module, module.build()))
    return made


def wire(step: TakeStep, track: TrackStep, changed: Counters) -> None:
    changed.refreshed.change(rendering.old, None, step.old, trigger_mode="always_last", **QUIET)
    for module, components in step.tabs:
        module.wire(components, track, changed)
