"""A visitor's work: which folder it lives in, how it is opened, and that nobody changes it while a run does."""

import contextlib
import shutil
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import gradio as gr

import xmem
from demo.visit import workspace as workspaces_on_disk
from demo.visit.workspace import Workspace, Workspaces
from xmem.session import Session

RUN = "track-"  # how the folder of a run that changes the work begins
WAIT_SECONDS = 5  # for another click of the same visitor to be done


@cache
def workspaces() -> Workspaces:
    """The workspaces of this process."""
    return Workspaces()


def workspace_of(request: gr.Request | None) -> Workspace:
    """The folder of the visitor who sent `request`; without one a new folder that nobody else can name."""
    return workspaces().of(getattr(request, "session_hash", None))


def has_session(request: gr.Request | None) -> bool:
    return Session.is_in(workspace_of(request).session_folder)


def session_of(request: gr.Request | None) -> Session:
    """The visitor's work, opened for reading. Raises InputError where there is no video yet."""
    workspace = workspace_of(request)
    if not Session.is_in(workspace.session_folder):
        raise xmem.InputError("There is no video yet: upload one, or take the sample.")
    workspace.keep_alive()
    return Session.open(workspace.session_folder)


def is_running(request: gr.Request | None) -> bool:
    """Whether a run of this visitor's goes on, which alone may change the work then."""
    return any(workspace_of(request).path.glob(f"{RUN}*"))


@contextlib.contextmanager
def running(workspace: Workspace) -> Iterator[None]:
    """Held by a run of the visitor's work. Raises InputError while another change goes on."""
    with workspace.locked(WAIT_SECONDS), workspace.new_folder(RUN):
        yield


@contextlib.contextmanager
def editing(request: gr.Request | None) -> Iterator[Session]:
    """The visitor's work, opened for changing it; one change at a time.

    Raises InputError where there is no video yet, and while a run or another long change goes on.
    """
    with workspace_of(request).locked(WAIT_SECONDS):
        yield session_of(request)


def begin_session(request: gr.Request | None, source: str | Path, name: str | None = None) -> Session:
    """Begin anew with a video; what the visitor did before goes. Raises InputError for what is no video."""
    name = name or workspaces_on_disk.download_stem(source)
    return _replace(request, lambda folder: Session.create(source, folder, name))


def resume_session(request: gr.Request | None, bundle: str | Path) -> Session:
    """Go on with a bundle; what the visitor did before goes. Raises InputError for what is no bundle."""
    return _replace(request, lambda folder: Session.open_bundle(bundle, folder))


def _replace(request: gr.Request | None, make) -> Session:
    """Make a session beside the present one and put it in its place once that has worked, and the visitor still waits
    for it: else nothing of it stays."""
    workspace = workspace_of(request)
    with workspace.locked(WAIT_SECONDS), workspace.new_folder("open-") as folder:
        make(folder / "session")
        workspace.check_here()
        shutil.rmtree(workspace.session_folder, ignore_errors=True)
        (folder / "session").rename(workspace.session_folder)
    return Session.open(workspace.session_folder)


def end_session(request: gr.Request | None) -> None:
    """The video was taken away, and the work on it goes with it."""
    workspace = workspace_of(request)
    with contextlib.suppress(xmem.InputError), workspace.locked(WAIT_SECONDS):
        shutil.rmtree(workspace.session_folder, ignore_errors=True)
