"""The tab Looks: how the result looks, chosen from pictures of the visitor's own frame, without tracking again."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from html import escape
from pathlib import Path
from typing import Any

import cv2
import gradio as gr
import numpy as np

import xmem
from demo.failures import in_words
from demo.html import panels, pictures
from demo.runs.follow import follow
from demo.runs.track import TrackStep
from demo.tabs import common as tabs
from demo.visit import studio
from demo.visit.asked import uploaded
from demo.visit.given import GivenImage
from demo.wiring import QUIET, RENDERINGS, Counters
from xmem.export import ExportProgress, export
from xmem.render.styles import STYLES, Style, StyleRenderer
from xmem.render.tracked import TrackedFrame
from xmem.session import Session

NAME = "looks"  # of this tab's Stop
MIDDLE = -1  # stands for the frame in the middle of the video
THUMBNAIL_WIDTH = 320  # pixels, twice what is shown, for sharp screens
PREVIEW_WIDTH = 960  # pixels
NO_RESULT = "Paint and run first: then the looks are shown on your own video."

NO_PICTURE = "No picture is chosen yet, so that grey is shown in its place: choose one."
GREY = "#8f949b"

# the looks that each control changes
WITH_OPACITY = ("tint", "tint_contour", "wipe")
WITH_STRENGTH = (
    "spotlight_grey",
    "spotlight_dim",
    "blur_background",
    "blur_object",
    "pixelate_background",
    "pixelate_object",
)

PREVIEW_DESCRIPTION = (
    "One frame of the result in a look, as a picture, from the stored masks. kind: one of the looks; opacity "
    "(0 to 1): of tints; strength (0 to 1): of dimming, blur and pixels; background: colour behind a cut-out, like "
    "#00b140; image: picture behind a cut-out; frame: its number, -1 for the middle."
)
APPLY_DESCRIPTION = (
    "Render the result in a look, from the stored masks, without another run, and keep the look for later renderings; "
    "parameters as for `looks_preview`. Returns the video (mp4)."
)
# Gradio names each radio button differently, so that browsers do not go from one to the next with arrow keys.
ARROW_KEYS = """
const steps = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };
document.addEventListener("keydown", (event) => {
  const button = event.target.closest?.("#looks-kind input"), step = steps[event.key];
  if (!button || !step) return;
  event.preventDefault();
  const all = [...document.querySelectorAll("#looks-kind input")];
  const next = all[(all.indexOf(button) + step + all.length) % all.length];
  next.focus();
  next.click();
});
"""


@dataclass(frozen=True)
class LooksTab:
    kind: gr.Radio
    pictures: gr.HTML
    preview: gr.HTML
    frame: gr.Slider
    opacity: gr.Slider
    strength: gr.Slider
    background: gr.ColorPicker
    image: gr.Image
    apply: gr.Button
    stop: gr.Button
    panel: gr.HTML  # what became of the whole video
    video: gr.Video
    video_file: gr.DownloadButton
    note: gr.HTML  # about the preview: it may come later than the video, and must not wipe its message

    @property
    def choices(self) -> list:
        """In the order of `preview` and `apply_style`."""
        return [self.kind, self.opacity, self.strength, self.background, self.image]


def build() -> LooksTab:
    default = Style()
    pictures = gr.HTML(panels.message(NO_RESULT), js_on_load=ARROW_KEYS, elem_id="looks-pictures")
    kind = gr.Radio(
        [(label, kind) for kind, label in STYLES.items()],
        value=default.kind,
        label="Look",
        show_label=False,
        container=False,
        elem_id="looks-kind",
    )
    with gr.Row(elem_id="looks-row"):
        with gr.Column(scale=7, min_width=280):
            preview = gr.HTML(apply_default_css=False, elem_id="looks-preview")
            frame = gr.Slider(1, 2, 1, step=1, label="Frame of the preview", elem_id="looks-frame")
        with gr.Column(scale=4, min_width=240):
            controls = _controls(default)
            with gr.Row():
                apply = gr.Button("Make the video", variant="primary", elem_id="looks-apply")
                stop = gr.Button("Stop", variant="stop", visible=False, elem_id="looks-stop")
            panel = gr.HTML(elem_id="looks-panel")
            note = gr.HTML(elem_id="looks-note")
    video = gr.Video(
        interactive=False, show_label=False, buttons=[], autoplay=True, loop=True, visible=False, elem_id="result-video"
    )
    file = gr.DownloadButton("Download video", variant="primary", visible=False, scale=0, elem_id="download-video")
    return LooksTab(kind, pictures, preview, frame, *controls, apply, stop, panel, video, file, note)


def _controls(style: Style) -> tuple[gr.Slider, gr.Slider, gr.ColorPicker, gr.Image]:
    shown = _shown(style.kind)
    opacity = gr.Slider(
        0, 1, style.opacity, step=0.05, label="Opacity", visible=shown["opacity"], elem_id="looks-opacity"
    )
    strength = gr.Slider(
        0, 1, style.strength, step=0.05, label="Strength", visible=shown["strength"], elem_id="looks-strength"
    )
    background = gr.ColorPicker(
        style.background, label="Background colour", visible=shown["background"], elem_id="looks-background"
    )
    image = GivenImage(
        type="filepath",
        sources=["upload"],
        label="Background picture",
        height=170,
        visible=shown["image"],
        buttons=[],
        elem_id="looks-image",
    )
    return opacity, strength, background, image


def wire(step: LooksTab, track: TrackStep, changed: Counters) -> None:
    drawn = {"trigger_mode": "always_last", **QUIET}
    looked = [step.background.change, step.image.change, step.frame.release]
    gr.on(
        [step.kind.change, step.opacity.release, step.strength.release, *looked],
        preview,
        [*step.choices, step.frame],
        [step.preview, step.note],
        **drawn,
    )
    step.kind.change(controls, step.kind, [step.opacity, step.strength, step.background, step.image], **drawn)
    gr.on(looked, gallery, [step.background, step.image, step.frame], step.pictures, **drawn)
    changed.refreshed.change(
        refresh, [*step.choices, step.frame], [step.frame, step.pictures, step.preview, step.note], **drawn
    )
    del track  # all comes from the session
    outputs = [step.panel, step.video, step.video_file]
    tabs.wire_work(NAME, [step.apply, step.stop], step.panel, apply, step.choices, outputs, **RENDERINGS)
    tabs.wire_stop(NAME, step.stop)
    step.video.change(shown, step.video, [step.video, step.video_file], **QUIET)
    with gr.Column(visible=False):
        number = gr.Number(MIDDLE, precision=0, label="frame")
        picture = gr.Image(label="picture", format="jpeg")
        tabs.endpoint("looks_preview", looks_preview, [*step.choices, number], [picture], PREVIEW_DESCRIPTION)
        video = gr.File(label="video")
        tabs.endpoint("apply_style", apply_style, step.choices, [video], APPLY_DESCRIPTION, **RENDERINGS)


# What the controls do


def style_of(
    kind: str, opacity: float, strength: float, background: str | None, image: str | None, request: gr.Request | None
) -> Style:
    """The style that the controls say. Raises InputError for what cannot be one, also for another visitor's picture."""
    picture = str(uploaded(image, request)) if image else None
    return Style(kind, float(opacity), float(strength), hex_colour(background or Style().background), picture)


def hex_colour(colour: str) -> str:
    """#rrggbb of what a colour picker gives, which may be "rgba(0, 177.3, 64, 1)" as well. Raises InputError."""
    code = colour.strip().lower()
    if re.fullmatch(r"#[0-9a-f]{6}([0-9a-f]{2})?", code):
        return code[:7]
    levels = re.fullmatch(r"rgba?\(([\d.]+),\s*([\d.]+),\s*([\d.]+)(,\s*[\d.]+)?\)", code)
    if levels is None:
        raise xmem.InputError("The colour cannot be read: choose it again, or write it like #00b140.")
    return "#" + "".join(f"{min(255, round(float(level))):02x}" for level in levels.groups()[:3])


def controls(kind: str) -> list[Any]:
    """A look was chosen: the controls that change it are shown. Updates of (opacity, strength, background, image)."""
    return [gr.update(visible=visible) for visible in _shown(kind).values()]


def shown(video: Any) -> tuple[Any, Any]:
    """There is a video now, or none any more. Updates of (video, its download)."""
    is_there = gr.update(visible=video is not None)
    return is_there, is_there


def _shown(kind: str) -> dict[str, bool]:
    return {
        "opacity": kind in WITH_OPACITY,
        "strength": kind in WITH_STRENGTH,
        "background": kind == "cutout_colour",
        "image": kind == "cutout_image",
    }


def refresh(
    kind: str, opacity: float, strength: float, background: str, image: str | None, number: float, request: gr.Request
) -> tuple[Any, str, str, str]:
    """The result changed. Updates of (frame slider, pictures of the looks, preview as HTML, message)."""
    try:
        session = tabs.tracked(request)
        style = style_of(kind, opacity, strength, background, image, request)
    except xmem.InputError:
        return gr.skip(), panels.message(NO_RESULT), "", ""
    shown = tracked_frame(session, number - 1 if number > 1 else MIDDLE)
    number = shown.frame.index + 1
    slider = gr.update(minimum=session.first + 1, maximum=session.last + 1, value=number)
    return slider, gallery(background, image, number, request), preview_html(session, shown, style), ""


def gallery(background: str | None, image: str | None, number: float, request: gr.Request) -> str:
    """The pictures of the looks, as a style sheet for the radio buttons; a line where there is no result yet."""
    try:
        session = tabs.tracked(request)
        styles = [style_of(kind, 0.5, 0.5, background, image, request) for kind in STYLES]
    except xmem.InputError:
        return panels.message(NO_RESULT)
    tracked = smaller(tracked_frame(session, number - 1), THUMBNAIL_WIDTH)
    height, width = tracked.mask.shape
    rules = [f"#looks-kind {{ --shape: {width} / {height}; }}"]
    for place, style in enumerate(styles, start=1):
        picture = pictures.small(render(session, tracked, style), width)
        rules.append(f'#looks-kind label:nth-of-type({place}) {{ --picture: url("{picture}"); }}')
    return f"<style>{' '.join(rules)}</style>"


@in_words(lambda sentence, *_: (gr.skip(), panels.message(sentence, "bad")))
def preview(
    kind: str,
    opacity: float,
    strength: float,
    background: str,
    image: str | None,
    number: float,
    request: gr.Request,
) -> Iterator[tuple[Any, str]]:
    """A frame, counted from 1, in a look: (picture as HTML, message)."""
    style = style_of(kind, opacity, strength, background, image, request)
    session = tabs.tracked(request)
    shown = preview_html(session, tracked_frame(session, number - 1), style)
    yield shown, panels.message(NO_PICTURE if lacks_picture(style) else "")


@in_words()
def looks_preview(
    kind: str,
    opacity: float,
    strength: float,
    background: str,
    image: str | None = None,
    frame: float = MIDDLE,
    request: gr.Request | None = None,
) -> np.ndarray:
    """For programs: a frame, counted from 0, in a look, uint8 [h, w, 3]."""
    session = tabs.tracked(request)
    style = style_of(kind, opacity, strength, background, image, request)
    return render(session, smaller(tracked_frame(session, frame), PREVIEW_WIDTH), style)


def preview_html(session: Session, tracked: TrackedFrame, style: Style) -> str:
    """A frame in a look, large."""
    picture = render(session, smaller(tracked, PREVIEW_WIDTH), style)
    said = f"Frame {tracked.frame.index + 1} in the look: {STYLES[style.kind]}"
    return f'<img src="{pictures.small(picture, picture.shape[1])}" alt="{escape(said)}" decoding="sync">'


@in_words(lambda sentence, *_: (panels.failed(sentence), gr.skip(), gr.skip()))
def apply(
    kind: str, opacity: float, strength: float, background: str, image: str | None, request: gr.Request
) -> Iterator[tuple[str, Any, Any]]:
    """The whole video in a look. Yields (progress as HTML, video, its download), the files last."""
    yield from _applied(style_of(kind, opacity, strength, background, image, request), request)


def apply_style(
    kind: str,
    opacity: float,
    strength: float,
    background: str,
    image: str | None = None,
    request: gr.Request | None = None,
) -> Iterator[str]:
    """For programs: the whole video in a look."""
    for _, video, _ in apply(kind, opacity, strength, background, image, request):
        if isinstance(video, str):
            yield video


def _applied(style: Style, request: gr.Request) -> Iterator[tuple[str, Any, Any]]:
    workspace, session = studio.workspace_of(request), tabs.tracked(request)
    if studio.is_running(request):  # whose masks are not all there yet
        raise xmem.InputError("A run is going on: wait until it is done, or press Stop.")
    begun = time.monotonic()
    with workspace.new_folder("files-") as folder, tabs.stoppable(workspace, NAME) as stop:
        for latest in follow(_overlay(Styled(session, style), folder, tabs.stem_of(session))):
            workspace.keep_alive()
            workspace.check_here()
            if isinstance(latest, Path):
                with studio.editing(request) as changed:
                    changed.set_style(style)
                video = studio.handed(request, latest)
                yield _done(session, style, time.monotonic() - begun), video, video
                return
            if stop.exists():
                yield panels.message("Stopped: the video is as it was."), gr.skip(), gr.skip()
                return
            yield tabs.rendering("Rendering", latest), gr.skip(), gr.skip()


def _done(session: Session, style: Style, seconds: float) -> str:
    frames = f"{session.length} frames in {panels.duration(seconds)}"
    said = f"{STYLES[style.kind]}: {frames}, without tracking again. {tabs.without_result(session)}"
    return panels.message(said.strip(), "good")


def _overlay(source: Styled, folder: Path, stem: str) -> Iterator[ExportProgress | Path]:
    """The overlay video: how far it is, and in the end its path."""
    yield (yield from export("overlay", source, folder, stem))


def lacks_picture(style: Style) -> bool:
    """Whether the look still needs a picture to be chosen."""
    return style.kind == "cutout_image" and not style.image


class Styled:
    """A session in another look, to render from; the session itself stays as it is."""

    def __init__(self, session: Session, style: Style):
        self.style = style
        self._session = session

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)


# Frames


def tracked_frame(session: Session, frame: float = MIDDLE) -> TrackedFrame:
    """A frame, counted from 0, with its masks; one outside the trimmed range stands for the middle of it."""
    number = int(MIDDLE if frame is None else frame)
    if not session.first <= number <= session.last:
        number = (session.first + session.last) // 2
    return next(iter(session.frames(number, number)))


def smaller(tracked: TrackedFrame, width: int) -> TrackedFrame:
    """The frame `width` pixels wide, or as it is where it is no wider."""
    height, source_width = tracked.mask.shape
    if source_width <= width:
        return tracked
    size = (width, max(1, round(height * width / source_width)))
    image = cv2.resize(tracked.frame.image, size, interpolation=cv2.INTER_AREA)
    mask = cv2.resize(tracked.mask, size, interpolation=cv2.INTER_NEAREST)
    frame = replace(tracked.frame, image=image)

    @cache
    def matte(object_id: int) -> np.ndarray:
        return cv2.resize(tracked.matte(object_id), size, interpolation=cv2.INTER_AREA)

    return replace(tracked, frame=frame, mask=mask, matte=matte)


def render(session: Session, tracked: TrackedFrame, style: Style) -> np.ndarray:
    """The frame in a look, uint8 [h, w, 3]; a wipe stands at its middle, a missing picture is grey."""
    if lacks_picture(style):
        style = replace(style, kind="cutout_colour", background=GREY)
    height, width = tracked.mask.shape
    return StyleRenderer(style, width, height, tabs.colours_of(session)).render(tracked, 0.5)
