"""Step 1: choose a video, the sample or a bundle, or come back to one; what it is; which part of it is worked on."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.events import Dependency

from demo.failures import in_words
from demo.html import panels, pictures
from demo.runs import preflight, settings
from demo.runs.track import TrackStep
from demo.stage import recent
from demo.stage.check import CheckStep
from demo.stage.paint import PaintStep
from demo.visit import canvas, scene, studio
from demo.visit.asked import uploaded
from demo.wiring import PRIVATE, QUIET, SETTLE, Counters, stamp
from xmem.render.overlay import tint
from xmem.review.preflight import preflight as describe
from xmem.session import Session, TrackSettings
from xmem.video import VideoInfo, first_frame

SAMPLES = Path(__file__).parents[1] / "samples"
SAMPLE_VIDEO = SAMPLES / "big-buck-bunny.mp4"
SAMPLE_MASK = SAMPLES / "big-buck-bunny.png"
SAMPLE_OBJECT = "Bunny"

# Updates of (video, canvas, note, about, first frame, last frame, result video, step 4, step 5, results, paint block,
# panel, opacity, growth, holes, specks, refreshed, restyled)
Opened = tuple[Any, ...]
UNTOUCHED = (gr.skip(),) * 18

ADDRESS = "() => [new URLSearchParams(location.search).get('session') ?? '']"  # the key that the page's address carries


@dataclass(frozen=True)
class VideoStep:
    video: gr.Video
    sample: gr.Button
    bundle: gr.UploadButton
    recent: gr.HTML
    note: gr.HTML
    about: gr.Column
    estimate: preflight.EstimateRow
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
        recent_ones = recent.build()
        note = gr.HTML(elem_id="video-note")
        with gr.Column(visible=False, elem_id="about") as about:
            estimate = preflight.build()
            with gr.Accordion("Trim", open=False, elem_id="trim"):
                with gr.Row():
                    first = gr.Slider(1, 2, 1, step=1, label="First frame", elem_id="trim-first")
                    last = gr.Slider(1, 2, 2, step=1, label="Last frame", elem_id="trim-last")
                trim_note = gr.HTML(elem_id="trim-note")
    return VideoStep(clip, sample, bundle, recent_ones, note, about, estimate, first, last, trim_note)


def wire(
    page: gr.Blocks,
    step: VideoStep,
    paint: PaintStep,
    track: TrackStep,
    check: CheckStep,
    take: gr.Column,
    changed: Counters,
) -> Dependency:
    """take: the block of the last step. Returns the event after which the page shows the work of its address."""
    opened = [
        step.video,
        paint.canvas,
        step.note,
        step.about,
        step.first,
        step.last,
        track.video,
        check.block,
        take,
        track.results,
        paint.block,
        track.panel,
        track.settings.opacity,
        *check.post,
        changed.refreshed,
        changed.restyled,
    ]
    chosen = track.settings
    minimal = {"show_progress": "minimal", "show_progress_on": step.note, **PRIVATE}
    uploaded = step.video.upload(load_video, step.video, opened, **minimal)
    step.video.clear(take_away, None, opened, **QUIET)
    sampled = step.sample.click(load_sample, None, opened, **minimal)
    resumed = step.bundle.upload(open_bundle, step.bundle, [*opened, *chosen.controls], **minimal)
    key = gr.Textbox(visible=False)
    came_back = page.load(come_back, key, [step.recent, *opened, *chosen.controls], js=ADDRESS, **minimal)
    recent.wire(step.recent, changed)
    preflight.wire(step.estimate, [uploaded, sampled, resumed], chosen, changed)
    gr.on(
        [step.first.release, step.last.release],
        trim,
        [step.first, step.last],
        [step.first, step.last, step.trim_note, paint.canvas, changed.refreshed, changed.restyled],
        js=SETTLE,
        **QUIET,
    )
    return came_back


# What the controls do


def _refused(sentence: str, _video: str, request: gr.Request) -> Opened:
    """The page as it was: what was chosen took the place of the video in the player."""
    if not studio.has_session(request):
        return nothing(panels.message(sentence, "bad"))
    return shown_again(studio.session_of(request), panels.message(sentence, "bad"), request)


@in_words(_refused, raises=False)
def load_video(video: str | None, request: gr.Request) -> Opened:
    """A video was chosen: a new session with its first frame on the canvas."""
    if video is None:
        return take_away(request)
    session = studio.begin_session(request, uploaded(video, request))
    return opened(session, facts(session.info), gr.skip())


def take_away(request: gr.Request) -> Opened:
    """The video was taken away: the page is empty, and the work on it stays among the recent."""
    studio.leave_session(request)
    return nothing("")


def load_sample(request: gr.Request) -> Opened:
    """The bundled clip, with its mask already painted."""
    session = sample_session(request)
    note = facts(session.info)
    note += panels.message("The sample, Big Buck Bunny, is loaded and painted: press Run.", "good")
    return opened(session, note, studio.handed(request, session.video))


def sample_session(request: gr.Request) -> Session:
    session = studio.begin_session(request, SAMPLE_VIDEO)
    mask, _ = canvas.of_mask(str(SAMPLE_MASK), session.info.width, session.info.height)
    session.set_key_frame(0, mask)
    session.update_object(1, name=SAMPLE_OBJECT)
    return session


def _untouched(sentence: str = "") -> tuple[Any, ...]:
    """Everything as it is, and a message under the video. Updates of (*opened, *settings)."""
    said = panels.message(sentence, "bad") if sentence else gr.skip()
    return *UNTOUCHED[:2], said, *UNTOUCHED[3:], *_kept_settings()


def _kept_settings() -> tuple[Any, ...]:
    return (gr.skip(),) * len(settings.values(TrackSettings()))


@in_words(lambda sentence, *_: _untouched(sentence), raises=False)
def open_bundle(bundle: str | None, request: gr.Request) -> tuple[Any, ...]:
    """A bundle was chosen: go on where it was saved. Updates of (*opened, *settings)."""
    if bundle is None:
        return _untouched()
    session = studio.resume_session(request, uploaded(bundle, request))
    return *shown_again(session, _as_you_left_it(session), request), *settings.values(session.settings)


def _over(sentence: str, key: str, _request: gr.Request) -> tuple[Any, ...]:
    return recent.gone(key), *nothing(panels.message(sentence, "bad")), *_kept_settings()


@in_words(_over, raises=False)
def come_back(key: str, request: gr.Request) -> tuple[Any, ...]:
    """The page was loaded; key: what its address carries, or "". Updates of (recent, *opened, *settings)."""
    if not key:
        return gr.skip(), *_untouched()
    session = studio.join_session(request, key)
    had_a_run = session.settings != TrackSettings()
    chosen = settings.values(session.settings) if had_a_run else _kept_settings()
    shown = shown_again(session, _as_you_left_it(session), request, is_rendered=False)  # `track.join` does, after a run
    return recent.here(request), *shown, *chosen


def _as_you_left_it(session: Session) -> str:
    return panels.message(f"{session.name} is as you left it: {keys_and_results(session)}.", "good")


def keys_and_results(session: Session) -> str:
    """What a session holds: "2 key frames, 90 of 90 frames tracked", or "2 key frames" before a run."""
    keys = len(session.key_frames)
    said = f"{keys} key frame{'' if keys == 1 else 's'}"
    if not session.has_results:
        return said
    found = sum(session.has_result(frame) for frame in range(session.first, session.last + 1))
    total = session.last - session.first + 1
    return f"{said}, {found} of {total} frames tracked"


def shown_again(session: Session, said: str, request: gr.Request, is_rendered: bool = True) -> Opened:
    """What the page shows of a session that was there before, and a message."""
    return opened(session, facts(session.info) + said, studio.handed(request, session.video), is_rendered)


def opened(session: Session, note: str, player: Any, is_rendered: bool = True) -> Opened:
    """What the page shows of a session that was just begun or resumed. player: an update of the video. is_rendered:
    the result is rendered at once, where there is one."""
    first = session.key_frames[0].frame if session.key_frames else session.first
    frame = min(max(first, session.first), session.last)
    has_result = session.has_results
    shown, block = gr.update(visible=has_result), gr.update(visible=True)
    slider = {"minimum": 1, "maximum": max(2, session.frame_count), "interactive": session.frame_count > 1}
    return (
        player,
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
        panels.busy("Writing the video…") if has_result and is_rendered else panels.idle(),
        session.style.opacity,
        session.post.grow,
        session.post.fill_holes,
        session.post.drop_specks,
        stamp(),
        stamp() if has_result and is_rendered else gr.skip(),
    )


def nothing(note: str) -> Opened:
    """The page without a video."""
    hidden = gr.update(visible=False)
    empty = {"empty": True, "ack": f"none-{stamp()}"}
    sliders, looks = [gr.skip()] * 2, [gr.skip()] * 4
    blocks = [hidden] * 4
    return None, empty, note, hidden, *sliders, None, *blocks, panels.idle(), *looks, stamp(), gr.skip()


def sample_picture() -> str:
    """The sample's first frame with its mask, as a data address."""
    image = first_frame(SAMPLE_VIDEO)
    mask, _ = canvas.of_mask(str(SAMPLE_MASK), image.shape[1], image.shape[0])
    return pictures.small(tint(image, mask), 640)


def facts(info: VideoInfo) -> str:
    """What is known of a video at once, as a row of small labels, and what to mind about it."""
    found = describe(info)
    return panels.facts(found.lines()) + "".join(panels.message(warning) for warning in found.warnings)


@in_words(lambda sentence, *_: (*[gr.skip()] * 2, panels.message(sentence, "bad"), *[gr.skip()] * 3), raises=False)
def trim(first: float, last: float, request: gr.Request) -> tuple[Any, ...]:
    """The range of frames to work on was changed. Updates of (first, last, message, canvas, refreshed, restyled)."""
    with studio.editing(request) as session:
        lowest, highest = sorted((int(first) - 1, int(last) - 1))
        session.set_trim(lowest, highest)
        shown = scene.of_frame(session, lowest)
        has_result = session.has_results
    count = highest - lowest + 1
    note = f"Frames {lowest + 1} to {highest + 1} are worked on: {count} of {session.frame_count}."
    said = panels.message(note) if count < session.frame_count else ""
    return lowest + 1, highest + 1, said, shown, stamp(), stamp() if has_result else gr.skip()
