"""The result video: rendered from the stored masks in the session's style, without tracking again."""

import contextlib
import json
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import gradio as gr

from demo.failures import in_words
from demo.html import panels
from demo.html.progress import Progress
from demo.runs.follow import follow
from demo.visit import studio
from demo.visit.workspace import Workspace, download_stem
from demo.wiring import stamp
from xmem.export import ExportProgress, export
from xmem.session import Session

RENDERING = "render-"  # how the folder of a rendering begins
SUMMARY = "run.json"  # of the latest run, beside the session's own files


@in_words(lambda sentence, *_: (panels.failed(sentence), gr.skip(), gr.skip()), raises=False)
def show(request: gr.Request) -> Iterator[tuple[Any, Any, Any]]:
    """Render the result anew. Yields (panel, result video, its download); the video comes last.

    Stops where the visitor asked to; what was shown before stays then. Without a result it does nothing.
    """
    session = studio.session_of(request)
    if not session.has_results:
        yield gr.skip(), gr.skip(), gr.skip()
        return
    yield from _show(session, studio.workspace_of(request))


def _show(session: Session, workspace: Workspace) -> Iterator[tuple[Any, Any, Any]]:
    progress, stopped = read_summary(session)
    with workspace.new_folder(RENDERING) as folder:
        newest = workspace.path / "newest-render"
        newest.write_text(folder.name)
        for step in follow(_export(session, folder)):
            workspace.keep_alive()
            workspace.check_here()
            if newest.read_text() != folder.name:  # something changed since: that rendering shows it
                yield gr.skip(), gr.skip(), gr.skip()
                return
            if workspace.stop_file.exists():
                workspace.clear_stop()
                yield panels.finished(progress, stopped), gr.skip(), gr.skip()
                return
            yield written(session, step), gr.skip(), gr.skip()
        video = str(next(folder.glob("*.mp4")))
        # Gradio copies the file into its cache before it asks for more, and then the folder goes
        yield panels.finished(progress, stopped), video, video


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
    values = asdict(replace(progress, preview=None)) | {"stopped": stopped}
    (session.folder / SUMMARY).write_text(json.dumps(values))


def read_summary(session: Session) -> tuple[Progress | None, bool]:
    """What the latest run did, and whether it was stopped; None where that is not known (a bundle was opened)."""
    try:
        values: dict[str, Any] = json.loads((session.folder / SUMMARY).read_text())
        stopped = values.pop("stopped")
        return Progress(**values), stopped
    except (OSError, ValueError, KeyError, TypeError):
        return None, False


def _warned(sentence: str, *_: Any) -> Any:
    gr.Warning(sentence)
    return gr.skip()


@in_words(_warned, raises=False)
def set_opacity(opacity: float, request: gr.Request) -> Any:
    """The overlay's opacity was changed in the settings. An update of (restyled)."""
    if not studio.has_session(request):
        return gr.skip()
    with studio.editing(request) as session:
        session.set_style(replace(session.style, opacity=float(opacity)))
        return stamp() if session.has_results else gr.skip()
