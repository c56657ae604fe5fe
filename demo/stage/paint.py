"""The canvas with its frames and objects, and the key frames below it.

Every event answers with a scene (see `demo.visit.scene`). The outputs are always (scene, refreshed): the counter
changes where key frames, objects or results changed.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gradio as gr
import numpy as np

import xmem
from demo.failures import in_words
from demo.html import panels
from demo.stage.painter import painter
from demo.stage.parts import part
from demo.visit import canvas, scene, studio
from demo.visit.asked import uploaded
from demo.wiring import QUIET, SETTLE_WITH_FRAME, Counters, stamp
from xmem.render.refine import refine_mask
from xmem.session import Session
from xmem.session.spans import ids_spoken_for

Answer = tuple[Any, Any]  # scene, refreshed
DOT_PIXELS, DOT_SHARE = 25, 4e-4  # smaller than either, in pixels or of the picture, is a dot


@dataclass(frozen=True)
class PaintStep:
    canvas: gr.HTML
    keys: gr.HTML
    mask: gr.UploadButton
    frame: gr.Number


def build_canvas() -> gr.HTML:
    return painter("canvas")


def build(canvas: gr.HTML) -> PaintStep:
    """What was painted, and masks from elsewhere. canvas: what `build_canvas` made."""
    with gr.Row(elem_id="stage-foot"):
        keys = gr.HTML(js_on_load=part("keyframes.js"), apply_default_css=False, elem_id="keys")
        mask = gr.UploadButton(
            "Upload a mask", file_types=["image"], size="sm", min_width=130, elem_id="mask-file", scale=0
        )
    frame = gr.Number(0, visible=False)  # of the canvas; a script fills it in
    return PaintStep(canvas, keys, mask, frame)


def wire(step: PaintStep, changed: Counters) -> None:
    outputs = [step.canvas, changed.refreshed]
    for event, function in (
        (step.canvas.go, go),
        (step.canvas.stroke, stroke),
        (step.canvas.refine, refine),
        (step.canvas.object, change_object),
        (step.canvas.unkey, remove_key_frame),
        (step.canvas.accept, accept),
        (step.canvas.dismiss, dismiss),
        (step.canvas.undo, undo),
        (step.canvas.redo, redo),
        (step.canvas.sync, sync),
    ):
        # the canvas sends one action at a time; "multiple", so that none is ever dropped
        event(function, None, outputs, trigger_mode="multiple", **QUIET)
    step.mask.upload(upload_mask, [step.mask, step.frame], outputs, js=SETTLE_WITH_FRAME, **QUIET)
    changed.refreshed.change(strip, None, step.keys, trigger_mode="always_last", **QUIET)


# What the visitor does


# An event that answers in any case, since the canvas waits for it: where it fails, with the canvas as it is on disk.
answers = in_words(lambda sentence, event, request: refused(sentence, event._data, request), raises=False)


@answers
def go(event: gr.EventData, request: gr.Request) -> Answer:
    """Another frame was chosen: its picture and its mask."""
    data = event._data
    session = studio.session_of(request)
    frame = min(max(int(data["frame"]), session.first), session.last)
    return scene.of_frame(session, frame, data["ack"]), gr.skip()


@answers
def sync(event: gr.EventData, request: gr.Request) -> Answer:
    """Another tab or a program has changed the work: the page shows it as it is."""
    data = event._data
    session = studio.session_of(request)
    return scene.of_frame(session, _shown(session, data), data["ack"]), stamp()


@answers
def stroke(event: gr.EventData, request: gr.Request) -> Answer:
    """Something was painted or erased: the frame is a key frame from now on, if its mask has changed."""
    return _edit(event, request, _paint, with_picture=False)


def _paint(session: Session, data: dict[str, Any]) -> str:
    frame = int(data["frame"])
    mask = scene.read_painting(data["mask"], session.info.width, session.info.height)
    colours = {int(i): int(colour) for i, colour in data.get("colors", {}).items()}
    return paint(session, frame, mask, colours)


def paint(session: Session, frame: int, mask: np.ndarray, colours: dict[int, int] | None = None) -> str:
    """Make `mask` (uint8 [H, W], without hidden objects) the given one of a frame; what to say about it, or ""."""
    mask = scene.with_hidden(session, frame, mask)
    if np.array_equal(mask, session.mask(frame)):
        return ""
    ids = tuple(item.id for item in session.objects)
    earlier = [key for key in session.key_frames if key.frame < frame]
    if not mask.any() and not ids_spoken_for(earlier, ids, frame):
        if any(key.frame == frame for key in session.key_frames):
            session.remove_key_frame(frame)
        return ""
    new = set(np.unique(mask)) - {0} - set(ids)
    if len(ids) + len(new) > canvas.MAX_OBJECTS:
        raise xmem.InputError(f"There are colours for {canvas.MAX_OBJECTS} objects: delete one to add another.")
    session.set_key_frame(frame, mask, colours)
    return too_small(mask) if mask.any() else "All objects are marked as absent on this frame."


def too_small(mask: np.ndarray) -> str:
    """What to say where an object of an index mask uint8 [H, W] is a dot: a run would hardly find it; else ""."""
    areas = np.bincount(mask.ravel(), minlength=2)[1:]
    least = int(areas[areas > 0].min())
    if least >= max(DOT_PIXELS, DOT_SHARE * mask.size):
        return ""
    return f"A dot of {least} pixel{'' if least == 1 else 's'}: draw round the object, or click it."


@answers
def refine(event: gr.EventData, request: gr.Request) -> Answer:
    """Let the sketch of one object follow the edges of the picture."""
    return _edit(event, request, lambda session, data: refine_object(session, int(data["frame"]), int(data["object"])))


def refine_object(session: Session, frame: int, object_id: int) -> str:
    """Refine an object of a frame; what to say about it."""
    mask = session.mask(frame)
    if not (mask == object_id).any():
        raise xmem.InputError("There is nothing to refine yet: sketch the object roughly, then refine it.")
    refined = refine_mask(session.image(frame), mask, object_id)
    if np.array_equal(refined, mask):
        return "The sketch follows the edges already."
    session.set_key_frame(frame, refined)
    return "The edges are refined. Undo brings your sketch back."


@answers
def change_object(event: gr.EventData, request: gr.Request) -> Answer:
    """An object was renamed, coloured, hidden, shown or deleted."""
    is_name = set(event._data) <= {"id", "name", "ack"}
    return _edit(event, request, _change_object, with_picture=not is_name)


def _change_object(session: Session, data: dict[str, Any]) -> str:
    object_id = int(data["id"])
    if data.get("remove"):
        session.remove_object(object_id)
    else:
        session.update_object(object_id, data.get("name"), data.get("color"), data.get("visible"))
    return ""


@answers
def remove_key_frame(event: gr.EventData, request: gr.Request) -> Answer:
    return _edit(event, request, lambda session, data: session.remove_key_frame(int(data["frame"])) or "")


@answers
def accept(event: gr.EventData, request: gr.Request) -> Answer:
    """The computed mask on the canvas is right: it is a key frame from now on."""
    return _edit(event, request, lambda session, data: session.accept(int(data["frame"])) or "")


@answers
def dismiss(event: gr.EventData, request: gr.Request) -> Answer:
    """A suggested frame looks fine."""

    def change(session: Session, data: dict[str, Any]) -> str:
        session.dismiss(int(data["frame"]), int(data["object"]))
        return ""

    return _edit(event, request, change, with_picture=False)


@answers
def undo(event: gr.EventData, request: gr.Request) -> Answer:
    return _step(event, request, Session.undo)


@answers
def redo(event: gr.EventData, request: gr.Request) -> Answer:
    return _step(event, request, Session.redo)


def _step(event: gr.EventData, request: gr.Request, step: Callable[[Session], bool]) -> Answer:
    data = event._data
    with studio.editing(request) as session:
        frame = changed_frame(session, step, int(data["frame"]))
        shown = scene.of_frame(session, frame, data["ack"])
    return shown, stamp()


def changed_frame(session: Session, step: Callable[[Session], bool], shown: int) -> int:
    """Take a step of undo or redo; the frame on which something changed, `shown` where it is that or none."""
    before = {key.frame: key.mask for key in session.key_frames}
    step(session)
    after = {key.frame: key.mask for key in session.key_frames}
    changed = sorted(frame for frame in before.keys() | after.keys() if before.get(frame) != after.get(frame))
    if not changed or shown in changed:
        return shown
    return min(max(changed[0], session.first), session.last)


@in_words(lambda sentence, _, frame, request: refused(sentence, {"frame": int(frame)}, request), raises=False)
def upload_mask(file: str | None, frame: float, request: gr.Request) -> Answer:
    """A mask file instead of painting, for the frame on the canvas."""
    if file is None:
        return gr.skip(), gr.skip()
    with studio.editing(request) as session:
        mask, note = canvas.of_mask(uploaded(file, request), session.info.width, session.info.height)
        mask, colours = own_ids(session, mask)
        paint(session, int(frame), mask, colours)
        said = "The mask is on the canvas" + (f" ({note})." if note else ".")
        return scene.of_frame(session, int(frame), note=said, kind="good"), stamp()


def own_ids(session: Session, mask: np.ndarray) -> tuple[np.ndarray, dict[int, int]]:
    """A mask whose ids are palette places (counted from 1) with the session's ids, and the colours of new ones.

    mask: uint8 [H, W]. A colour that an object has means that object.
    """
    own, colours, next_id = np.zeros(256, np.uint8), {}, session.next_object
    by_colour = {item.color: item.id for item in session.objects}
    for place in np.unique(mask[mask > 0]).tolist():
        colour = (place - 1) % canvas.MAX_OBJECTS
        if colour not in by_colour:
            by_colour[colour], colours[next_id] = next_id, colour
            next_id += 1
        own[place] = by_colour[colour]
    return own[mask], colours


def strip(request: gr.Request) -> str:
    """The key frames as small pictures."""
    if not studio.has_session(request):
        return ""
    session = studio.session_of(request)
    pictures = [(key.frame, scene.thumbnail(session, key.frame)) for key in session.key_frames]
    return panels.key_frames(pictures)


def _edit(
    event: gr.EventData,
    request: gr.Request,
    change: Callable[[Session, dict[str, Any]], str],
    with_picture: bool = True,
) -> Answer:
    """Apply a change and answer with the canvas as it is then."""
    data = event._data
    with studio.editing(request) as session:
        note = change(session, data)
        make = scene.of_frame if with_picture else scene.of_state
        answer = make(session, _shown(session, data), data["ack"], note=note)
    return answer, stamp()


def _shown(session: Session, data: dict[str, Any]) -> int:
    """The frame on the canvas: `shown` where an action concerns another frame or none."""
    return min(max(int(data.get("shown", data.get("frame", session.first))), 0), session.frame_count - 1)


def refused(reason: str, data: dict[str, Any], request: gr.Request) -> Answer:
    """The canvas as it is on disk, and why nothing was changed."""
    if not studio.has_session(request):
        gr.Warning(reason)
        return {"empty": True, "ack": data.get("ack")}, gr.skip()
    session = studio.session_of(request)
    shown = scene.of_frame(session, _shown(session, data), data.get("ack"), note=reason, kind="bad")
    return shown, gr.skip()
