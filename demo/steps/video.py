"""Step 1: choose a video, the sample or a bundle; what it is; trim it."""

from dataclasses import dataclass

import gradio as gr

from demo.events import preflight, video
from demo.html import panels
from demo.shared import Shared
from demo.steps import PRIVATE, QUIET, SETTLE
from demo.steps.paint import PaintStep


@dataclass(frozen=True)
class VideoStep:
    video: gr.Video
    sample: gr.Button
    bundle: gr.UploadButton
    note: gr.HTML
    about: gr.Column
    estimate: gr.HTML
    estimate_button: gr.Button
    use_size: gr.Button
    proposed: gr.Number
    first: gr.Slider
    last: gr.Slider
    trim_note: gr.HTML


def build() -> VideoStep:
    with gr.Column(elem_classes="step", elem_id="step-video"):
        gr.HTML(panels.heading(1, "Video", "Choose a clip, or take the sample."))
        with gr.Row(equal_height=True):
            with gr.Column(scale=7, min_width=280):
                clip = gr.Video(sources=["upload"], show_label=False, height=300, elem_id="video", buttons=[])
            with gr.Column(scale=4, min_width=240):
                sample = gr.Button("Try the sample", elem_id="sample")
                bundle = gr.UploadButton(
                    "Open a bundle", file_types=[".zip"], size="sm", variant="secondary", elem_id="bundle"
                )
        note = gr.HTML(elem_id="video-note")
        with gr.Column(visible=False, elem_id="about") as about:
            with gr.Row(elem_id="estimate-row"):
                estimate = gr.HTML(elem_id="estimate")
                button = gr.Button("Estimate time and memory", size="sm", min_width=150, elem_id="estimate-button")
                use_size = gr.Button("Use", size="sm", visible=False, min_width=120, elem_id="use-size")
            proposed = gr.Number(visible=False)
            with gr.Accordion("Trim", open=False, elem_id="trim"):
                with gr.Row():
                    first = gr.Slider(1, 2, 1, step=1, label="First frame", elem_id="trim-first")
                    last = gr.Slider(1, 2, 2, step=1, label="Last frame", elem_id="trim-last")
                trim_note = gr.HTML(elem_id="trim-note")
    return VideoStep(clip, sample, bundle, note, about, estimate, button, use_size, proposed, first, last, trim_note)


def wire(step: VideoStep, paint: PaintStep, shared: Shared) -> None:
    opened = [
        paint.canvas,
        step.note,
        step.about,
        step.first,
        step.last,
        shared.result_video,
        shared.check,
        shared.take,
        shared.results,
        paint.block,
        shared.panel,
        *shared.looks,
        shared.refreshed,
        shared.restyled,
    ]
    minimal = {"show_progress": "minimal", "show_progress_on": step.note, **PRIVATE}
    uploaded = step.video.upload(video.load_video, step.video, opened, **minimal)
    step.video.clear(video.take_away, None, opened, **QUIET)
    sampled = step.sample.click(video.load_sample, None, [step.video, *opened], **minimal)
    resumed = step.bundle.upload(video.open_bundle, step.bundle, [step.video, *opened, *shared.settings], **minimal)
    estimated = [step.estimate, step.use_size, step.proposed, step.estimate_button]
    for event in (uploaded, sampled, resumed):
        event.success(preflight.announced, shared.settings, estimated, **QUIET)
    step.estimate_button.click(preflight.by_request, shared.settings, estimated, **QUIET)
    gr.on(
        [shared.model.change, shared.device.change, shared.size.change],
        preflight.announced,
        shared.settings,
        estimated,
        trigger_mode="always_last",
        **QUIET,
    )
    shared.refreshed.change(preflight.when_changed, shared.settings, estimated, trigger_mode="always_last", **QUIET)
    step.use_size.click(lambda size: int(size), step.proposed, shared.size, **QUIET)
    gr.on(
        [step.first.release, step.last.release],
        video.trim,
        [step.first, step.last],
        [step.first, step.last, step.trim_note, paint.canvas, shared.refreshed, shared.restyled],
        js=SETTLE,
        **QUIET,
    )
