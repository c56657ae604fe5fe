"""The run, what it would compute, and how far it is."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import gradio as gr
from gradio.events import Dependency

import xmem
from demo.failures import in_words
from demo.html import panels
from demo.html.progress import Progress
from demo.metrics import METRICS
from demo.runs import follow, models, preflight, rendering, settings, told, turn, zero
from demo.runs.run import propagate_session, steps_left, why_unread
from demo.visit import scene, studio
from demo.visit.workspace import Workspace
from demo.wiring import QUIET, RUNS, SETTLE, SETTLE_WITH_FRAME, Counters, stamp
from xmem.limits import limits
from xmem.session import Session, TrackSettings
from xmem.session.settings import WHOLE
from xmem.session.spans import plan

WAITING_UNWATCHED_SECONDS = 20.0  # after which a run that nobody looks at gives up its place in the line
REACH = [("Around here", "around"), ("To the key frames", "neighbours"), ("This frame only", "frame")]
# A run offers to keep the rest: its panel comes anew every second, so that the listener is not the button's.
KEEP = 'element.addEventListener("click", (event) => { if (event.target.closest("[data-keep]")) trigger("keep"); });'
TOO_LONG = "A run may take {} here: press Continue to go on."


@dataclass(frozen=True)
class TrackStep:
    run: gr.Button
    start_over: gr.Button  # beside Run, where that goes on with an earlier run
    stop: gr.Button
    waiting: gr.HTML
    panel: gr.HTML
    scope: gr.Radio  # shown where results are corrected, or could be farther than they were
    settings: settings.SettingsPanel


def build_run() -> tuple[gr.Button, gr.Button, gr.Button, gr.HTML, gr.HTML, gr.Radio]:
    """Run, Start over, Stop, what is to be computed, how far it is, and how far a correction is carried; the settings
    follow (see `TrackStep`)."""
    with gr.Row(elem_id="run-row"):
        run = gr.Button("Run", variant="primary", elem_id="run", min_width=120)
        anew = gr.Button("Start over", elem_id="start-over", visible=False, min_width=100)
        stop = gr.Button("Stop", variant="stop", elem_id="stop", visible=False, min_width=120)
    waiting = gr.HTML(elem_id="pending", min_height=0)
    panel = gr.HTML(js_on_load=KEEP, elem_id="panel", min_height=0)
    scope = gr.Radio(REACH, value="around", show_label=False, container=False, visible=False, elem_id="scope")
    return run, anew, stop, waiting, panel, scope


def wire(
    step: TrackStep,
    canvas: gr.HTML,
    frame: gr.Number,
    with_result: Sequence[gr.Column],
    status: gr.HTML,
    changed: Counters,
    came_back: Dependency,
) -> None:
    """canvas, frame: what is painted on, and its frame. with_result: blocks that show once there is a result.
    came_back: the event after which the page shows the work of its address."""
    settings.wire(step.settings, status)
    chosen = step.settings
    gr.on(
        [
            changed.refreshed.change,
            step.scope.input,
            *(each.change for each in (chosen.model, chosen.size, chosen.direction, chosen.pause)),
            chosen.memory.input,
        ],
        waiting,
        [step.scope, *chosen.controls],
        [step.waiting, step.run, step.start_over, step.scope],
        trigger_mode="always_last",
        **QUIET,
    )
    outputs = [step.run, step.stop, canvas, *with_result, changed.refreshed]
    buttons = [step.run, step.start_over, step.stop]
    for button, work in ((step.run, run), (step.start_over, run_anew)):
        begun = button.click(begin, None, [step.panel, *buttons], queue=False, js=SETTLE, **QUIET)
        ran = begun.then(work, [step.scope, *chosen.controls], step.panel, **RUNS, **QUIET)
        for ended in (ran.success, ran.failure):  # `then` alone does not follow a generator that failed
            ended(finish, frame, outputs, js=SETTLE_WITH_FRAME, **QUIET)
    joined = gr.State(0)
    for there_is_one in (came_back.success, canvas.join):
        there_is_one(join, None, [step.panel, *buttons, joined], **QUIET)
    joined.change(finish, frame, outputs, js=SETTLE_WITH_FRAME, **QUIET)
    step.stop.click(stop, None, step.stop, queue=False, **QUIET)
    step.panel.keep(keep_rest, None, step.stop, queue=False, **QUIET)


# What the controls do


@in_words(lambda sentence, *_: (panels.waiting(sentence), gr.skip(), gr.skip(), gr.skip()), raises=False)
def waiting(request: gr.Request, scope: str, *values: Any) -> tuple[Any, ...]:
    """What a run with these settings would compute. Updates of (the line beside Run, Run, Start over, the scope)."""
    if not studio.has_session(request):
        return panels.waiting(""), "Run", gr.update(visible=False), gr.update(visible=False)
    session, chosen = studio.session_of(request), settings.read(*values)
    goes_on = session.suspended(chosen, scope) > 0
    shown = gr.update(visible=goes_on and not studio.is_running(request))
    line = f"{describe_pending(session, chosen, scope)} {_of_the_share(session, chosen)}".strip()
    has_reach = session.has_results and bool(session.pending(chosen, WHOLE))
    return panels.waiting(line), _run_label(session, chosen, scope), shown, gr.update(visible=has_reach)


def _of_the_share(session: Session, chosen: TrackSettings) -> str:
    """What a run counts of the visitor's GPU time, where that is rationed."""
    if not zero.is_lent() or not session.pending(chosen):
        return ""
    expected = preflight.expected_seconds(session, chosen) or steps_left(session, chosen) / zero.FRAMES_PER_SECOND
    return f"That takes about {zero.counted(expected)} s of your share of GPU time ({zero.SHARES})."


def _run_label(session: Session, chosen: TrackSettings, scope: str) -> str:
    """ "Run", or where it goes on with an earlier run, "Continue from frame 21"; without a number where that run has
    passed the frames once already, or goes on in more places than one."""
    if not session.suspended(chosen, scope):
        return "Run"
    frame = session.goes_on_at(chosen, scope)
    return "Continue" if frame is None else f"Continue from frame {frame + 1}"


def describe_pending(session: Session, chosen: TrackSettings, scope: str) -> str:
    """ "2 of 3 spans are up to date; 34 frames to compute." """
    ids = tuple(sorted(item.id for item in session.objects))
    spans = plan(session.key_frames, ids, session.first, session.last, chosen.direction)
    if not spans:
        return ""
    pending = session.pending(chosen, scope)
    if not pending:
        return "Everything is up to date."
    frames = sum(span.length for span in pending)
    share = session.suspended(chosen, scope) / frames
    done = f", {share:.0%} of that is done" if share else ""
    compute = f"{frames} frame{'' if frames == 1 else 's'} to compute{done}."
    current = len(spans) - len(pending)
    if len(spans) == 1 or not current:
        return compute
    return f"{current} of {len(spans)} spans {'is' if current == 1 else 'are'} up to date; {compute}"


def begin(request: gr.Request) -> tuple[Any, ...]:
    """Run or Start over was pressed. Updates of (panel, run button, start over button, stop button)."""
    if not studio.is_running(request):  # in another tab
        studio.workspace_of(request).clear_stop()
    return panels.busy("Starting…"), *begin_buttons()


def begin_buttons() -> tuple[Any, ...]:
    """While a run goes on. Updates of (run button, start over button, stop button)."""
    return (
        gr.update(visible=False),
        gr.update(visible=False),
        gr.update(visible=True, interactive=True, value="Stop"),
    )


def keep_rest(request: gr.Request) -> Any:
    """The offer was taken: the run ends, and frames that it has not come to stay as they were."""
    studio.workspace_of(request).request_stop(keep_rest=True)
    return gr.update(interactive=False, value="Stopping…")


def stop(request: gr.Request) -> Any:
    """Stop was pressed: the run ends after the frame it is at, and keeps what it has."""
    studio.workspace_of(request).request_stop()
    return gr.update(interactive=False, value="Stopping…")


@in_words(lambda sentence, *_: panels.failed(sentence))
def run(request: gr.Request, scope: str, *values: Any) -> Iterator[str]:
    """Compute what is pending, from where it was left. Yields the panel about once per second."""
    yield from _panels(request, settings.read(*values), scope, start_over=False)


@in_words(lambda sentence, *_: panels.failed(sentence))
def run_anew(request: gr.Request, scope: str, *values: Any) -> Iterator[str]:
    """Compute what is pending, from its beginning. Yields the panel about once per second."""
    yield from _panels(request, settings.read(*values), scope, start_over=True)


def _panels(request: gr.Request, chosen: TrackSettings, scope: str, start_over: bool) -> Iterator[str]:
    """Of a run that goes on when the page is closed or loaded again."""
    session, workspace = studio.session_of(request), studio.workspace_of(request)
    if studio.is_running(request):  # in another tab
        yield from told.watch(workspace, lambda: studio.is_running(request))
        return
    check_ready(session)
    steps = compute(session, chosen, workspace, start_over=start_over, scope=scope)
    for latest in follow.follow(steps, goes_on=True):
        told.looked_on(workspace)
        if latest:
            yield latest[0]


def join(request: gr.Request) -> Iterator[tuple[Any, ...]]:
    """The page came to a session: it follows the run that goes on there, if any, and then shows the result.

    It alone decides whether there is a run, so that none that ends while the page is being loaded is missed. Yields
    updates of (panel, run button, start over button, stop button, joined), the last for the result.
    """
    was_running = studio.is_running(request)
    if was_running:
        shown = begin_buttons()
        workspace = studio.workspace_of(request)
        for panel in told.watch(workspace, lambda: studio.is_running(request)):
            yield panel, *shown, gr.skip()
            shown = (gr.skip(),) * 3
    has_result = studio.has_session(request) and studio.session_of(request).has_results
    yield (gr.skip(),) * 4 + (stamp() if was_running or has_result else gr.skip(),)


def check_ready(session: Session) -> None:
    """Raises InputError where there is nothing to follow."""
    if not session.key_frames:
        raise xmem.InputError("Nothing is painted yet: paint the object on a frame, or choose a mask file.")


def compute(
    session: Session,
    chosen: TrackSettings,
    workspace: Workspace,
    is_visitors: bool = True,
    start_over: bool = False,
    scope: str = WHOLE,
) -> Iterator[tuple[str, Progress]]:
    """Every run, of page and programs: compute what is pending in a session, as far as the visitor lets it.

    Yields (panel, what was done) about once per second. is_visitors: the session is the visitor's work, which waits
    meanwhile. start_over: what is pending begins anew, where an earlier run was left. scope: how far corrections are
    carried (see `Session.propagate`). Raises InputError.
    """
    last = Progress()
    if scope == "frame" and session.pending(chosen):
        with studio.running(workspace):
            session.keep_rest(chosen)
        if not session.pending(chosen):
            yield panels.kept(), last
            return
    for model in models.make_ready(chosen.model):
        if isinstance(model, str):
            yield model, last
    chosen = chosen.with_model(model.name)
    if not session.pending(chosen, scope):
        for _ in session.propagate(chosen):  # says what is missing, or keeps the settings
            pass
        yield panels.busy("Everything is up to date."), last
        return
    preflight.check_memory(session, chosen)
    expected = preflight.expected_seconds(session, chosen, scope)
    with contextlib.ExitStack() as held:
        place = held.enter_context(turn.line().place(expected, turn.device_of(chosen)))
        if is_visitors:
            held.enter_context(studio.running(workspace))
            told.looked_on(workspace)
        watch = told.Watch(workspace)
        while not place.wait(follow.HEARTBEAT_SECONDS):
            last = Progress(ahead=place.ahead, wait_seconds=place.seconds)
            if is_visitors:
                told.tell(workspace, panels.waits(last))
            yield panels.waits(last), last
            if workspace.stop_file.exists():
                workspace.clear_stop()
                yield panels.message("Stopped before its turn came: nothing was changed."), last
                return
            if is_visitors and watch.seconds() > WAITING_UNWATCHED_SECONDS:
                return
        last, note, most = Progress(), model.note, 0
        steps = propagate_session(str(session.folder), str(workspace.stop_file), chosen, start_over, expected, scope)
        for latest in follow.follow(steps):
            workspace.keep_alive()
            if latest is None:
                panel = panels.busy(f"Loading {panels.short(chosen.model)}…")
            else:
                if latest.seconds > limits().run_seconds:
                    note = TOO_LONG.format(panels.duration(limits().run_seconds))
                    workspace.request_stop()
                most = max(most, latest.total or 0)
                ended_early = latest.total != most  # where masks agreed, which nobody had expected
                last = replace(latest, note=note or latest.note, estimate=0.0 if ended_early else expected)
                panel = panels.running(last)
                place.tell(last.seconds_left)
            if turn.line().ends:
                workspace.request_stop()
            if is_visitors:
                told.tell(workspace, panel)
                if watch.seconds() > told.UNWATCHED_SECONDS:
                    workspace.request_stop()
            yield panel, last
        stopped = workspace.stop_file.exists() and last.done != last.total
        METRICS.run("stopped" if stopped else "done", last.done, last.seconds)
        preflight.learn(session, chosen, last.done, last.seconds)
        if stopped and workspace.keeps_rest:
            Session.open(session.folder).keep_rest(chosen)
            last, stopped = replace(last, total=last.done, estimate=0.0), False
        elif not stopped and (unread := why_unread(Session.open(session.folder), chosen)):
            last = replace(last, note=f"{last.note} {unread}".strip())
        workspace.clear_stop()
        rendering.keep_summary(session, last, stopped)
        panel = panels.finished(last, stopped)
        if is_visitors:
            told.tell(workspace, panel)
        yield panel, last
        if stopped and turn.line().ends:
            if is_visitors:
                told.tell(workspace, panels.failed(turn.ENDING))
            raise xmem.InputError(turn.ENDING)


def finish(frame: float, request: gr.Request) -> tuple[Any, ...]:
    """The run is over, however it ended. Updates of (run, stop, canvas, check, take away, refreshed)."""
    idle = gr.update(visible=True), gr.update(visible=False)
    if not studio.has_session(request):
        return *idle, *(gr.skip(),) * 4
    session = studio.session_of(request)
    shown = scene.of_frame(session, min(max(int(frame), session.first), session.last))
    has_result = gr.update(visible=session.has_results)
    return *idle, shown, has_result, has_result, stamp()


def outcome(session: Session) -> str:
    """The panel between runs: what the latest one did, "" before the first."""
    return panels.finished(*rendering.read_summary(session)) if session.has_results else ""
