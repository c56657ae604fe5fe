"""The memory settings of the model's family: one control that shows a line for each, and what it says.

The control's value is {"family": name, "title": for people, "settings": [...], "values": {setting: value}}; programs
give the values alone.
"""

from pathlib import Path
from typing import Any

import gradio as gr

from demo.runs import models
from xmem.errors import InputError
from xmem.session import TrackSettings

SCRIPT = Path(__file__).with_name("memory.js")


def control(model: str) -> gr.HTML:
    return gr.HTML(
        value=shown(model),
        html_template='<div class="m-root"></div>',
        js_on_load=SCRIPT.read_text(encoding="utf-8"),
        apply_default_css=False,
        elem_id="memory-settings",
    )


def shown(model: str, memory: Any = None) -> dict[str, Any]:
    """The control's value for a model; memory: settings, which count where they are of its family."""
    family = models.family(model)
    released = family.config()
    chosen = memory if isinstance(memory, family.config) else released
    settings = [
        {
            "name": item.name,
            "label": item.label,
            "flag": item.is_flag,
            "low": item.low,
            "high": item.high,
            "step": item.step,
            "none": item.none,
            "note": item.note,
            "first": item.first,
            "default": getattr(released, item.name),
        }
        for item in family.settings
    ]
    values = {item.name: getattr(chosen, item.name) for item in family.settings}
    return {"family": family.name, "title": family.title, "settings": settings, "values": values}


def read(given: dict[str, Any] | None, model: str) -> Any:
    """The settings that a control or a program gives, None for the defaults. Raises InputError.

    A control that still shows another family, since the model has just changed, says nothing.
    """
    family = models.family(model)
    if given is not None and not isinstance(given, dict):
        raise InputError('The memory settings must be values by name, such as {"mem_every": 3}.')
    if given is not None and "values" in given:
        given = given["values"] if given.get("family") == family.name else None
    if not given:
        return None
    chosen = family.chosen(given)
    return None if chosen == family.config() else chosen


def of_session(settings: TrackSettings) -> dict[str, Any]:
    """The control's value for the settings of a session that goes on."""
    return shown(settings.model, settings.memory)
