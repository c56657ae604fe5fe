"""The result video: rendered from the stored masks in the session's style, without tracking again."""

import contextlib
import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import gradio as gr

from demo.failures import in_words
from demo.html import panels
from demo.html.progress import Progress
from demo.visit import studio
from demo.visit.workspace import Workspace, download_stem
from xmem.export import ExportProgress, export
from xmem.session import Session

OLD = "The masks were made before your last change: run again."
RENDERING = "render-"  # how the folder of a rendering begins
SUMMARY = "run.json"  # of the latest run, beside the session's own files


def written(session: Session, latest: ExportProgress | None) -> str:
    """The panel while a file of the result is written; latest: how far that is."""
    done, total = (latest.done, latest.total) if latest else (0, 0)
    return panels.rendering(*read_summary(session), done, total)


@contextlib.contextmanager
def rendered(session: Session, workspace: Workspace) -> Iterator[Path]:
    """The result as a video file, which goes when the context ends."""
    with workspace.new_folder(RENDERING) as folder:
        for _ in _export(session, folder):
            workspace.keep_alive()
            workspace.check_here()
        yield next(folder.glob("*.mp4"))


def _export(session: Session, folder: Path) -> Iterator[ExportProgress]:
    return export("overlay", session, folder, download_stem(f"{session.name}."))


def keep_summary(session: Session, progress: Progress, stopped: bool) -> None:
    """Remember what the latest run did, for the panel."""
    values = asdict(progress) | {"stopped": stopped, "given": _given(session)}
    (session.folder / SUMMARY).write_text(json.dumps(values))


def read_summary(session: Session) -> tuple[Progress | None, bool]:
    """What the latest run did, and whether it was stopped; None where that is not known (a bundle was opened)."""
    try:
        values: dict[str, Any] = json.loads((session.folder / SUMMARY).read_text())
        stopped = values.pop("stopped")
        for name in ("given", "preview"):  # the latter in sessions of earlier versions
            values.pop(name, None)
        return Progress(**values), stopped
    except (OSError, ValueError, KeyError, TypeError):
        return None, False


def _given(session: Session) -> list[list[Any]]:
    """The key frames, as JSON keeps them: what a result was made from."""
    return [[key.frame, key.mask, list(key.objects)] for key in session.key_frames]


def is_old(session: Session) -> bool:
    """Whether key frames have changed since the latest run, and results are still those from before."""
    try:
        given = json.loads((session.folder / SUMMARY).read_text())["given"]
    except (OSError, ValueError, KeyError, TypeError):
        return False  # not known: a bundle was opened
    return session.has_results and bool(session.pending()) and given != _given(session)


@in_words(lambda *_: gr.skip(), raises=False)
def old(request: gr.Request) -> Any:
    """What is taken away says so after a correction, until the next run."""
    if not studio.has_session(request) or not is_old(studio.session_of(request)):
        return ""
    return panels.message(OLD)
