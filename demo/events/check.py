"""Step 4: the timeline, the frames worth checking, masks cleaned up without another run."""

import logging
from dataclasses import replace
from typing import Any

import gradio as gr

import xmem
from demo.events.paint import stamp
from demo.html import charts, panels
from demo.visit import scene, studio
from xmem.render.post import PostProcessing
from xmem.session import Session
from xmem.session.stats import ObjectStats
from xmem.session.suggestions import Suggestion, suggest

SUGGESTIONS = 6

log = logging.getLogger("xmem.demo")


def overview(request: gr.Request) -> str:
    """The timeline and the list of frames worth checking; "" without a result."""
    if not studio.has_session(request):
        return ""
    session = studio.session_of(request)
    names = {item.id: item.name for item in session.objects}
    stats = session.stats()
    worst = suggestions(session, stats)
    drawn = charts.timeline(session, stats, worst)
    worth = [
        (item.frame, names.get(item.object, ""), item.reason, scene.thumbnail(session, item.frame)) for item in worst
    ]
    return drawn + panels.worth_checking(worth) if drawn else ""


def suggestions(session: Session, stats: list[ObjectStats]) -> list[Suggestion]:
    """The frames most worth checking, worst first, with reasons that call objects by name. stats: the session's."""
    names = {item.id: item.name for item in session.objects}
    return suggest(stats, session.cuts(), [key.frame for key in session.key_frames], SUGGESTIONS, names)


def frame_at(seconds: float, request: gr.Request) -> int:
    """The frame that the result video shows at a time; its first frame is that of the trimmed range."""
    try:
        return frame_of_time(studio.session_of(request), float(seconds))
    except xmem.InputError as error:
        raise gr.Error(str(error), print_exception=False) from error


def frame_of_time(session: Session, seconds: float) -> int:
    """Frames are not equally long in videos of variable rate, so their own times decide."""
    with session.access() as access:
        # a player stands a little before or after a frame's start: half a millisecond before still counts as the frame
        wanted = float(access.frame(session.first).time) + seconds + 5e-4
        low, high = session.first, session.last  # the frame is among these
        guess = session.first + int(seconds * float(session.info.rate))
        while low < high:
            place = min(max(guess, low + 1), high)
            if float(access.frame(place).time) <= wanted:
                low = place
                guess = place + 1  # the very next one, if the guess was right
                if guess <= high and float(access.frame(guess).time) > wanted:
                    return place
            else:
                high = place - 1
            guess = (low + high + 1) // 2
    return low


def set_post(grow: float, fill_holes: bool, drop_specks: bool, frame: float, request: gr.Request) -> tuple[Any, ...]:
    """How masks are cleaned up was changed. Updates of (canvas, message, refreshed, restyled)."""
    try:
        with studio.editing(request) as session:
            session.set_post(PostProcessing(int(grow), fill_holes, drop_specks))
            shown = scene.of_frame(session, min(max(int(frame), session.first), session.last))
            has_result = studio.has_result(session)
    except xmem.InputError as error:
        return gr.skip(), panels.message(str(error), "bad"), gr.skip(), gr.skip()
    return shown, "", stamp(), stamp() if has_result else gr.skip()


def set_opacity(opacity: float, request: gr.Request) -> Any:
    """The overlay's opacity was changed in the settings. An update of (restyled)."""
    if not studio.has_session(request):
        return gr.skip()
    try:
        with studio.editing(request) as session:
            session.set_style(replace(session.style, opacity=float(opacity)))
            return stamp() if studio.has_result(session) else gr.skip()
    except xmem.InputError as error:
        gr.Warning(str(error))
        return gr.skip()
