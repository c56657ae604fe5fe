"""The page: components and their wiring, no logic."""

from dataclasses import dataclass
from typing import Any

import gradio as gr
from gradio.components import Component

from demo import events, panels, style
from xmem.config import MemoryConfig
from xmem.render.palette import OBJECT_COLORS

CACHE_SWEEP_SECONDS = 600
CACHE_MAX_AGE_SECONDS = 6 * 3600
VISITORS_AT_ONCE = 16  # for all but the run, of which there is one at a time
PRIVATE = {"api_visibility": "private"}

API_DESCRIPTION = (
    "Follow objects through a video. painting: {'background': None, 'layers': [image], 'composite': None}, where the "
    "image is a mask (palette, grey, RGB or RGBA) of the shape of the video; with fill_outlines, holes in it are "
    "filled. size: shorter side for inference in pixels, 0 for that of the video. Returns the last progress as HTML, "
    "the overlay video (mp4), and a ZIP of index masks (palette PNGs)."
)

# A click on a colour's name picks the editor's brush and that colour, whose own buttons have no names.
PICK_BRUSH = """
element.addEventListener("click", async (event) => {
  const swatch = event.target.closest(".swatch");
  const editor = document.querySelector("#canvas");
  if (!swatch || !editor) return;
  const press = (label) => editor.querySelector(`button[aria-label="${label}"]`)?.click();
  const colours = () => editor.querySelectorAll("button.color");
  const wait = () => new Promise((done) => setTimeout(done, 60));
  if (!editor.querySelector('button[aria-label="Color"]')) { press("Brush"); await wait(); }
  if (!colours().length) { press("Color"); await wait(); }
  colours()[swatch.dataset.index]?.click();
  for (const other of element.querySelectorAll(".swatch")) other.setAttribute("aria-pressed", other === swatch);
});
element.querySelector(".swatch")?.setAttribute("aria-pressed", "true");
"""


@dataclass(frozen=True)
class VideoStep:
    video: gr.Video
    sample: gr.Button
    note: gr.HTML


@dataclass(frozen=True)
class PaintStep:
    block: gr.Column
    canvas: gr.ImageEditor
    understood: gr.HTML
    fill: gr.Checkbox
    clear: gr.Button
    mask: gr.UploadButton
    note: gr.HTML


@dataclass(frozen=True)
class TrackStep:
    run: gr.Button
    stop: gr.Button
    panel: gr.HTML
    results: gr.Column
    video: gr.Video
    video_file: gr.DownloadButton
    masks_file: gr.DownloadButton
    model: gr.Dropdown
    device: gr.Dropdown
    model_note: gr.HTML
    settings: list[Component]  # in the order of `events.track`


def build_demo() -> tuple[gr.Blocks, dict[str, Any]]:
    """The page, and what its `launch` needs (theme, style sheet, the folder of the sample)."""
    device, model = events.device_choices()[0][1], events.default_model()
    with gr.Blocks(
        title="XMem: follow an object through a video",
        analytics_enabled=False,
        delete_cache=(CACHE_SWEEP_SECONDS, CACHE_MAX_AGE_SECONDS),
    ) as demo:
        with gr.Row(elem_id="masthead"):
            gr.HTML(panels.MASTHEAD)
            status = gr.HTML(events.status(model, device), elem_id="status")
        video, paint = _video_step(), _paint_step()
        track = _track_step(model, device)
        _wire_video(video, paint)
        _wire_paint(video, paint)
        _wire_model(track, status)
        _wire_run(video, paint, track)
        demo.unload(events.leave)
    demo.queue(default_concurrency_limit=VISITORS_AT_ONCE)
    return demo, {
        "theme": style.theme(),
        "css": style.CSS + style.sample_css(events.sample_picture()),
        "allowed_paths": [str(events.SAMPLES)],
        "footer_links": ["api"],
    }


def _video_step() -> VideoStep:
    with gr.Column(elem_classes="step", elem_id="step-video"):
        gr.HTML(panels.heading(1, "Video", "Choose a clip, or take the sample."))
        with gr.Row(equal_height=True):
            with gr.Column(scale=7, min_width=280):
                video = gr.Video(sources=["upload"], show_label=False, height=300, elem_id="video", buttons=[])
            with gr.Column(scale=4, min_width=240):
                sample = gr.Button("Try the sample", elem_id="sample")
        note = gr.HTML(elem_id="video-note")
    return VideoStep(video, sample, note)


def _paint_step() -> PaintStep:
    colors = [color for _, color in OBJECT_COLORS]
    with gr.Column(elem_classes="step", elem_id="step-paint"):
        gr.HTML(panels.heading(2, "Paint", "On the first frame, one colour per object."))
        gr.HTML(panels.WAITING_FOR_VIDEO, elem_id="paint-empty")
        with gr.Column(visible=False, elem_id="paint-block") as block:
            gr.HTML(panels.legend(), js_on_load=PICK_BRUSH, apply_default_css=False, elem_id="legend")
            with gr.Row():
                with gr.Column(scale=7, min_width=280, elem_id="canvas-column"):
                    canvas = gr.ImageEditor(
                        type="numpy",
                        image_mode="RGBA",
                        format="png",
                        sources=(),
                        transforms=(),
                        layers=gr.LayerOptions(allow_additional_layers=False, layers=["Objects"]),
                        brush=gr.Brush(default_size=8, colors=colors, default_color=colors[0], color_mode="fixed"),
                        eraser=gr.Eraser(default_size=14),
                        show_label=False,
                        buttons=[],
                        elem_id="canvas",
                    )
                with gr.Column(scale=4, min_width=240):
                    understood = gr.HTML(panels.understood("", "", ""), elem_id="understood")
                    note = gr.HTML(elem_id="mask-note")
                    fill = gr.Checkbox(
                        True, label="Fill outlines", info="A closed stroke stands for its inside.", elem_id="fill"
                    )
                    with gr.Row():
                        clear = gr.Button("Clear", size="md", min_width=100, elem_id="clear")
                        mask = gr.UploadButton(
                            "Upload a mask", file_types=["image"], size="md", min_width=130, elem_id="mask-file"
                        )
    return PaintStep(block, canvas, understood, fill, clear, mask, note)


def _track_step(model: str, device: str) -> TrackStep:
    with gr.Column(elem_classes="step", elem_id="step-track"):
        gr.HTML(panels.heading(3, "Track", "Through every frame of the video."))
        with gr.Row():
            run = gr.Button("Run", variant="primary", elem_id="run", min_width=160)
            stop = gr.Button("Stop", variant="stop", elem_id="stop", visible=False, min_width=160)
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
                masks_file = gr.DownloadButton("Download masks (ZIP)", elem_id="download-masks")
        with gr.Accordion("Settings", open=False, elem_id="settings"):
            with gr.Row():
                model_choice = gr.Dropdown(events.model_choices(), value=model, label="Model", elem_id="model")
                device_choice = gr.Dropdown(events.device_choices(), value=device, label="Device")
            model_note = gr.HTML(elem_id="model-note")
            settings = [model_choice, device_choice, *_common_settings(), *_memory_settings()]
    return TrackStep(
        run, stop, panel, results, video, video_file, masks_file, model_choice, device_choice, model_note, settings
    )


def _common_settings() -> list[Component]:
    sizes = [(f"{size} pixels", size) for size in (240, 288, events.CPU_SIZE, events.GPU_SIZE, 720)]
    sizes.append(("As the video", events.ORIGINAL_SIZE))
    with gr.Row():
        size = gr.Dropdown(
            sizes,
            value=events.default_size(),
            label="Inference size",
            info="Shorter side while tracking; larger is finer and slower. Results keep the video's size.",
        )
        opacity = gr.Slider(0, 1, 0.5, step=0.05, label="Overlay opacity", info="How much the colours cover.")
    return [size, opacity]


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


def _wire_video(step: VideoStep, paint: PaintStep) -> None:
    outputs = [paint.canvas, step.note, paint.block]
    loaded = {"outputs": outputs, "show_progress": "minimal", **PRIVATE}
    step.video.upload(events.load_video, step.video, **loaded)
    step.video.clear(lambda: events.load_video(None), None, **loaded)
    step.sample.click(events.load_sample, None, [step.video, *outputs], show_progress="minimal", **PRIVATE)


def _wire_paint(step: VideoStep, paint: PaintStep) -> None:
    # a stroke is an input of the editor, a mask that was loaded into it a change
    gr.on(
        [paint.canvas.input, paint.canvas.change, paint.fill.change],
        events.read_painting,
        [paint.canvas, paint.fill],
        paint.understood,
        show_progress="hidden",
        trigger_mode="always_last",
        **PRIVATE,
    )
    paint.clear.click(
        events.clear_painting,
        step.video,
        [paint.canvas, paint.understood, paint.note],
        show_progress="hidden",
        **PRIVATE,
    )
    paint.mask.upload(
        events.upload_mask,
        [paint.mask, step.video],
        [paint.canvas, paint.fill, paint.note],
        show_progress="hidden",
        **PRIVATE,
    )


def _wire_model(track: TrackStep, status: gr.HTML) -> None:
    gr.on(
        [track.model.input, track.device.input],
        events.choose_model,
        [track.model, track.device],
        [track.model, track.model_note, status],
        show_progress="hidden",
        **PRIVATE,
    )


def _wire_run(step: VideoStep, paint: PaintStep, track: TrackStep) -> None:
    begun = track.run.click(
        events.begin,
        None,
        [track.panel, track.run, track.stop, track.video, track.results],
        queue=False,
        show_progress="hidden",
        **PRIVATE,
    )
    ran = begun.then(
        events.track,
        [step.video, paint.canvas, paint.fill, *track.settings],
        [track.panel, track.video, track.masks_file],
        show_progress="hidden",
        concurrency_limit=1,
        concurrency_id="run",
        api_name="track",
        api_description=API_DESCRIPTION,
    )
    outputs = [track.run, track.stop, track.video_file, track.results]
    for ended in (ran.success, ran.failure):  # `then` alone does not follow a generator that failed
        ended(events.finish, track.video, outputs, show_progress="hidden", **PRIVATE)
    track.stop.click(events.stop, None, track.stop, queue=False, show_progress="hidden", **PRIVATE)
