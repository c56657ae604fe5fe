"""What the tabs of "Take away" have in common: a result to take from, work that can be stopped, errors as sentences."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.components import Component

import xmem
from demo.html import panels
from demo.visit import studio
from demo.visit.workspace import Workspace, download_stem
from demo.wiring import QUIET
from xmem.export import ExportProgress
from xmem.render.palette import color_of
from xmem.session import Session


def tracked(request: gr.Request | None) -> Session:
    """The visitor's session. Raises InputError where nothing was tracked in it yet."""
    session = studio.session_of(request)
    if not session.stats():
        raise xmem.InputError("There is nothing to take away yet: paint an object and press Run.")
    return session


def stem_of(session: Session) -> str:
    """How downloads begin: the upload's name, made harmless."""
    return download_stem(f"{session.name}.")  # the dot, so that "take 1.2" keeps its 2


def colours_of(session: Session) -> dict[int, tuple[int, int, int]]:
    """RGB (0 to 255) by object id."""
    return {item.id: color_of(item.color + 1) for item in session.objects}


def without_result(session: Session) -> str:
    """A sentence about frames of the trimmed range that have no mask yet, or ""."""
    missing = sum(not session.has_result(frame) for frame in range(session.first, session.last + 1))
    if not missing:
        return ""
    return f"{missing} frame{' was' if missing == 1 else 's were'} not tracked yet: no object there."


# Work that takes a while


def stop_file(workspace: Workspace, name: str) -> Path:
    """Present when the visitor asked to stop this kind of work; other work of theirs goes on."""
    return workspace.path / f"stop-{name}"


@contextlib.contextmanager
def stoppable(workspace: Workspace, name: str) -> Iterator[Path]:
    """The `stop_file` of work that is done meanwhile; what it asked for has ended with it, for programs, too."""
    stop = stop_file(workspace, name)
    try:
        yield stop
    finally:
        stop.unlink(missing_ok=True)


def wire_work(
    name: str,
    buttons: list[gr.Button],
    panel: gr.HTML,
    work: Callable[..., Iterator[Any]],
    inputs: list[Component],
    outputs: list[Component],
    **listener: Any,
) -> None:
    """Wire `work`, which is `stoppable` by this name and yields `outputs`.

    buttons: the one that starts it, others that make room meanwhile, and last the one that stops it (see `wire_stop`).
    listener: arguments of Gradio's for the work itself.
    """
    *hidden, _ = buttons

    def begin(request: gr.Request) -> list[Any]:
        stop_file(studio.workspace_of(request), name).unlink(missing_ok=True)
        shown = gr.update(visible=True, interactive=True, value="Stop")
        return [panels.busy("Starting…"), *(gr.update(visible=False) for _ in hidden), shown]

    def end() -> list[Any]:
        return [*(gr.update(visible=True) for _ in hidden), gr.update(visible=False)]

    begun = buttons[0].click(begin, None, [panel, *buttons], queue=False, **QUIET)
    worked = begun.then(work, inputs, outputs, **QUIET, **listener)
    for ended in (worked.success, worked.failure):  # `then` alone does not follow a generator that failed
        ended(end, None, buttons, **QUIET)


def wire_stop(name: str, stop: gr.Button) -> None:
    """Wire the button that ends the work `name` after the step it is at."""

    def request_stop(request: gr.Request) -> Any:
        workspace = studio.workspace_of(request)
        workspace.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        stop_file(workspace, name).touch()
        return gr.update(interactive=False, value="Stopping…")

    stop.click(request_stop, None, stop, queue=False, **QUIET)


def endpoint(
    name: str,
    function: Callable[..., Any],
    inputs: list[Component],
    outputs: list[Component],
    description: str,
    **listener: Any,
) -> None:
    """An event that only programs fire; call it where components are hidden."""
    gr.Button().click(function, inputs, outputs, api_name=name, api_description=description, **listener)


def rendering(what: str, latest: ExportProgress | None, before: float = 0.0, share: float = 1.0) -> str:
    """How far a file is, as a bar; before, share: what part of a longer work it is (0 to 1)."""
    if latest is None or not latest.total:
        return panels.busy(f"{what}…", before or None)
    return panels.busy(f"{what}: frame {latest.done} of {latest.total}", before + share * latest.done / latest.total)
