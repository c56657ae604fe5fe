"""The settings of a run: their controls, and what these say as `TrackSettings`."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import gradio as gr
from gradio.components import Component

import xmem
from demo.html import panels
from demo.runs import models
from demo.visit.asked import whole
from demo.wiring import QUIET
from xmem.limits import MIN_SIZE
from xmem.session import TrackSettings

ORIGINAL_SIZE = 0  # the choice "as the video"
CPU_SIZE = 384  # pixels: xmem-lite scores 80.2 J&F there, of 82.0 at 480, in two thirds of the pixels
GPU_SIZE = 480  # pixels: the paper's
SIZES = (240, 288, CPU_SIZE, GPU_SIZE, 720)

# Lowest and highest value of each setting of the memories, in their order on the page.
RANGES = {
    "mem_every": (1, 30),
    "min_working_frames": (1, 30),
    "max_working_frames": (2, 60),
    "prototypes": (16, 512),
    "max_long_term": (512, 20_000),
    "top_k": (1, 100),
    "deep_update_every": (-1, 20),
}

DIRECTIONS = [("Both ways", "both"), ("Forward only", "forward"), ("Backward only", "backward")]


@dataclass(frozen=True)
class SettingsPanel:
    model: gr.Dropdown
    device: gr.Dropdown
    size: gr.Dropdown
    model_note: gr.HTML
    accuracy: gr.HTML
    memory: list[Component]
    direction: gr.Radio
    pause: gr.Checkbox

    @property
    def controls(self) -> list[Component]:
        """In the order of `read`."""
        return [self.model, self.device, self.size, *self.memory, self.direction, self.pause]


def build() -> SettingsPanel:
    chosen = models.default_model()
    with gr.Accordion("Settings", open=False, elem_id="settings"):
        model = gr.Dropdown(models.model_choices(), value=chosen, label="Model", elem_id="model")
        accuracy = gr.HTML(models.accuracy(chosen), elem_id="model-accuracy")
        model_note = gr.HTML(elem_id="model-note")
        devices = models.device_choices()
        device = gr.Dropdown(devices, value=devices[0][1], label="Device", visible=len(devices) > 1)
        size = _size()
        direction, pause = _directions()
        with gr.Accordion("Memory", open=False, elem_id="memory"):
            memory = _memory()
    return SettingsPanel(model, device, size, model_note, accuracy, memory, direction, pause)


def _size() -> gr.Dropdown:
    return gr.Dropdown(
        size_choices(),
        value=default_size(),
        label="Inference size",
        info="Shorter side while tracking; larger is finer and slower. Results keep the video's size.",
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


def _memory() -> list[Component]:
    default = xmem.MemoryConfig()
    gr.HTML(panels.MEMORY_HEADING)
    with gr.Row():
        every = gr.Slider(*RANGES["mem_every"], default.mem_every, step=1, label="Remember every r-th frame (r)")
        low = gr.Slider(
            *RANGES["min_working_frames"],
            default.min_working_frames,
            step=1,
            label="Frames kept when working memory is full (T_min)",
        )
        high = gr.Slider(
            *RANGES["max_working_frames"],
            default.max_working_frames,
            step=1,
            label="Frames that fill working memory (T_max)",
        )
    with gr.Row():
        prototypes = gr.Slider(
            *RANGES["prototypes"], default.prototypes, step=16, label="Prototypes per consolidation (P)"
        )
        longest = gr.Slider(
            *RANGES["max_long_term"], default.max_long_term, step=32, label="Size of long-term memory (LT_max)"
        )
        top_k = gr.Slider(*RANGES["top_k"], default.top_k, step=1, label="Memories read per position (top-k)")
    with gr.Row():
        deep = gr.Dropdown(
            [("With every remembered frame", -1), *((f"Every {n} frames", n) for n in (1, 2, 3, 5, 10, 20))],
            value=default.deep_update_every,
            label="Deep update of the sensory memory",
        )
        long_term = gr.Checkbox(
            default.long_term, label="Long-term memory", info="Without it, memory grows with the video."
        )
    return [every, low, high, prototypes, longest, top_k, deep, long_term]


def wire(step: SettingsPanel, status: gr.HTML) -> None:
    gr.on(
        [step.model.input, step.device.input],
        choose_model,
        [step.model, step.device],
        [step.model, step.model_note, status],
        **QUIET,
    )
    step.model.change(models.accuracy, step.model, step.accuracy, **QUIET)


# What the controls say


def read(
    model: str,
    device: str,
    size: int,
    mem_every: float,
    min_working_frames: float,
    max_working_frames: float,
    prototypes: float,
    max_long_term: float,
    top_k: float,
    deep_update_every: float,
    long_term: bool,
    direction: str = "both",
    pause_at_cuts: bool = False,
) -> TrackSettings:
    """The controls' values, in their order on the page. size: 0 for the video's own. Raises InputError."""
    chosen = memory(
        mem_every,
        min_working_frames,
        max_working_frames,
        prototypes,
        max_long_term,
        top_k,
        deep_update_every,
        long_term,
    )
    return TrackSettings(
        models.listed(model),
        models.there(device),
        inference_size(size),
        chosen if isinstance(chosen, models.family(model).config) else None,
        direction,
        pause_at_cuts,
    )


def memory(
    mem_every: float,
    min_working_frames: float,
    max_working_frames: float,
    prototypes: float,
    max_long_term: float,
    top_k: float,
    deep_update_every: float,
    long_term: bool,
) -> xmem.MemoryConfig:
    """Raises InputError for values outside of RANGES, and for a combination that cannot work."""
    given = (mem_every, min_working_frames, max_working_frames, prototypes, max_long_term, top_k, deep_update_every)
    pairs = zip(RANGES.items(), given, strict=True)
    return xmem.MemoryConfig(
        **{name: whole(value, name, *limits) for (name, limits), value in pairs}, long_term=bool(long_term)
    )


def inference_size(size: float) -> int | None:
    """Pixels of the shorter side, None for the video's own. Raises InputError for what the page does not offer."""
    return None if size == ORIGINAL_SIZE else whole(size, "The inference size", MIN_SIZE, SIZES[-1])


def values(settings: TrackSettings) -> list[Any]:
    """The reverse of `read`, for the controls of a session that goes on."""
    memory = settings.memory if isinstance(settings.memory, xmem.MemoryConfig) else xmem.MemoryConfig()
    return [
        settings.model,
        gr.skip(),  # the device is this machine's
        settings.size or ORIGINAL_SIZE,
        memory.mem_every,
        memory.min_working_frames,
        memory.max_working_frames,
        memory.prototypes,
        memory.max_long_term,
        memory.top_k,
        memory.deep_update_every,
        memory.long_term,
        settings.direction,
        settings.pause_at_cuts,
    ]


def size_choices() -> list[tuple[str, int]]:
    return [*((f"{size} pixels", size) for size in SIZES), ("As the video", ORIGINAL_SIZE)]


def default_size() -> int:
    return CPU_SIZE if models.device_choices()[0][1] == "cpu" else GPU_SIZE


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
