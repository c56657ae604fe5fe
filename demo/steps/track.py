"""Step 3: the run, its result, and the settings."""

from dataclasses import dataclass

import gradio as gr
from gradio.components import Component

from demo.events import check, track
from demo.html import panels
from demo.runs import rendering, settings
from demo.shared import Shared
from demo.steps import QUIET, SETTLE, SETTLE_WITH_FRAME
from demo.steps.paint import PaintStep
from xmem.config import MemoryConfig

DIRECTIONS = [("Both ways", "both"), ("Forward only", "forward"), ("Backward only", "backward")]

# Where the result video stands, in seconds; and a frame number to go to.
VIDEO_TIME = "() => [document.querySelector('#result-video video')?.currentTime ?? 0]"
GO_THERE = "(frame) => { window.xmemGo(frame); }"


@dataclass(frozen=True)
class TrackStep:
    run: gr.Button
    stop: gr.Button
    waiting: gr.HTML
    panel: gr.HTML
    results: gr.Column
    video: gr.Video
    paint_here: gr.Button
    video_file: gr.DownloadButton
    model: gr.Dropdown
    device: gr.Dropdown
    size: gr.Dropdown
    opacity: gr.Slider
    model_note: gr.HTML
    accuracy: gr.HTML
    memory: list[Component]
    direction: gr.Radio
    pause: gr.Checkbox
    seconds: gr.Number
    frame: gr.Number

    @property
    def settings(self) -> list[Component]:
        """In the order of `demo.runs.settings.read`."""
        return [self.model, self.device, self.size, *self.memory, self.direction, self.pause]


def build(model: str, device: str) -> TrackStep:
    with gr.Column(elem_classes="step", elem_id="step-track"):
        gr.HTML(panels.heading(3, "Track", "Through every frame of the video."))
        with gr.Row(elem_id="run-row"):
            run = gr.Button("Run", variant="primary", elem_id="run", min_width=160, scale=0)
            stop = gr.Button("Stop", variant="stop", elem_id="stop", visible=False, min_width=160, scale=0)
            waiting = gr.HTML(elem_id="pending", min_height=0)
        panel = gr.HTML(panels.idle(), elem_id="panel")
        with gr.Column(visible=False, elem_id="results") as results:
            video = gr.Video(
                interactive=False,
                show_label=False,
                height=520,
                elem_id="result-video",
                buttons=[],
                autoplay=True,
                loop=True,
            )
            with gr.Row():
                video_file = gr.DownloadButton("Download video", variant="primary", elem_id="download-video")
                here = gr.Button("Paint here", elem_id="paint-here")
            seconds, frame = gr.Number(0, visible=False), gr.Number(0, visible=False)
        with gr.Accordion("Settings", open=False, elem_id="settings"):
            with gr.Row():
                model_choice = gr.Dropdown(settings.model_choices(), value=model, label="Model", elem_id="model")
                device_choice = gr.Dropdown(settings.device_choices(), value=device, label="Device")
            accuracy = gr.HTML(settings.accuracy(model), elem_id="model-accuracy")
            model_note = gr.HTML(elem_id="model-note")
            size, opacity = _common_settings()
            direction, pause = _direction_settings()
            memory = _memory_settings()
    return TrackStep(
        run,
        stop,
        waiting,
        panel,
        results,
        video,
        here,
        video_file,
        model_choice,
        device_choice,
        size,
        opacity,
        model_note,
        accuracy,
        memory,
        direction,
        pause,
        seconds,
        frame,
    )


def _common_settings() -> tuple[gr.Dropdown, gr.Slider]:
    with gr.Row():
        size = gr.Dropdown(
            settings.size_choices(),
            value=settings.default_size(),
            label="Inference size",
            info="Shorter side while tracking; larger is finer and slower. Results keep the video's size.",
            elem_id="size",
        )
        opacity = gr.Slider(0, 1, 0.5, step=0.05, label="Overlay opacity", info="How much the colours cover.")
    return size, opacity


def _direction_settings() -> tuple[gr.Radio, gr.Checkbox]:
    with gr.Row():
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


def _memory_settings() -> list[Component]:
    default = MemoryConfig()
    gr.HTML(panels.MEMORY_HEADING)
    with gr.Row():
        every = gr.Slider(1, 30, default.mem_every, step=1, label="Remember every r-th frame (r)")
        low = gr.Slider(
            1, 30, default.min_working_frames, step=1, label="Frames kept when working memory is full (T_min)"
        )
        high = gr.Slider(2, 60, default.max_working_frames, step=1, label="Frames that fill working memory (T_max)")
    with gr.Row():
        prototypes = gr.Slider(16, 512, default.prototypes, step=16, label="Prototypes per consolidation (P)")
        longest = gr.Slider(512, 20_000, default.max_long_term, step=32, label="Size of long-term memory (LT_max)")
        top_k = gr.Slider(1, 100, default.top_k, step=1, label="Memories read per position (top-k)")
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


def wire(step: TrackStep, paint: PaintStep, shared: Shared, status: gr.HTML) -> None:
    gr.on(
        [step.model.input, step.device.input],
        settings.choose_model,
        [step.model, step.device],
        [step.model, step.model_note, status],
        **QUIET,
    )
    step.model.change(settings.accuracy, step.model, step.accuracy, **QUIET)
    gr.on(
        [shared.refreshed.change, *(each.change for each in (step.model, step.size, step.direction, step.pause))],
        track.waiting,
        step.settings,
        step.waiting,
        trigger_mode="always_last",
        **QUIET,
    )
    step.opacity.release(check.set_opacity, step.opacity, shared.restyled, js=SETTLE, **QUIET)
    _wire_run(step, paint, shared)
    _wire_result(step, shared)


def _wire_run(step: TrackStep, paint: PaintStep, shared: Shared) -> None:
    begun = step.run.click(track.begin, None, [step.panel, step.run, step.stop], queue=False, js=SETTLE, **QUIET)
    locked = begun.then(track.lock, None, paint.canvas, queue=False, **QUIET)
    ran = locked.then(
        track.run, step.settings, step.panel, concurrency_limit=1, concurrency_id="run", show_progress_on=[], **QUIET
    )
    outputs = [step.run, step.stop, paint.canvas, shared.check, shared.take, step.results, shared.refreshed]
    for ended in (ran.success, ran.failure):  # `then` alone does not follow a generator that failed
        ended(track.finish, paint.frame, outputs, js=SETTLE_WITH_FRAME, **QUIET)
    ran.success(rendering.show, None, shared.rendered, concurrency_limit=2, concurrency_id="render", **QUIET)
    step.stop.click(track.stop, None, step.stop, queue=False, **QUIET)


def _wire_result(step: TrackStep, shared: Shared) -> None:
    shared.restyled.change(
        rendering.show,
        None,
        shared.rendered,
        trigger_mode="always_last",
        concurrency_limit=2,
        concurrency_id="render",
        **QUIET,
    )
    there = step.paint_here.click(check.frame_at, step.seconds, step.frame, js=VIDEO_TIME, **QUIET)
    there.success(None, step.frame, None, js=GO_THERE, **QUIET)
