"""What the stage's script asks for by itself, beside the events: what is new, and small pictures and masks in chunks.

A page names its session by the name of its folder, which is as hard to guess as the key, and opens it for reading only.
"""

import re
from collections.abc import Callable
from typing import Any

import xmem
from demo.failures import in_words
from demo.runs import told
from demo.visit import reel, studio
from demo.visit.asked import whole
from demo.visit.workspace import Workspace
from xmem.session import Session

_FOLDER = re.compile(r"[0-9a-f]{32}")


def _answers(function: Callable[[Any], dict[str, Any]]) -> Callable[[Any], dict[str, Any]]:
    return in_words(lambda sentence, *_: {"error": sentence}, raises=False)(function)


@_answers
def news(asked: Any) -> dict[str, Any]:
    """Whether a run goes on, how far it is, when the work was changed, and a digest of the masks of each chunk.

    asked: {token}.
    """
    workspace, session = session_of(asked)
    running = studio.runs_in(workspace)
    return {
        "running": running,
        "panel": told.latest(workspace) if running else "",
        "edit": session.edit_stamp,
        "chunks": reel.digests(session),
    }


@_answers
def small_pictures(asked: Any) -> dict[str, Any]:
    """asked: {token, chunk}; {frames: JPEG in base64}."""
    _, session = session_of(asked)
    return {"frames": reel.pictures_of(session, _chunk(session, asked))}


@_answers
def small_masks(asked: Any) -> dict[str, Any]:
    """asked: {token, chunk, known: {frame: version}}; {masks: {frame: [version, runs in base64]}, gone: [frames]}."""
    _, session = session_of(asked)
    known = asked.get("known")
    if not isinstance(known, dict):
        raise xmem.InputError("known must be a table of versions by frame.")
    masks, gone = reel.masks_of(session, _chunk(session, asked), known)
    return {"masks": masks, "gone": gone}


FUNCTIONS = [news, small_pictures, small_masks]


def session_of(asked: Any) -> tuple[Workspace, Session]:
    """The workspace and the session that a page names by {token}. Raises InputError where there is none."""
    token = asked.get("token") if isinstance(asked, dict) else None
    if not isinstance(token, str) or not _FOLDER.fullmatch(token):
        raise xmem.InputError("There is no such session.")
    workspace = studio.workspaces().named(token)
    if workspace is None:
        raise xmem.InputError("There is no such session (any more).")
    return workspace, Session.open(workspace.session_folder)


def _chunk(session: Session, asked: dict[str, Any]) -> int:
    return whole(asked.get("chunk"), "chunk", 0, (session.frame_count - 1) // reel.CHUNK)
