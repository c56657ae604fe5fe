"""The page: its rooms in order, and what they share. No logic."""

from typing import Any

import gradio as gr

from demo import api
from demo.events import track as track_events
from demo.events.video import SAMPLES, sample_picture
from demo.html import panels, style
from demo.runs import settings
from demo.shared import Shared
from demo.steps import check, paint, take, track, video

CACHE_SWEEP_SECONDS = 600
CACHE_MAX_AGE_SECONDS = 6 * 3600
VISITORS_AT_ONCE = 16  # for all but runs and renderings, which have limits of their own


def build_demo() -> tuple[gr.Blocks, dict[str, Any]]:
    """The page, and what its `launch` needs (theme, style sheet, the folder of the sample)."""
    device, model = settings.device_choices()[0][1], settings.default_model()
    with gr.Blocks(
        title="XMem: follow an object through a video",
        analytics_enabled=False,
        delete_cache=(CACHE_SWEEP_SECONDS, CACHE_MAX_AGE_SECONDS),
    ) as demo:
        with gr.Row(elem_id="masthead"):
            gr.HTML(panels.MASTHEAD)
            status = gr.HTML(settings.status(model, device), elem_id="status")
        refreshed, restyled = gr.State(0), gr.State(0)
        video_step, paint_step, track_step = video.build(), paint.build(), track.build(model, device)
        with gr.Column(visible=False, elem_classes="step", elem_id="step-check") as check_block:
            check_step = check.build()
        with gr.Column(visible=False, elem_classes="step", elem_id="step-take") as take_block:
            take_step = take.build()
        shared = Shared(
            result_video=track_step.video,
            panel=track_step.panel,
            refreshed=refreshed,
            restyled=restyled,
            model=track_step.model,
            device=track_step.device,
            size=track_step.size,
            settings=track_step.settings,
            video_file=track_step.video_file,
            looks=[track_step.opacity, *check_step.post],
            results=track_step.results,
            check=check_block,
            take=take_block,
        )
        api.build(track_step)  # first, so that its endpoints get their names, and the page's own events others
        video.wire(video_step, paint_step, shared)
        paint.wire(paint_step, shared)
        track.wire(track_step, paint_step, shared, status)
        check.wire(check_step, paint_step, shared)
        take.wire(take_step, shared)
        demo.unload(track_events.leave)
    demo.queue(default_concurrency_limit=VISITORS_AT_ONCE)
    return demo, {
        "theme": style.theme(),
        "css": style.CSS + style.sample_css(sample_picture()),
        "allowed_paths": [str(SAMPLES)],
        "footer_links": ["api"],
    }
