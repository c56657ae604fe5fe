"""The tab Export: the result as files for other programs, all made from the stored masks."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gradio as gr

import xmem
from demo.failures import in_words
from demo.html import panels
from demo.runs.follow import follow
from demo.runs.track import TrackStep
from demo.tabs import common as tabs
from demo.visit import studio
from demo.wiring import RENDERINGS, Counters
from xmem.export import EXPORTS, ExportProgress, export
from xmem.session import Session

NAME = "export"  # of this tab's Stop
CHOSEN = ["webm_alpha", "csv"]  # at first

# who needs a kind of file
FOR = {
    "overlay": "To show the result: plays everywhere, with sound.",
    "index_png": "For training and evaluation: one number per object, DAVIS palette.",
    "binary_png": "For image editors: black and white, a folder per object.",
    "matte": "For compositing: white where the objects are, soft edges.",
    "webm_alpha": "For web pages and OBS: the objects on nothing, with sound.",
    "prores_4444": "For Premiere, Resolve and Final Cut: transparent, best quality, large.",
    "rgba_png": "For After Effects, Blender and Nuke: a picture per frame, transparent.",
    "gif": "For chats and issues: plays by itself, few colours.",
    "webp": "For README files: plays by itself, all colours, smaller.",
    "coco": "For detectors: boxes and run-length masks as JSON.",
    "csv": "For spreadsheets: box, area, centre and certainty per frame.",
}
EXPORT_DESCRIPTION = (
    "Make files of the result, from the stored masks. kinds: a list of " + ", ".join(EXPORTS) + ". Returns the files."
)
BUNDLE_DESCRIPTION = (
    "One ZIP with the video, key frames, masks, settings (project.json) and files of the given kinds, as for `export`. "
    "Given to `open_bundle`, it brings the whole work back. Returns the ZIP."
)


@dataclass(frozen=True)
class ExportTab:
    kinds: gr.CheckboxGroup
    export: gr.Button
    stop: gr.Button
    bundle: gr.Button
    panel: gr.HTML
    files: gr.File


def build() -> ExportTab:
    kinds = gr.CheckboxGroup(
        [(f"{kind.label}\n{FOR.get(name, kind.description)}", name) for name, kind in EXPORTS.items()],
        value=[name for name in CHOSEN if name in EXPORTS],
        label="Kinds of files",
        show_label=False,
        container=False,
        elem_id="export-kinds",
    )
    with gr.Row(elem_id="export-row"):
        start = gr.Button("Export", variant="primary", elem_id="export-run", min_width=160, scale=0)
        stop = gr.Button("Stop", variant="stop", visible=False, elem_id="export-stop", min_width=160, scale=0)
        bundle = gr.Button("Everything in one bundle", elem_id="export-bundle", min_width=280, scale=0)
    gr.HTML(
        '<p class="hint">The bundle holds the video, your corrections, all masks and the kinds chosen above. '
        "Drop it where a clip goes, to go on where you left off.</p>"
    )
    panel = gr.HTML(elem_id="export-panel")
    files = gr.File(label="Your files", file_count="multiple", interactive=False, elem_id="export-files")
    return ExportTab(kinds, start, stop, bundle, panel, files)


def wire(step: ExportTab, track: TrackStep, changed: Counters) -> None:
    del track, changed  # all comes from the session
    for buttons, work in (
        ([step.export, step.bundle, step.stop], export_files),
        ([step.bundle, step.export, step.stop], bundle_files),
    ):
        tabs.wire_work(NAME, buttons, step.panel, work, [step.kinds], [step.panel, step.files], **RENDERINGS)
    tabs.wire_stop(NAME, step.stop)
    with gr.Column(visible=False):
        files = gr.File(label="files", file_count="multiple")
        bundle = gr.File(label="bundle")
        tabs.endpoint("export", export_kinds, [step.kinds], [files], EXPORT_DESCRIPTION, **RENDERINGS)
        tabs.endpoint("save_bundle", save_bundle, [step.kinds], [bundle], BUNDLE_DESCRIPTION, **RENDERINGS)


# What the buttons do


@dataclass(frozen=True)
class Making:
    """How far files are. what: at work on; latest: how far that is; before, share: its part of the whole (0 to 1).

    files: those that are finished.
    """

    what: str
    latest: ExportProgress | None
    before: float
    share: float
    files: tuple[Path, ...]


@in_words(lambda sentence, *_: (panels.failed(sentence), gr.skip()))
def export_files(kinds: list[str], request: gr.Request) -> Iterator[tuple[str, Any]]:
    """Make the chosen kinds of files. Yields (progress as HTML, paths), the paths last."""
    if not kinds:
        raise xmem.InputError("No kind of file is chosen: choose at least one above.")
    yield from _delivered(lambda session, folder: make(session, kinds, folder), len(kinds), request)


@in_words(lambda sentence, *_: (panels.failed(sentence), gr.skip()))
def bundle_files(kinds: list[str], request: gr.Request) -> Iterator[tuple[str, Any]]:
    """Make one ZIP of the work and the chosen kinds of files. Yields (progress as HTML, [path]), the path last."""
    yield from _delivered(lambda session, folder: bundle(session, kinds or [], folder), 1, request)


def export_kinds(kinds: list[str], request: gr.Request) -> Iterator[list[str]]:
    """For programs: files of these kinds."""
    yield from _paths(export_files(kinds, request))


def save_bundle(kinds: list[str], request: gr.Request) -> Iterator[str]:
    """For programs: one ZIP of the work and files of these kinds."""
    for (path,) in _paths(bundle_files(kinds, request)):
        yield path


def _paths(steps: Iterator[tuple[str, Any]]) -> Iterator[list[str]]:
    for _, files in steps:
        if isinstance(files, list):
            yield files


def _delivered(
    work: Callable[[Session, Path], Generator[Making, None, Any]], wanted: int, request: gr.Request
) -> Iterator[tuple[str, Any]]:
    workspace, session = studio.workspace_of(request), tabs.tracked(request)
    begun, latest = time.monotonic(), None
    with workspace.new_folder("files-") as folder, tabs.stoppable(workspace, NAME) as stop:
        for latest in follow(_until(stop, work(session, folder))):
            workspace.keep_alive()
            workspace.check_here()
            if latest is not None:
                yield tabs.rendering(latest.what, latest.latest, latest.before, latest.share), gr.skip()
        files = latest.files if latest else ()
        ended = _ended(files, wanted, time.monotonic() - begun, tabs.without_result(session))
        yield ended, [studio.handed(request, path) for path in files] if files else gr.skip()


def _until(stop: Path, steps: Generator[Making, None, Any]) -> Generator[Making, None, None]:
    """These steps, up to the first one after `stop` was made: that one knows every file that is finished."""
    with contextlib.closing(steps):
        for step in steps:
            yield step
            if stop.exists():
                return


def _ended(files: Sequence[Path], wanted: int, seconds: float, note: str) -> str:
    if len(files) < wanted:
        return panels.message(f"Stopped: {len(files)} of {wanted} {'file is' if wanted == 1 else 'files are'} ready.")
    said = f"{len(files)} file{'' if len(files) == 1 else 's'} ready after {panels.duration(seconds)}. {note}"
    return panels.message(said.strip(), "good")


def make(session: Session, kinds: Sequence[str], folder: Path, share: float = 1.0) -> Generator[Making, None, Making]:
    """Write files of these kinds into `folder`; share: what part of the whole work that is. Returns the last step."""
    files: tuple[Path, ...] = ()
    for place, kind in enumerate(kinds):
        step = Making(EXPORTS[kind].label, None, share * place / len(kinds), share / len(kinds), files)
        yield step
        files = (*files, (yield from _of_one(step, export(kind, session, folder, tabs.stem_of(session)))))
    last = Making("Done", None, share, 0, files)
    yield last
    return last


def _of_one(step: Making, steps: Generator[ExportProgress, None, Path]) -> Generator[Making, None, Path]:
    """The steps of one file as steps of the whole; returns its path."""
    with contextlib.closing(steps):
        while True:
            try:
                latest = next(steps)
            except StopIteration as end:
                return end.value
            yield replace(step, latest=latest)


def bundle(session: Session, kinds: Sequence[str], folder: Path) -> Generator[Making, None, None]:
    """Write the files of these kinds, and the ZIP of everything, into `folder`."""
    made = yield from make(session, kinds, folder, share=0.9)
    yield replace(made, what="Packing the bundle", files=())
    path = session.save_bundle(folder / f"{tabs.stem_of(session)}-project.zip", made.files)
    yield Making("Done", None, 1, 0, (path,))
