"""A visitor's work: which folder it lives in, how it is opened, and that one change is made at a time."""

import contextlib
import shutil
from collections.abc import Callable, Generator, Iterator
from functools import cache
from pathlib import Path

import gradio as gr

import xmem
from demo.visit.keeping import Workspaces
from demo.visit.workspace import Workspace, download_stem
from xmem import leaving
from xmem.limits import limits
from xmem.session import Session
from xmem.video.fitting import Fitting

RUN = "track-"  # how the folder of a run that changes the work begins
WAIT_SECONDS = 5  # for another click of the same visitor to be done


@cache
def workspaces() -> Workspaces:
    """The workspaces of this process."""
    return Workspaces()


def _visit(request: gr.Request | None) -> str | None:
    return getattr(request, "session_hash", None)


def workspace_of(request: gr.Request | None) -> Workspace:
    """The folder of the session that `request` is at; without one an empty folder that nobody else can name."""
    return workspaces().of(_visit(request))


def key_of(request: gr.Request | None) -> str | None:
    """The key of the session that `request` is at; None where there is no video yet."""
    return workspaces().key_of(_visit(request)) if has_session(request) else None


def has_session(request: gr.Request | None) -> bool:
    return Session.is_in(workspace_of(request).session_folder)


def session_of(request: gr.Request | None) -> Session:
    """The visitor's work, opened for reading. Raises InputError where there is no video yet."""
    workspace = workspace_of(request)
    if not Session.is_in(workspace.session_folder):
        raise xmem.InputError("There is no video yet: upload one, or open one of the gallery.")
    workspace.keep_alive()
    return Session.open(workspace.session_folder)


def is_running(request: gr.Request | None) -> bool:
    """Whether a run of this visitor's goes on, or waits."""
    return runs_in(workspace_of(request))


def runs_in(workspace: Workspace) -> bool:
    """Whether a run goes on, or waits, that changes the work of this session."""
    return any(workspace.work.glob(f"{RUN}*"))


@contextlib.contextmanager
def running(workspace: Workspace) -> Iterator[None]:
    """Held by a run of a work, which may be changed meanwhile. Raises InputError while another run goes on."""
    with workspace.locked(WAIT_SECONDS, "run"), workspace.new_folder(RUN):
        yield


@contextlib.contextmanager
def editing(request: gr.Request | None) -> Iterator[Session]:
    """The visitor's work, opened for changing it; one change at a time.

    Raises InputError where there is no video yet, and while another change takes long.
    """
    with workspace_of(request).locked(WAIT_SECONDS):
        yield session_of(request)


def begin_session(request: gr.Request | None, source: str | Path, name: str | None = None) -> Session:
    """Begin a session with a video; the one before stays as it is. Raises InputError for what is no video, and TooMuch
    for one of which `beginning` would take what is allowed."""
    with _new_place(request) as folder:
        return Session.create(source, folder, name or download_stem(source))


def beginning(
    request: gr.Request | None, source: str | Path, check: Callable[[], object] = lambda: None
) -> Generator[Fitting, None, Session]:
    """`begin_session` with what is allowed of a video, which tells how far a smaller copy is. Closing it leaves nothing
    of it, and the visit where it was. check: asked now and then; raises where it is to end so."""
    with _new_place(request, check) as folder:
        return (yield from Session.creating(source, folder, download_stem(source), fit=True))


def resume_session(request: gr.Request | None, bundle: str | Path) -> Session:
    """Begin a session with a bundle; the one before stays as it is. Raises InputError for what is no bundle."""
    with _new_place(request) as folder:
        return Session.open_bundle(bundle, folder)


@contextlib.contextmanager
def _new_place(request: gr.Request | None, check: Callable[[], object] = lambda: None) -> Iterator[Path]:
    """The folder for a session with a key of its own, where the visit goes once that was made and the visitor still
    waits for it: else nothing of it stays. check: as in `beginning`."""
    before = workspace_of(request)
    if workspaces().count_begun(_visit(request)) > limits().visitor_sessions:
        raise xmem.InputError(
            f"A visit may begin {limits().visitor_sessions} sessions: go on with one of them, or load the page again."
        )
    key, workspace = workspaces().new()
    workspace.path.mkdir(mode=0o700)
    try:
        with leaving.while_wanted(lambda: (before.check_here(), check())):
            yield workspace.session_folder
        before.check_here()
    except BaseException:
        shutil.rmtree(workspace.path, ignore_errors=True)
        raise
    _move_on(request)
    workspaces().visit(_visit(request), key)


def _move_on(request: gr.Request | None) -> None:
    """Stop what runs in the session that is left: all that it did is kept."""
    if is_running(request):
        workspace_of(request).request_stop()


def join_session(request: gr.Request | None, key: str) -> Session:
    """Go on with the session that has this key. Raises InputError where there is none (any more)."""
    if workspaces().find(key) is None:
        raise xmem.InputError("The work of this address is over or was never here: begin with a video.")
    workspaces().visit(_visit(request), key)
    return session_of(request)


def leave_session(request: gr.Request | None) -> None:
    """Go on without a video; the session stays for those who have its key."""
    _move_on(request)
    workspaces().leave(_visit(request))


def depart(request: gr.Request | None) -> None:
    """The page was closed or the program ended: files that are being made for it are left. The session stays, and a
    run that the page began goes on (see `demo.runs.told`)."""
    workspaces().depart(_visit(request))


def handed(request: gr.Request | None, path: Path) -> str:
    """A file at a place from which Gradio hands it to this visitor; the original may go. It is there for as long as the
    visit."""
    return workspaces().hand(_visit(request), path)


def is_own(request: gr.Request | None, upload: Path) -> bool:
    """Whether a file that Gradio keeps was given or handed to this visitor."""
    return workspaces().claim(_visit(request), upload)
