"""Choose a video or a bundle, open a stored session, or come back to one; what it is; which part of it is worked on."""

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import gradio as gr
from gradio.events import Dependency

from demo.failures import in_words, sentence_of
from demo.html import allowed, panels
from demo.runs import preflight, settings
from demo.runs.follow import follow
from demo.runs.track import TrackStep, outcome
from demo.stage import gallery, recent
from demo.stage.check import CheckStep
from demo.stage.paint import PaintStep
from demo.stage.parts import part
from demo.visit import canvas, scene, studio
from demo.visit.asked import uploaded
from demo.wiring import PRIVATE, QUIET, RENDERINGS, SETTLE, Counters, stamp
from xmem.errors import InputError
from xmem.limits import TooMuch, limits
from xmem.review.preflight import preflight as describe
from xmem.session import Session, TrackSettings
from xmem.video import VideoInfo
from xmem.video.fitting import Fitting

SAMPLES = Path(__file__).parents[1] / "samples"
SAMPLE_VIDEO = SAMPLES / "big-buck-bunny.mp4"
SAMPLE_MASK = SAMPLES / "big-buck-bunny.png"
SAMPLE_OBJECT = "Bunny"

# Updates of (upload, canvas, note, first frame, last frame, result video, check, take away, panel, growth,
# holes, specks, refreshed)
Opened = tuple[Any, ...]
UNTOUCHED = (gr.skip(),) * 13

# Files that a chooser offers; what can be read is found out by reading.
KINDS = ["video", ".zip", ".gif", ".ts", ".mts", ".m2ts"]
# The note comes anew with each refusal: the listener is not the buttons'.
ASKED = """element.addEventListener("click", (event) => {
  for (const what of ["part", "halt"]) if (event.target.closest(`[data-${what}]`)) trigger(what);
});"""
ANOTHER = "another"  # why a video that is made smaller is not wanted any more
ADDRESS = "() => [location.search]"  # session=KEY or gallery=NAME, and perhaps frame=NUMBER


@dataclass(frozen=True)
class VideoStep:
    upload: gr.File
    another: gr.Button
    recent: gr.HTML
    note: gr.HTML


@dataclass(frozen=True)
class TrimStep:
    first: gr.Slider
    last: gr.Slider
    note: gr.HTML


def build_head() -> tuple[gr.HTML, gr.Button]:
    """What is known of the clip, and the way to another one: in the page's first line."""
    note = gr.HTML(js_on_load=ASKED, elem_id="video-note")
    return note, gr.Button("Another clip", size="sm", min_width=110, scale=0, elem_id="another")


def build(note: gr.HTML, another: gr.Button) -> VideoStep:
    """The empty page. note, another: what `build_head` made."""
    with gr.Column(elem_id="intake"):
        with gr.Row(equal_height=True):
            with gr.Column(scale=7, min_width=280):
                upload = gr.File(file_types=KINDS, show_label=False, height=272, elem_id="video")
                gr.HTML(panels.hint(allowed.line(limits())), elem_id="allowed")
            with gr.Column(scale=4, min_width=240):
                gallery.build_showcase()
        recent_ones = recent.build()
        gallery.build()
    return VideoStep(upload, another, recent_ones, note)


def build_trim() -> TrimStep:
    with gr.Accordion("Trim", open=False, elem_id="trim"):
        first = gr.Slider(1, 2, 1, step=1, label="First frame", elem_id="trim-first")
        last = gr.Slider(1, 2, 2, step=1, label="Last frame", elem_id="trim-last")
        note = gr.HTML(js_on_load=part("trim.js"), elem_id="trim-note")
    return TrimStep(first, last, note)


def wire(
    page: gr.Blocks,
    step: VideoStep,
    ends: TrimStep,
    estimate: preflight.EstimateRow,
    later: Sequence[gr.Column],
    result: gr.Video,
    paint: PaintStep,
    track: TrackStep,
    check: CheckStep,
    changed: Counters,
) -> Dependency:
    """later: what shows once there is a result. result: the video that was made of an earlier clip. Returns the event
    after which the page shows the work of its address."""
    shown = [
        step.upload,
        paint.canvas,
        step.note,
        ends.first,
        ends.last,
        result,
        *later,
        track.panel,
        *check.post,
        changed.refreshed,
    ]
    chosen = track.settings
    minimal = {"show_progress": "minimal", "show_progress_on": step.note, **PRIVATE}
    too_much = gr.State()  # the file that was refused, and what is offered of it
    own = [chosen.own, chosen.model]
    loaded = step.upload.upload(load, [step.upload, *own], [*shown, *chosen.controls, too_much], **minimal)
    cut = step.note.part(load_part, [too_much, *own], [*shown, *chosen.controls, too_much], **QUIET, **RENDERINGS)
    step.note.halt(halt, None, None, queue=False, **QUIET)
    step.another.click(take_away, None, shown, js=SETTLE, **QUIET)
    step.another.click(preflight.nothing, None, estimate.outputs, **QUIET)
    key = gr.Textbox(visible=False)
    came_back = page.load(come_back, key, [step.recent, *shown, *chosen.controls], js=ADDRESS, **minimal)
    recent.wire(step.recent, changed)
    preflight.wire(estimate, [loaded, cut], chosen, changed)
    gr.on(
        [ends.first.release, ends.last.release],
        trim,
        [ends.first, ends.last],
        [ends.first, ends.last, ends.note, paint.canvas, changed.refreshed],
        js=SETTLE,
        trigger_mode="always_last",  # keys are pressed more quickly than they are answered
        **QUIET,
    )
    return came_back


# What the controls do


def _refused(sentence: str, file: Any, request: gr.Request, offer: str = "") -> tuple[Any, ...]:
    """The page as it was, without the file that was chosen. offer: in words for a button beside the sentence. Updates
    of (*opened, *settings, the file where it is too much, with the offer)."""
    said = panels.message(sentence, "bad") + (panels.offer(offer) if offer else "")
    kept = (file, offer) if offer else None
    if studio.has_session(request):
        return *shown_again(studio.session_of(request), said), *_kept_settings(), kept
    return *nothing(said), *_kept_settings(), kept


def _not_opened(sentence: str, file: Any, request: gr.Request, *_own: Any) -> tuple[Any, ...]:
    return _refused(sentence, file, request)


@in_words(_not_opened, raises=False)
def load(file: str | None, request: gr.Request, *own: Any) -> tuple[Any, ...]:
    """A video was chosen: a new session with its first frame on the canvas; or a bundle: go on where it was saved.
    own: as `settings.for_new_clip` takes it. Updates of (*opened, *settings, the file where it is too much, with the
    offer)."""
    studio.workspace_of(request).stop_opening(ANOTHER)
    path = uploaded(file, request)
    if path.suffix.lower() == ".zip":
        session = studio.resume_session(request, path)
        return *shown_again(session, _as_you_left_it(session)), *_settings_of(session), None
    try:
        session = studio.begin_session(request, path)
    except TooMuch as error:
        return _refused(sentence_of(error), file, request, error.offer)
    return *opened(session, facts(session.info)), *settings.for_new_clip(*own), None


@in_words(_not_opened, raises=False)
def load_part(offered: tuple[str, str], request: gr.Request, *own: Any) -> Iterator[tuple[Any, ...]]:
    """The offer was taken: a new session with what is allowed of a video that is too long or too large. Yields updates
    as of `load`, the last for the outcome."""
    file, offer = offered
    path, latest, made = uploaded(file, request), None, list[Session]()
    with studio.workspace_of(request).opening() as why:

        def check() -> None:
            if why():
                raise _NotWanted(why())

        try:
            for latest in fitted(request, path, made, check):
                yield _only_note(panels.fitting(latest.done / latest.total if latest else None))
        except _NotWanted as end:
            stopped = _refused("Stopped: nothing was opened.", file, request, offer)
            yield _only_note(gr.skip()) if str(end) == ANOTHER else stopped
            return
    said = panels.message(_what_was_taken(latest, made[0].frame_count), "good")
    yield *opened(made[0], facts(made[0].info) + said), *settings.for_new_clip(*own), None


class _NotWanted(InputError):
    """A video that is made smaller is not wanted any more, for the reason that it says."""


def fitted(
    request: gr.Request, path: Path, made: list[Session], check: Callable[[], object] = lambda: None
) -> Iterator[Fitting | None]:
    """Begin a session with what is allowed of a video, which is put into `made`; yields how far a smaller copy is about
    once per second (None where there is none). Closing it leaves nothing, as does what `check` raises."""

    def steps() -> Generator[Fitting, None, None]:
        made.append((yield from studio.beginning(request, path, check)))

    return follow(steps())


def halt(request: gr.Request) -> None:
    """The video that is being made smaller is not wanted any more."""
    studio.workspace_of(request).stop_opening("halt")


def _only_note(note: Any) -> tuple[Any, ...]:
    """The page as it is, but for the note. Updates as of `load`."""
    return *UNTOUCHED[:2], note, *UNTOUCHED[3:], *_kept_settings(), gr.skip()


def _what_was_taken(latest: Fitting | None, count: int) -> str:
    if latest is None:
        return f"Its first {count:,} frames were taken."
    part = f", and its first {count:,} frames were taken" if latest.is_part else ""
    return f"It was made smaller, {latest.width}x{latest.height}{part}."


def take_away(request: gr.Request) -> Opened:
    """The video was taken away: the page is empty, and the work on it stays among the recent."""
    studio.leave_session(request)
    return nothing("")


def sample_session(request: gr.Request) -> Session:
    """A session with the bundled clip, painted on its first frame."""
    session = studio.begin_session(request, SAMPLE_VIDEO)
    mask, _ = canvas.of_mask(str(SAMPLE_MASK), session.info.width, session.info.height)
    session.set_key_frame(0, mask)
    session.update_object(1, name=SAMPLE_OBJECT)
    return session


def _kept_settings() -> tuple[Any, ...]:
    return (gr.skip(),) * len(settings.values(TrackSettings()))


def _settings_of(session: Session) -> tuple[Any, ...]:
    """Those of its run; where it had none, those of the page stay."""
    return settings.values(session.settings) if session.settings != TrackSettings() else _kept_settings()


def _over(sentence: str, address: str, _request: gr.Request) -> tuple[Any, ...]:
    return recent.gone(_asked(address).get("session", "")), *nothing(panels.message(sentence, "bad")), *_kept_settings()


@in_words(_over, raises=False)
def come_back(address: str, request: gr.Request) -> tuple[Any, ...]:
    """The page was loaded; address: the query of its address. Updates of (recent, *opened, *settings)."""
    asked = _asked(address)
    number = asked.get("frame", "")
    frame = int(number) - 1 if number.isdecimal() and len(number) < 10 else None  # as the page counts, from 1
    if "session" in asked:
        session = studio.join_session(request, asked["session"])
        said = _as_you_left_it(session)
    elif "gallery" in asked:
        piece, session = gallery.open_piece(request, asked["gallery"])
        said = panels.message(f"{piece.title}. {piece.teaches}", "good")
        frame = piece.frame if frame is None else frame
    else:
        return gr.skip(), *UNTOUCHED, *_kept_settings()
    return recent.here(request), *opened(session, facts(session.info) + said, frame), *_settings_of(session)


def _asked(address: str) -> dict[str, str]:
    """What a query asks for; without what is empty."""
    return dict(parse_qsl(address.removeprefix("?")[:1000]))


def _as_you_left_it(session: Session) -> str:
    return panels.message(f"{session.name} is as you left it: {keys_and_results(session)}.", "good")


def keys_and_results(session: Session) -> str:
    """What a session holds: "2 key frames, 90 of 90 frames tracked", or "2 key frames" before a run."""
    keys = len(session.key_frames)
    said = f"{keys} key frame{'' if keys == 1 else 's'}"
    if not session.has_results:
        return said
    found = sum(session.has_result(frame) for frame in range(session.first, session.last + 1))
    return f"{said}, {found} of {session.length} frames tracked"


def shown_again(session: Session, said: str) -> Opened:
    """What the page shows of a session that was there before, and a message."""
    return opened(session, facts(session.info) + said)


def opened(session: Session, note: str, frame: int | None = None) -> Opened:
    """What the page shows of a session that was just begun or resumed: on a frame, else on its first key frame."""
    first = session.key_frames[0].frame if session.key_frames else session.first
    frame = min(max(first if frame is None else frame, session.first), session.last)
    later = gr.update(visible=session.has_results)
    slider = {"minimum": 1, "maximum": max(2, session.frame_count), "interactive": session.frame_count > 1}
    return (
        None,
        scene.of_frame(session, frame),
        note,
        gr.update(value=session.first + 1, **slider),
        gr.update(value=session.last + 1, **slider),
        None,
        later,
        later,
        outcome(session),
        session.post.grow,
        session.post.fill_holes,
        session.post.drop_specks,
        stamp(),
    )


def nothing(note: str) -> Opened:
    """The page without a video."""
    hidden = gr.update(visible=False)
    empty = {"empty": True, "ack": f"none-{stamp()}"}
    kept = [gr.skip()] * 2, [gr.skip()] * 3
    return None, empty, note, *kept[0], None, hidden, hidden, "", *kept[1], stamp()


def facts(info: VideoInfo) -> str:
    """What is known of a video at once, as a row of small labels, and what to mind about it."""
    found = describe(info)
    return panels.facts(found.lines()) + "".join(panels.message(warning) for warning in found.warnings)


@in_words(lambda sentence, *_: (*[gr.skip()] * 2, panels.message(sentence, "bad"), *[gr.skip()] * 2), raises=False)
def trim(first: float, last: float, request: gr.Request) -> tuple[Any, ...]:
    """The range of frames to work on was changed. Updates of (first, last, message, canvas, refreshed); of the ends
    only where they were given the other way round, as they may have moved on since."""
    with studio.editing(request) as session:
        lowest, highest = sorted((int(first) - 1, int(last) - 1))
        session.set_trim(lowest, highest)
        shown = scene.of_frame(session, lowest)
    count = highest - lowest + 1
    note = f"Frames {lowest + 1} to {highest + 1} are worked on: {count} of {session.frame_count}."
    said = panels.message(note) if count < session.frame_count else ""
    ends = (gr.skip(), gr.skip()) if first <= last else (lowest + 1, highest + 1)
    return *ends, said, shown, stamp()
