"""The settings of a run: their controls, and what these say as `TrackSettings`."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import gradio as gr
from gradio.components import Component

from demo.html import panels
from demo.runs import helpers, memory, models
from demo.visit.asked import whole
from demo.wiring import QUIET
from xmem.limits import MIN_SIZE, limits
from xmem.session import TrackSettings

ORIGINAL_SIZE = 0  # the choice "as the video"
CPU_SIZE = 384  # pixels: xmem-lite has 86.8 J&F there on the 16 clips of its card, 87.7 at 480, in 1.6 times the time
GPU_SIZE = 480  # pixels: the paper's
SIZES = (240, 288, CPU_SIZE, GPU_SIZE, 720)

DIRECTIONS = [("Both ways", "both"), ("Forward only", "forward"), ("Backward only", "backward")]


@dataclass(frozen=True)
class SettingsPanel:
    model: gr.Dropdown
    device: gr.Dropdown
    size: gr.Dropdown
    model_note: gr.HTML
    accuracy: gr.HTML
    memory: gr.HTML
    direction: gr.Radio
    pause: gr.Checkbox
    own: gr.State  # what the visitor chose of them, by name: not what a clip of before had

    @property
    def controls(self) -> list[Component]:
        """In the order of `read`."""
        return [self.model, self.device, self.size, self.memory, self.direction, self.pause]


def build() -> SettingsPanel:
    chosen = models.default_model()
    with gr.Accordion("Settings", open=False, elem_id="settings"):
        model = gr.Dropdown(
            models.model_choices(), value=chosen, label="Model", elem_id="model", elem_classes=models.GROUPED
        )
        accuracy = gr.HTML(models.accuracy(chosen), elem_id="model-accuracy")
        model_note = gr.HTML(elem_id="model-note")
        devices = models.device_choices()
        device = gr.Dropdown(devices, value=devices[0][1], label="Device", visible=len(devices) > 1)
        size = _size()
        direction, pause = _directions()
        with gr.Accordion("Memory", open=False, elem_id="memory"):
            memories = memory.control(chosen)
        _clicks()
    return SettingsPanel(model, device, size, model_note, accuracy, memories, direction, pause, gr.State({}))


def _size() -> gr.Dropdown:
    until = f" Until you choose, quick runs take {GPU_SIZE} pixels." if may_grow() else ""
    return gr.Dropdown(
        size_choices(),
        value=default_size(),
        label="Inference size",
        info="Shorter side while tracking; larger is finer and slower. Results keep the video's size." + until,
        elem_id="size",
    )


def _directions() -> tuple[gr.Radio, gr.Checkbox]:
    direction = gr.Radio(
        DIRECTIONS,
        value="both",
        label="Direction",
        info="From each painted frame. Between two of them, both ways are blended.",
        elem_id="direction",
    )
    pause = gr.Checkbox(
        False,
        label="Pause memory at cuts",
        info="After a shot cut nothing is remembered until the objects are found again.",
        elem_id="pause",
    )
    return direction, pause


def _clicks() -> None:
    """Which network answers clicks: the canvas tells it with each click, and the server keeps nothing of it."""
    choices = helpers.clickers()
    if len(choices) == 1:
        gr.HTML(panels.hint(helpers.HOW_TO_GET), elem_id="clicker-note")
        return
    clicker = gr.Dropdown(
        choices,
        value=choices[0][1],
        label="Clicks",
        info="SAM 2.1 was trained on far more pictures, and takes seconds for each new one without a GPU.",
        elem_id="clicker",
    )
    clicker.input(None, clicker, None, js="(name) => { window.xmemClicker = name; }", **QUIET)


def wire(step: SettingsPanel, status: gr.HTML) -> None:
    gr.on(
        [step.model.input, step.device.input],
        choose_model,
        [step.model, step.device],
        [step.model, step.model_note, status],
        **QUIET,
    )
    for name in ("size", "memory", "direction", "pause"):
        control = getattr(step, name)
        control.input(partial(with_own, name), [step.own, control], step.own, **QUIET)
    step.model.change(models.accuracy, step.model, step.accuracy, **QUIET)
    step.model.change(shown_memory, [step.model, step.memory], step.memory, **QUIET)


# What the controls say


def read(
    model: str,
    device: str,
    size: int,
    memories: dict[str, Any] | None = None,
    direction: str = "both",
    pause_at_cuts: bool = False,
) -> TrackSettings:
    """The controls' values, in their order on the page. size: 0 for the video's own; memories: as `memory.read` takes
    them. Raises InputError."""
    return TrackSettings(
        models.listed(model),
        models.there(device),
        inference_size(size),
        memory.read(memories, model),
        direction,
        pause_at_cuts,
    )


def with_own(name: str, own: dict[str, Any], value: Any) -> dict[str, Any]:
    """The visitor chose a value."""
    return own | {name: value}


def for_new_clip(own: dict[str, Any] | None = None, model: str = "") -> list[Any]:
    """Updates of the controls: what the visitor chose, and else the defaults, whatever a clip of before had.
    model: the one that is chosen, which stays."""
    own, model = own or {}, model or models.default_model()
    memories = own.get("memory") or {}
    if memories.get("family") != models.family(model).name:
        memories = memory.shown(model)
    size = own.get("size", default_size())
    return [gr.skip(), gr.skip(), size, memories, own.get("direction", "both"), own.get("pause", False)]


def shown_memory(model: str, now: dict[str, Any]) -> Any:
    """The memory settings of a model that was chosen; those of one family stay for another of its models."""
    if models.family(model).name == (now or {}).get("family"):
        return gr.skip()
    return memory.shown(model)


def inference_size(size: float) -> int | None:
    """Pixels of the shorter side, None for the video's own. Raises InputError for what the page does not offer."""
    return None if size == ORIGINAL_SIZE else whole(size, "The inference size", MIN_SIZE, SIZES[-1])


def values(settings: TrackSettings) -> list[Any]:
    """The reverse of `read`, for the controls of a session that goes on."""
    return [
        settings.model,
        gr.skip(),  # the device is this machine's
        _size_of(settings),
        memory.of_session(settings),
        settings.direction,
        settings.pause_at_cuts,
    ]


def _size_of(settings: TrackSettings) -> Any:
    """A size that the page does not offer by itself, as a program may have chosen, is offered then."""
    size = settings.size or ORIGINAL_SIZE
    return size if size in (*allowed_sizes(), ORIGINAL_SIZE) else gr.update(choices=size_choices(size), value=size)


def size_choices(*more: int) -> list[tuple[str, int]]:
    return [*((f"{size} pixels", size) for size in sorted((*allowed_sizes(), *more))), ("As the video", ORIGINAL_SIZE)]


def allowed_sizes() -> list[int]:
    """Those of `SIZES` at which pictures of 16:9 are within the limit here; the smallest in any case."""
    most = (limits().inference_pixels * 9 / 16) ** 0.5
    return [size for size in SIZES if size <= max(most, SIZES[0])]


def default_size() -> int:
    return min(CPU_SIZE if models.device_choices()[0][1] == "cpu" else GPU_SIZE, allowed_sizes()[-1])


def may_grow() -> bool:
    """Whether runs that are quick with it take a larger size than the default one: see `demo.runs.preflight`."""
    return default_size() == CPU_SIZE and GPU_SIZE in allowed_sizes()


def choose_model(name: str, device: str) -> Iterator[tuple[Any, str, str]]:
    """A checkpoint was chosen: fetch it if it is not at hand, and say which one works from now on.

    Yields updates of (model choice, message, status line).
    """
    for latest in models.make_ready(name):
        if isinstance(latest, str):
            yield gr.skip(), latest, gr.skip()
    choice = {"value": latest.name} if latest.note else {}
    said = panels.message(latest.note, "bad")
    yield gr.update(choices=models.model_choices(), **choice), said, models.status(latest.name, device)
