"""A visitor's work: which folder it lives in, how it is opened, and that nobody changes it while a run does."""

import contextlib
import shutil
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import gradio as gr

import xmem
from demo import session as workspaces_on_disk
from demo.session import Workspace, Workspaces

PROJECT = "project.json"
WAIT_SECONDS = 5  # for another click of the same visitor to be done


@cache
def workspaces() -> Workspaces:
    """The workspaces of this process."""
    return Workspaces()


def workspace_of(request: gr.Request | None) -> Workspace:
    """The folder of the visitor who sent `request`; without one a new folder that nobody else can name."""
    return workspaces().of(getattr(request, "session_hash", None))


def has_session(request: gr.Request | None) -> bool:
    return (workspace_of(request).session_folder / PROJECT).exists()


def session_of(request: gr.Request | None) -> "xmem.Session":
    """The visitor's work, opened for reading. Raises InputError where there is no video yet."""
    workspace = workspace_of(request)
    if not (workspace.session_folder / PROJECT).exists():
        raise xmem.InputError("There is no video yet: upload one, or take the sample.")
    workspace.keep_alive()
    return xmem.Session.open(workspace.session_folder)


@contextlib.contextmanager
def editing(request: gr.Request | None) -> Iterator["xmem.Session"]:
    """The visitor's work, opened for changing it; one change at a time.

    Raises InputError where there is no video yet, and while a run or another long change goes on.
    """
    with workspace_of(request).locked(WAIT_SECONDS):
        yield session_of(request)


def begin_session(request: gr.Request | None, source: str | Path, name: str | None = None) -> "xmem.Session":
    """Begin anew with a video; what the visitor did before goes. Raises InputError for what is no video."""
    name = name or workspaces_on_disk.download_stem(source)
    return _replace(request, lambda folder: xmem.Session.create(source, folder, name))


def resume_session(request: gr.Request | None, bundle: str | Path) -> "xmem.Session":
    """Go on with a bundle; what the visitor did before goes. Raises InputError for what is no bundle."""
    return _replace(request, lambda folder: xmem.Session.open_bundle(bundle, folder))


def _replace(request: gr.Request | None, make) -> "xmem.Session":
    """Make a session beside the present one and put it in its place once that has worked."""
    workspace = workspace_of(request)
    with workspace.locked(WAIT_SECONDS):
        fresh = workspace.path / f"new-{time.time_ns()}"
        try:
            make(fresh)
            shutil.rmtree(workspace.session_folder, ignore_errors=True)
            fresh.rename(workspace.session_folder)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
    return xmem.Session.open(workspace.session_folder)
