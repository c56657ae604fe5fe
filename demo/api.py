"""The page by program: endpoints with plain values; docs/api.md shows them in use.

All calls of one `gradio_client.Client` work on one session, that of its session hash. Frames count from 0.
"""

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import gradio as gr
import numpy as np
from gradio.components import Component
from PIL import Image

import xmem
from demo.failures import in_words
from demo.runs import models, oneshot, preflight, rendering, settings, told, track
from demo.runs.settings import SettingsPanel
from demo.stage import check, clicks, gallery, paint, video
from demo.visit import studio
from demo.visit.asked import of_kind, uploaded, whole
from demo.visit.given import GivenPainting
from demo.wiring import ESTIMATES, RENDERINGS, RUNS
from xmem import leaving
from xmem.checkpoints.catalogue import CLICK
from xmem.render.masks import read_mask, write_index_mask
from xmem.render.post import PostProcessing
from xmem.render.refine import polygon_mask
from xmem.session import Session, TrackSettings
from xmem.session.settings import WHOLE

TRACK = (
    "Follow objects through a video in one call. painting: {'background': None, 'layers': [image], 'composite': None}, "
    "where the image is a mask (palette, grey, RGB or RGBA) of the shape of the video; with fill_outlines, holes in it "
    "are filled. size: shorter side for inference in pixels, 0 for that of the video. memory: settings of the model's "
    "family by name, such as {'mem_every': 3}; those left out are the defaults. Returns the last progress as "
    "HTML, the overlay video (mp4), and a ZIP of index masks (palette PNGs)."
)


def build(chosen: SettingsPanel) -> None:
    """Add the endpoints to the page; their components are never shown. chosen: gives `track` its parameters."""
    for function in PLAIN:
        of_line = ESTIMATES if function is estimate else {}
        gr.api(in_words()(of_kind(function)), api_name=function.__name__, **of_line)
    gr.api(in_words()(of_kind(propagate)), api_name="propagate", **RUNS)
    with gr.Column(visible=False):
        _endpoint(open_video, [gr.File(label="video")], [gr.JSON()])
        _endpoint(open_part, [gr.File(label="video")], [gr.JSON()], **RENDERINGS)
        _endpoint(open_bundle, [gr.File(label="bundle")], [gr.JSON()])
        _endpoint(set_key_frame, [gr.Number(0, precision=0), gr.File(label="mask")], [gr.JSON()])
        _endpoint(read_frame, [gr.Number(0, precision=0)], [gr.JSON(), gr.File(label="image"), gr.File(label="mask")])
        _endpoint(render, [], [gr.File(label="video")], **RENDERINGS)
        _one_shot(chosen)


def _one_shot(chosen: SettingsPanel) -> None:
    clip = gr.Video(label="video", sources=["upload"])
    painting = GivenPainting(label="painting")
    fill = gr.Checkbox(True, label="fill_outlines")
    opacity = gr.Slider(0, 1, 0.5, label="opacity")
    inputs = [clip, painting, fill, chosen.model, chosen.device, chosen.size, opacity, gr.JSON({}, label="memory")]
    gr.Button().click(
        oneshot.track,
        inputs,
        [gr.HTML(), gr.Video(), gr.File()],
        api_name="track",
        api_description=TRACK,
        **RUNS,
    )


def _endpoint(function: Callable, inputs: list[Component], outputs: list[Component], **listener: Any) -> None:
    """An event that only programs fire, for functions that take or give files: Gradio checks those of components."""
    description = " ".join(inspect.getdoc(function).split())
    gr.Button().click(
        in_words()(of_kind(function)),
        inputs,
        outputs,
        api_name=function.__name__,
        api_description=description,
        **listener,
    )


def describe(session: Session) -> dict[str, Any]:
    """A session as plain values."""
    info = session.info
    return {
        "name": session.name,
        "width": info.width,
        "height": info.height,
        "frames": session.frame_count,
        "rate": float(info.rate),
        "variable_rate": info.variable_rate,
        "duration": info.duration,
        "rotation": info.rotation,
        "has_audio": info.has_audio,
        "codec": info.codec,
        "first": session.first,
        "last": session.last,
        "objects": [
            {"id": item.id, "name": item.name, "color": item.color, "visible": item.visible} for item in session.objects
        ],
        "key_frames": [{"frame": key.frame, "objects": list(key.objects)} for key in session.key_frames],
        "pending": [[span.first, span.last] for span in session.pending()],
        "can_undo": session.can_undo,
        "can_redo": session.can_redo,
    }


def _changed(request: gr.Request, change: Callable[[Session], Any]) -> dict[str, Any]:
    with studio.editing(request) as session:
        change(session)
        return describe(session)


# The video


def open_video(clip: str | None, request: gr.Request) -> dict[str, Any]:
    """Begin a session with a video file; the one before stays, for its key. Returns what `describe_session` returns."""
    return describe(studio.begin_session(request, uploaded(clip, request)))


def open_part(clip: str | None, request: gr.Request) -> Iterator[dict[str, Any]]:
    """As `open_video`, with what is allowed of a video that is too long or too large: as much from its beginning, and
    made smaller. Where a smaller copy is made, yields {done, total} in frames about once per second; at last the
    session."""
    made: list[Session] = []
    for latest in video.fitted(request, uploaded(clip, request), made):
        if latest is not None:
            yield {"done": latest.done, "total": latest.total}
    yield describe(made[0])


def open_bundle(bundle: str | None, request: gr.Request) -> dict[str, Any]:
    """Go on with a session that was saved as a bundle (ZIP). Returns what `describe_session` returns."""
    return describe(studio.resume_session(request, uploaded(bundle, request)))


def open_sample(request: gr.Request) -> dict:
    """Begin a session with the page's sample clip, painted on its first frame."""
    return describe(video.sample_session(request))


def open_gallery(name: str, request: gr.Request) -> dict:
    """Begin a session with a copy of a stored one of the gallery, tracked: bunny, repair, bottle, animals, box or
    chair."""
    return describe(gallery.open_piece(request, name)[1])


def describe_session(request: gr.Request) -> dict:
    """The session: video, trimmed range, objects, key frames, and the spans [first, last] that a run would compute."""
    return describe(studio.session_of(request))


def session_key(request: gr.Request) -> str:
    """The key of the session: whoever has it may go on with it, by `join_session` or at the page's ?session=KEY."""
    studio.session_of(request)
    return studio.key_of(request)


def join_session(key: str, request: gr.Request) -> dict:
    """Go on with the session of a key, as another program or page left it. Returns what `describe_session` returns."""
    return describe(studio.join_session(request, key))


def set_trim(first: int, last: int, request: gr.Request) -> dict:
    """Work on frames first to last (inclusive) only."""
    return _changed(request, lambda session: session.set_trim(first, last))


def estimate(
    request: gr.Request,
    model: str = "",
    size: int = -1,
    direction: str = "both",
    pause_at_cuts: bool = False,
    memory: dict | None = None,
) -> dict:
    """Time a few frames: seconds and bytes that a run would take, and a size that is proposed (or null), with a reason.
    model: "" for the page's default; size: shorter side in pixels, 0 for the video's own, -1 for the default.
    memory: settings of the model's family by name, {"mem_every": 3}; those left out are the defaults."""
    with leaving.while_wanted(studio.workspace_of(request).check_here):
        return preflight.figures(studio.session_of(request), _settings(model, size, direction, pause_at_cuts, memory))


# Painting


def read_frame(frame: int, request: gr.Request) -> Iterator[tuple[dict[str, Any], str, str]]:
    """A frame: (its number, time in seconds and whether it is a key frame), its picture as PNG, and its index mask as a
    palette PNG whose values are object ids."""
    session = studio.session_of(request)
    with session.access() as access:
        found = access.frame(frame)
    about = {
        "frame": found.index,
        "time": float(found.time),
        "is_key": any(key.frame == found.index for key in session.key_frames),
        "has_result": session.has_result(found.index),
    }
    with studio.workspace_of(request).new_folder("read-") as folder:
        picture, mask = folder / f"{found.index:05d}.png", folder / f"{found.index:05d}-mask.png"
        Image.fromarray(found.image).save(picture)
        write_index_mask(mask, session.mask(found.index))
        yield about, studio.handed(request, picture), studio.handed(request, mask)


def set_key_frame(frame: int, mask: str | None, request: gr.Request) -> dict[str, Any]:
    """Give the mask of a frame: an image whose values are object ids (palette or grey; RGB colours count as objects).
    New ids become objects; objects of earlier key frames that are not in it are absent on this frame."""

    def change(session: Session) -> None:
        given = read_mask(uploaded(mask, request), session.info.width, session.info.height)
        paint.paint(session, frame, given.index)

    return _changed(request, change)


def add_polygon(frame: int, object: int, points: list[list[float]], request: gr.Request) -> dict:
    """Paint the inside of a polygon on a frame. points: [[x, y], ...] in pixels; object: an id, or a new one."""

    def change(session: Session) -> None:
        whole(object, "object", 1, 255)
        inside = polygon_mask(points, session.info.width, session.info.height) > 0
        paint.paint(session, frame, np.where(inside, np.uint8(object), session.mask(frame)))

    return _changed(request, change)


def click(
    frame: int,
    object: int,
    points: list[list[float]],
    request: gr.Request,
    box: list[float] | None = None,
    model: str = CLICK,
    words: str = "",
) -> dict:
    """Give an object the mask that clicks mean; one that it has on the frame is corrected. points: [[x, y, of], ...] in
    pixels, of: 1 on the object, 0 on what is not of it; box: left, top, right, bottom; object: an id, or a new one;
    model: the network that answers clicks; words: what is corrected is what they name, with no points that itself."""

    def change(session: Session) -> None:
        whole(object, "object", 1, 255)
        if any(len(point) != 3 for point in points) or (box is not None and len(box) != 4):
            raise xmem.InputError("Points are [x, y, of] each, a box is [left, top, right, bottom]: check the call.")
        mask = session.mask(frame)
        before = mask == object
        around = None if box is None else (box[0], box[1], box[2], box[3])
        places = [(x, y, of > 0) for x, y, of in points]
        previous = before if before.any() else None
        question = clicks.Question(places, around, previous, model=model, words=words.strip())
        found = clicks.answer(session, frame, question)
        if not found.any():
            raise xmem.InputError("Nothing was found there: click in the middle of the object, or give a box.")
        paint.paint(session, frame, np.where(found, np.uint8(object), np.where(before, np.uint8(0), mask)))

    return _changed(request, change)


def refine(frame: int, object: int, request: gr.Request) -> dict:
    """Let the sketch of an object on a frame follow the edges of the picture; `undo` brings the sketch back."""
    return _changed(request, lambda session: paint.refine_object(session, frame, object))


def remove_key_frame(frame: int, request: gr.Request) -> dict:
    """Take a given mask back."""
    return _changed(request, lambda session: session.remove_key_frame(frame))


def update_object(
    object: int,
    request: gr.Request,
    name: str | None = None,
    color: int | None = None,
    visible: bool | None = None,
) -> dict:
    """Name, colour (0 to 7; an object that has it takes this one's) and visibility of an object; null keeps it."""
    return _changed(
        request,
        lambda session: session.update_object(object, name, color, visible),
    )


def remove_object(object: int, request: gr.Request) -> dict:
    """Take an object out of all key frames and results."""
    return _changed(request, lambda session: session.remove_object(object))


def undo(request: gr.Request) -> dict:
    """Go back before the latest change of key frames or objects."""
    return _changed(request, Session.undo)


def redo(request: gr.Request) -> dict:
    """The reverse of `undo`."""
    return _changed(request, Session.redo)


# Results


def propagate(
    request: gr.Request,
    model: str = "",
    size: int = -1,
    direction: str = "both",
    pause_at_cuts: bool = False,
    start_over: bool = False,
    scope: str = WHOLE,
    memory: dict | None = None,
) -> Iterator[dict]:
    """Compute what is pending, from where a run with the same settings was left, or start over.
    Yields {done, total, seconds, agrees} about once per second, and at last the session, with a note: what to mind,
    such as damage in the video that kept frames from being read, or "". done, total: frames of the
    video; agrees: to both sides of a correction the new masks agree with those from before (see `keep_rest`). Before
    its turn has come {ahead, wait_seconds}: runs of others that have to end first, and seconds until then (null where
    nobody knows). direction: both, forward or backward; model, size and memory as in `estimate`. scope: how far
    corrections are carried: around (until the masks agree), neighbours (to the key frames beside them) or frame (that
    frame only).
    """
    session, workspace = studio.session_of(request), studio.workspace_of(request)
    chosen = _settings(model, size, direction, pause_at_cuts, memory)
    track.check_ready(session)
    workspace.clear_stop()
    note = ""
    for _, latest in track.compute(session, chosen, workspace, start_over=start_over, scope=scope):
        told.looked_on(workspace)
        note = latest.note
        if latest.total:
            done = {"done": latest.done, "total": latest.total, "seconds": round(latest.seconds, 2)}
            yield done | {"agrees": latest.agrees}
        elif latest.ahead:
            yield {"ahead": latest.ahead, "wait_seconds": latest.wait_seconds}
    yield describe(studio.session_of(request)) | {"note": note}


def keep_rest(request: gr.Request) -> dict:
    """Leave what is pending as it was before the correction; what a run has done of it stays. A run that goes on ends
    for it: then the session says so once that has happened."""
    if studio.is_running(request):
        studio.workspace_of(request).request_stop(keep_rest=True)
        return describe(studio.session_of(request))
    return _changed(request, Session.keep_rest)


def accept(frame: int, request: gr.Request) -> dict:
    """Make the computed mask of a frame, which is right, a key frame. No result changes, nothing more is pending."""
    return _changed(request, lambda session: session.accept(frame))


def dismiss(frame: int, object: int, request: gr.Request) -> dict:
    """A suggested frame looks fine: it is not suggested again for this object, nor are the frames beside it."""
    return _changed(request, lambda session: session.dismiss(frame, object))


def timeline(request: gr.Request) -> dict:
    """Per object and frame area, certainty and overlap with the frame before; shot cuts, key frames, and the frames
    most worth checking, with reasons."""
    session = studio.session_of(request)
    rows = session.stats()
    return {
        "objects": [
            {
                "id": item.id,
                "name": item.name,
                "frames": [row.frame for row in rows if row.object == item.id],
                "area": [row.area for row in rows if row.object == item.id],
                "certainty": [row.certainty for row in rows if row.object == item.id],
                "overlap": [row.overlap for row in rows if row.object == item.id],
            }
            for item in session.objects
        ],
        "cuts": session.cuts(),
        "key_frames": [key.frame for key in session.key_frames],
        "suggestions": [
            {"frame": item.frame, "object": item.object, "score": item.score, "reason": item.reason}
            for item in check.suggestions(session, rows)
        ],
    }


def frame_at(seconds: float, request: gr.Request) -> int:
    """The frame that the result video shows at a time."""
    return studio.session_of(request).frame_at(seconds)


def set_post(grow: int, fill_holes: bool, drop_specks: bool, request: gr.Request) -> dict:
    """Clean up all computed masks, without another run: grow (pixels, negative shrinks), fill holes, drop specks."""
    return _changed(request, lambda session: session.set_post(PostProcessing(grow, fill_holes, drop_specks)))


def render(request: gr.Request) -> Iterator[str]:
    """The result as a video (mp4) in the session's style."""
    session = studio.session_of(request)
    if not session.has_results:
        raise xmem.InputError("There is no result yet: set a key frame and call propagate.")
    with rendering.rendered(session, studio.workspace_of(request)) as path:
        yield studio.handed(request, path)


PLAIN = (
    open_sample,
    open_gallery,
    describe_session,
    session_key,
    join_session,
    set_trim,
    estimate,
    add_polygon,
    click,
    refine,
    remove_key_frame,
    update_object,
    remove_object,
    undo,
    redo,
    keep_rest,
    accept,
    dismiss,
    timeline,
    frame_at,
    set_post,
)


def _settings(
    model: str, size: int, direction: str, pause_at_cuts: bool, memory: dict[str, Any] | None
) -> TrackSettings:
    asked = settings.default_size() if size == -1 else size
    device = models.device_choices()[0][1]
    return settings.read(model or models.default_model(), device, asked, memory, direction, pause_at_cuts)
