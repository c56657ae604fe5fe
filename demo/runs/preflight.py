"""Before a run: what it would take, from a few timed frames, and the size that is proposed."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from functools import partial
from typing import Any

import gradio as gr
from gradio.components import Component
from gradio.events import Dependency

import xmem
from demo.failures import in_words
from demo.html import panels
from demo.runs import settings, zero
from demo.runs.run import estimate_session
from demo.runs.settings import SettingsPanel
from demo.visit import studio
from demo.wiring import ESTIMATES, QUIET, Counters
from xmem import checkpoints, leaving
from xmem.limits import Limits, limits
from xmem.review.preflight import Estimate
from xmem.session import Session, TrackSettings
from xmem.session.settings import WHOLE

ESTIMATE = "estimate.json"
QUICK = 30  # seconds: a run without a GPU that is done by then may as well have the larger size
ENOUGH = 8  # frames of a run, of which the first ones take longer, from which its speed is learnt

Answer = tuple[Any, Any, Any, Any]  # card, button of the proposed size, proposed size, button to ask


@dataclass(frozen=True)
class EstimateRow:
    card: gr.HTML
    use_size: gr.Button
    proposed: gr.Number
    ask: gr.Button

    @property
    def outputs(self) -> list[Component]:
        return [self.card, self.use_size, self.proposed, self.ask]


def build() -> EstimateRow:
    with gr.Row(elem_id="estimate-row"):
        card = gr.HTML(elem_id="estimate")
        ask = gr.Button("Estimate time and memory", size="sm", visible=False, min_width=150, elem_id="estimate-button")
        use_size = gr.Button("Use", size="sm", visible=False, min_width=120, elem_id="use-size")
    return EstimateRow(card, use_size, gr.Number(visible=False), ask)


def wire(step: EstimateRow, opened: Sequence[Dependency], chosen: SettingsPanel, changed: Counters) -> None:
    """opened: the events after which there is another video."""
    for event in opened:
        event.success(for_new_clip, [chosen.own, *chosen.controls], [*step.outputs, chosen.size], **ESTIMATES, **QUIET)
    step.use_size.click(partial(settings.with_own, "size"), [chosen.own, step.proposed], chosen.own, **QUIET)
    step.ask.click(by_request, chosen.controls, step.outputs, **ESTIMATES, **QUIET)
    latest = {"trigger_mode": "always_last", **ESTIMATES, **QUIET}
    altered = [chosen.model.change, chosen.device.change, chosen.size.change]
    gr.on(altered, announced, chosen.controls, step.outputs, **latest)
    changed.refreshed.change(when_changed, chosen.controls, step.outputs, **latest)
    step.use_size.click(lambda size: int(size), step.proposed, chosen.size, **QUIET)


# What the controls do


def nothing() -> Answer:
    """The clip is left, or followed: what was expected of that goes."""
    return "", gr.update(visible=False), 0, gr.update(visible=False)


def at_once(request: gr.Request, *values: Any) -> Answer:
    """After an upload or a change of settings; where GPU time is rationed, it waits to be asked for."""
    if not studio.has_session(request) or studio.is_running(request):
        return nothing()
    if zero.is_lent():
        return "", gr.update(visible=False), 0, gr.update(visible=True)
    answer = by_request(request, *values)
    return nothing() if studio.is_running(request) else answer


def announced(request: gr.Request, *values: Any) -> Iterator[Answer]:
    """`at_once`, with a word about it meanwhile, where it is not known already: an upload that sets another size is
    followed by two events that ask for the same."""
    if studio.has_session(request) and not studio.is_running(request) and not zero.is_lent():
        known = _estimate_of(studio.session_of(request), values)
        if known:
            yield _shown(known)
            return
        yield panels.TIMING, gr.update(visible=False), 0, gr.update(visible=False)
    yield at_once(request, *values)


def for_new_clip(own: dict[str, Any], request: gr.Request, *values: Any) -> Iterator[tuple[Any, ...]]:
    """`announced`, and then the size that suits the clip and the machine, where the visitor has chosen none; a size
    that changes is followed by an estimate of its own."""
    for answer in announced(request, *values):
        yield *answer, gr.skip()
    if "size" not in own and (size := _better_size(request, *values)):
        yield *[gr.skip()] * len(answer), size


def _better_size(request: gr.Request, *values: Any) -> int | None:
    """Without a GPU, that of GPUs for a run that is quick with it by the latest estimate, and else the usual one; None
    where it is as it should be, is not known, or where there is work already."""
    if not settings.may_grow() or not studio.has_session(request) or studio.is_running(request):
        return None
    session, chosen = studio.session_of(request), settings.read(*values)
    known = _fitting(session, chosen)
    if chosen.size not in (settings.CPU_SIZE, settings.GPU_SIZE) or session.key_frames or not known:
        return None
    is_fine = min(session.info.width, session.info.height) >= settings.GPU_SIZE
    seconds = known["seconds_per_frame"] * known["frames"] * (settings.GPU_SIZE / chosen.size) ** 2
    size = settings.GPU_SIZE if is_fine and seconds <= QUICK else settings.CPU_SIZE
    return size if size != chosen.size else None


def when_changed(request: gr.Request, *values: Any) -> Answer:
    """Something was painted, trimmed or followed: with other objects, or other frames, a run takes another time.

    Once one was done, its panel says what it took.
    """
    if studio.has_session(request) and not studio.is_running(request):
        session = studio.session_of(request)
        known = _known(session)
        if (known.get("objects"), known.get("frames")) != (_count(session), session.length):
            return at_once(request, *values)
        if session.has_results:
            return nothing()
    return gr.skip(), gr.skip(), gr.skip(), gr.skip()


def _not_known(sentence: str, *_: Any) -> Answer:
    return panels.message(sentence, "bad"), gr.update(visible=False), 0, gr.update(visible=True)


@in_words(_not_known, raises=False)
def by_request(request: gr.Request, *values: Any) -> Answer:
    """Time a few frames and say what a run would take."""
    with leaving.while_wanted(studio.workspace_of(request).check_here):
        found = timed(studio.session_of(request), settings.read(*values))
    return _shown(found)


def _shown(found: Estimate) -> Answer:
    proposed = found.proposed_size or 0
    button = gr.update(visible=bool(proposed), value=f"Use {proposed} px")
    return panels.estimate(found), button, proposed, gr.update(visible=False)


def timed(session: Session, chosen: TrackSettings) -> Estimate:
    """Time a few frames, and remember the figures. Raises InputError."""
    if not checkpoints.is_at_hand(chosen.model):
        raise xmem.InputError(f"{chosen.model} is not at hand yet: choose it in the settings, and it is fetched.")
    found = estimate_session(str(session.folder), chosen)
    keep(session, found, chosen)
    return found


def figures(session: Session, chosen: TrackSettings) -> dict[str, Any]:
    """An estimate as plain values. Raises InputError."""
    found = timed(session, chosen)
    return {
        "seconds": found.seconds,
        "seconds_per_frame": found.seconds_per_frame,
        "peak_bytes": found.peak_bytes,
        "proposed_size": found.proposed_size,
        "reason": found.reason,
    }


def keep(session: Session, found: Estimate, chosen: TrackSettings) -> None:
    """Remember an estimate, so that the run with the same settings can be compared with it."""
    about = {"settings": repr(chosen), "objects": _count(session), "frames": session.length}
    (session.folder / ESTIMATE).write_text(json.dumps(asdict(found) | about))


def learn(session: Session, chosen: TrackSettings, frames: int, seconds: float) -> None:
    """A run took so long: what was expected of these settings gives way to that."""
    if frames >= ENOUGH and (values := _fitting(session, chosen)):
        (session.folder / ESTIMATE).write_text(json.dumps(values | {"seconds_per_frame": seconds / frames}))


def expected_seconds(session: Session, chosen: TrackSettings, scope: str = WHOLE) -> float:
    """What the pending spans should take by the latest estimate, at most; 0 where that was for other settings."""
    values = _fitting(session, chosen)
    return values["seconds_per_frame"] * session.steps_left(chosen, scope) if values else 0.0


def check_memory(session: Session, chosen: TrackSettings) -> None:
    """Refuse a run whose estimate is above the limit; where one is set, and there is no estimate yet, it is made.

    Raises InputError.
    """
    allowed, values = limits().run_bytes, _fitting(session, chosen)
    if values:
        needed = values.get("peak_bytes")
    elif allowed < Limits.run_bytes and not zero.is_lent():  # there, the time of GPUs is rationed
        needed = timed(session, chosen).peak_bytes
    else:
        return
    if needed and needed > allowed:
        raise xmem.InputError(
            f"By its estimate the run needs {panels.size(needed)} of memory, more than the {panels.size(allowed)} "
            "allowed here: choose a smaller inference size, or follow fewer objects."
        )


def _fitting(session: Session, chosen: TrackSettings) -> dict[str, Any]:
    """The latest estimate; empty where it was for other settings."""
    values = _known(session)
    fits = values.get("settings") == repr(chosen) and values.get("objects") == _count(session)
    return values if fits else {}


def _estimate_of(session: Session, values: Sequence[Any]) -> Estimate | None:
    """The latest estimate, where it was for these settings, objects and frames, and nothing was followed since."""
    try:
        known = _fitting(session, settings.read(*values))
        if known.get("frames") != session.length or session.has_results:
            return None
        return Estimate(**{item.name: known[item.name] for item in fields(Estimate)})
    except (KeyError, xmem.InputError):  # one of an earlier version; settings that cannot be
        return None


def _known(session: Session) -> dict[str, Any]:
    try:
        return json.loads((session.folder / ESTIMATE).read_text())
    except (OSError, ValueError):
        return {}


def _count(session: Session) -> int:
    """Objects that an estimate counts with; before the first stroke, one."""
    return max(1, len(session.objects))
