"""The page in reading order, which is that of Tab as well. No logic.

Where a new control goes:

- `stage/video.py build`        the empty page: a clip, what is allowed, the showcase, recent work, the gallery
- `stage/painter.html .p-bar`   the canvas's tools: a mode beside brush and polygon is a button `data-tool` there
- `stage/painter.html .p-side`  objects, beside the picture
- `#run-box`                    Run and how far it is, then folded: Trim, Settings (a choice of every run); what a
                                correction reaches belongs right below Run, before the folds
- `stage/check.py build`        below the timeline: frames worth checking, masks cleaned up
- `tabs/__init__.py TABS`       what is taken away; `RESEARCH` for what few need
"""

from typing import Any

import gradio as gr
from starlette.middleware import Middleware

from demo import api, line, tabs
from demo.failures import everywhere
from demo.headers import Guard
from demo.health import Health
from demo.html import first, panels, style
from demo.runs import models, preflight, settings, track, turn
from demo.stage import check, paint, video
from demo.visit import passing, programs, studio
from demo.wiring import counters
from xmem.limits import limits
from xmem.video.stills import bound_pillow

CACHE_SWEEP_SECONDS = 600
CACHE_MAX_AGE_SECONDS = 6 * 3600
THREADS = 40
VISITS_REMEMBERED = 128  # by Gradio, which keeps half a megabyte of each; what is kept of older ones is on disk
VISITORS_AT_ONCE = 16  # for all but runs and renderings, which have limits of their own


def around() -> list[Middleware]:
    """What surrounds every answer."""
    told = {
        "folder": lambda: studio.workspaces().folder,
        "is_loaded": models.is_ready,
        "runs": lambda: len(turn.line()),
        "ends": lambda: turn.line().ends,
    }
    return [Middleware(Guard, uploads=lambda: studio.workspaces().cache), Middleware(Health, **told)]


def build_demo() -> tuple[gr.Blocks, dict[str, Any]]:
    """The page, and what its `launch` needs (theme, style sheet, folders, limits)."""
    programs.start_none()
    passing.apart()
    bound_pillow()
    first.begin_with_script()
    with gr.Blocks(
        title="XMem: follow an object through a video",
        analytics_enabled=False,
        delete_cache=(CACHE_SWEEP_SECONDS, CACHE_MAX_AGE_SECONDS),
    ) as demo:
        changed = counters()
        with gr.Row(elem_id="masthead"):
            gr.HTML(panels.MASTHEAD)
            head = video.build_head()
        video_step = video.build(*head)
        with gr.Column(elem_id="stage"):  # a style sheet shows it once there is a picture
            canvas = paint.build_canvas()
            with gr.Column(elem_id="run-box"):
                run = track.build_run()
                estimate = preflight.build()
                ends = video.build_trim()
                chosen = settings.build()
                status = gr.HTML(models.status(), elem_id="status")
            track_step = track.TrackStep(*run, chosen)
            overview = check.build_timeline()
            paint_step = paint.build(canvas)
            check_step = check.build(overview)
        take_step = tabs.build()

        api.build(chosen)  # first, so that its endpoints get their names, and the page's own events others
        later = check_step.block, take_step.block
        came_back = video.wire(
            demo, video_step, ends, estimate, later, take_step.video, paint_step, track_step, check_step, changed
        )
        paint.wire(paint_step, changed)
        track.wire(track_step, paint_step.canvas, paint_step.frame, later, status, changed, came_back)
        check.wire(check_step, paint_step, changed)
        tabs.wire(take_step, track_step, changed)
        demo.unload(studio.depart)
    demo.queue(default_concurrency_limit=VISITORS_AT_ONCE, max_size=line.WAITING, api_open=False)
    line.bound(demo._queue)
    everywhere(demo)
    return demo, {
        "theme": style.theme(),
        "css": style.CSS + models.heading_css(),
        "allowed_paths": [str(video.SAMPLES)],
        "footer_links": ["api"],
        "max_file_size": limits().upload_bytes,
        # Each run has one.
        "max_threads": THREADS + limits().runs_at_once * len(models.device_choices()) + limits().runs_waiting,
        "enable_monitoring": False,
        "run_history": False,
        "state_session_capacity": VISITS_REMEMBERED,
        "app_kwargs": {"middleware": around()},
        "_frontend": False,  # else Gradio gives up where the first answer takes 3 s, as on a busy machine
    }
