"""Step 1: a video, the sample or a bundle is chosen; what it is; which part of it is worked on."""

import logging
from pathlib import Path
from typing import Any

import gradio as gr

import xmem
from demo.events.paint import stamp
from demo.html import panels
from demo.runs import settings
from demo.visit import canvas, scene, studio
from xmem.render.overlay import tint
from xmem.review.preflight import preflight
from xmem.session import Session, TrackSettings
from xmem.video import VideoInfo, first_frame

SAMPLES = Path(__file__).parents[1] / "samples"
SAMPLE_VIDEO = SAMPLES / "big-buck-bunny.mp4"
SAMPLE_MASK = SAMPLES / "big-buck-bunny.png"
SAMPLE_OBJECT = "Bunny"

log = logging.getLogger("xmem.demo")

# Updates of (canvas, note, about, first frame, last frame, result video, step 4, step 5, results, paint block, panel,
# opacity, growth, holes, specks, refreshed, restyled)
Opened = tuple[Any, ...]
UNTOUCHED = (gr.skip(),) * 17


def load_video(video: str | None, request: gr.Request) -> Opened:
    """A video was chosen: a new session with its first frame on the canvas."""
    if video is None:
        return take_away(request)
    try:
        session = studio.begin_session(request, video)
        return opened(session, facts(session.info))
    except xmem.InputError as error:
        studio.end_session(request)
        return nothing(panels.message(str(error), "bad"))


def take_away(request: gr.Request) -> Opened:
    """The video was taken away, and the work on it goes with it."""
    studio.workspace_of(request).request_stop()
    studio.end_session(request)
    return nothing("")


def load_sample(request: gr.Request) -> tuple[Any, ...]:
    """The bundled clip, with its mask already painted."""
    session = sample_session(request)
    note = facts(session.info)
    note += panels.message("The sample, Big Buck Bunny, is loaded and painted: press Run.", "good")
    return str(SAMPLE_VIDEO), *opened(session, note)


def sample_session(request: gr.Request) -> Session:
    session = studio.begin_session(request, SAMPLE_VIDEO)
    index, _ = canvas.of_mask(str(SAMPLE_MASK), session.info.width, session.info.height)
    session.set_key_frame(0, index)
    session.update_object(1, name=SAMPLE_OBJECT)
    return session


def open_bundle(bundle: str | None, request: gr.Request) -> tuple[Any, ...]:
    """A bundle was chosen: go on where it was saved. Updates of (video, *opened, *settings)."""
    settings_untouched = [gr.skip()] * len(settings.values(TrackSettings()))
    if bundle is None:
        return gr.skip(), *UNTOUCHED, *settings_untouched
    try:
        session = studio.resume_session(request, bundle)
    except xmem.InputError as error:
        refused = list(UNTOUCHED)
        refused[1] = panels.message(str(error), "bad")
        return gr.skip(), *refused, *settings_untouched
    note = facts(session.info)
    note += panels.message(f"{session.name} is as you left it: {keys_and_results(session)}.", "good")
    return str(session.video), *opened(session, note), *settings.values(session.settings)


def keys_and_results(session: Session) -> str:
    """What a session holds: "2 key frames, 90 of 90 frames tracked"."""
    keys = len(session.key_frames)
    found = sum(session.has_result(frame) for frame in range(session.first, session.last + 1))
    total = session.last - session.first + 1
    return f"{keys} key frame{'' if keys == 1 else 's'}, {found} of {total} frames tracked"


def opened(session: Session, note: str) -> Opened:
    """What the page shows of a session that was just begun or resumed."""
    first = session.key_frames[0].frame if session.key_frames else session.first
    frame = min(max(first, session.first), session.last)
    has_result = studio.has_result(session)
    shown, block = gr.update(visible=has_result), gr.update(visible=True)
    slider = {"minimum": 1, "maximum": max(2, session.frame_count), "interactive": session.frame_count > 1}
    return (
        scene.of_frame(session, frame),
        note,
        block,
        gr.update(value=session.first + 1, **slider),
        gr.update(value=session.last + 1, **slider),
        None,
        shown,
        shown,
        shown,
        block,
        panels.busy("Writing the video…") if has_result else panels.idle(),
        session.style.opacity,
        session.post.grow,
        session.post.fill_holes,
        session.post.drop_specks,
        stamp(),
        stamp() if has_result else gr.skip(),
    )


def nothing(note: str) -> Opened:
    """The page without a video."""
    hidden = gr.update(visible=False)
    empty = {"empty": True, "ack": f"none-{stamp()}"}
    sliders, looks = [gr.skip()] * 2, [gr.skip()] * 4
    blocks = [hidden] * 4
    return empty, note, hidden, *sliders, None, *blocks, panels.idle(), *looks, stamp(), gr.skip()


def sample_picture() -> str:
    """The sample's first frame with its mask, as a data address."""
    frame = first_frame(SAMPLE_VIDEO)
    index, _ = canvas.of_mask(str(SAMPLE_MASK), frame.shape[1], frame.shape[0])
    return panels.thumbnail(tint(frame, index), 640)


def facts(info: VideoInfo) -> str:
    """What is known of a video at once, as a row of small labels, and what to mind about it."""
    found = preflight(info)
    return panels.facts(found.lines()) + "".join(panels.message(warning) for warning in found.warnings)


def trim(first: float, last: float, request: gr.Request) -> tuple[Any, ...]:
    """The range of frames to work on was changed. Updates of (first, last, message, canvas, refreshed, restyled)."""
    try:
        with studio.editing(request) as session:
            lowest, highest = sorted((int(first) - 1, int(last) - 1))
            session.set_trim(lowest, highest)
            shown = scene.of_frame(session, lowest)
            has_result = studio.has_result(session)
    except xmem.InputError as error:
        return gr.skip(), gr.skip(), panels.message(str(error), "bad"), gr.skip(), gr.skip(), gr.skip()
    count = highest - lowest + 1
    note = f"Frames {lowest + 1} to {highest + 1} are worked on: {count} of {session.frame_count}."
    said = panels.message(note) if count < session.frame_count else ""
    return lowest + 1, highest + 1, said, shown, stamp(), stamp() if has_result else gr.skip()
