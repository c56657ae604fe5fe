"""Step 5: what to take away, in tabs that are rooms of their own."""

from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import Any

import gradio as gr

from demo.html import panels
from demo.shared import Shared

TABS = (("Looks", "looks"), ("Export", "exports"), ("Quality", "quality"), ("Compare", "compare"))


@dataclass(frozen=True)
class TakeStep:
    tabs: list[tuple[ModuleType, Any]]  # (module, what its `build` made)


def build() -> TakeStep:
    gr.HTML(panels.heading(5, "Take away", "Looks, files, figures."))
    made = []
    with gr.Tabs(elem_id="take-tabs"):
        for label, name in TABS:
            module = import_module(f"demo.tabs.{name}")
            with gr.Tab(label, elem_id=f"tab-{name}"):
                made.append((module, module.build()))
    return TakeStep(made)


def wire(step: TakeStep, shared: Shared) -> None:
    for module, components in step.tabs:
        module.wire(components, shared)
