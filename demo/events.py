"""What each control does: plain functions, which tests call without a browser."""

import logging
import shutil
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np

import xmem
from demo import canvas, panels, session
from demo.tracking import Progress, Settings, follow, going_on, pack_masks, propagate
from xmem import checkpoints
from xmem.checkpoints import EMBEDDED, REGISTRY
from xmem.render.overlay import tint
from xmem.video import VideoInfo, first_frame, probe

SAMPLES = Path(__file__).parent / "samples"
SAMPLE_VIDEO = SAMPLES / "big-buck-bunny.mp4"
SAMPLE_MASK = SAMPLES / "big-buck-bunny.png"
ORIGINAL_SIZE = 0  # the choice "as the video"
CPU_SIZE = 384  # pixels: where xmem-lite scores best on held-back clips; at 288 it loses small objects
GPU_SIZE = 480  # pixels: the paper's

log = logging.getLogger("xmem.demo")


@cache
def workspaces() -> session.Workspaces:
    """The workspaces of this process."""
    return session.Workspaces()


def workspace_of(request: gr.Request | None) -> session.Workspace:
    return workspaces().of(getattr(request, "session_hash", None))


# 1 Video


def load_video(video: str | None) -> tuple[Any, str, Any]:
    """A video was chosen (or taken away, None): its first frame to paint on, a line about it, the paint step shown."""
    if video is None:
        return gr.update(value=None), "", gr.update(visible=False)
    try:
        info, frame = probe(video), first_frame(video)
    except xmem.InputError as error:
        return gr.update(value=None), panels.message(str(error), "bad"), gr.update(visible=False)
    return on_canvas(frame), panels.of_video(describe(info), frame), gr.update(visible=True)


def load_sample() -> tuple[Any, Any, str, Any]:
    """The bundled clip, with its mask already painted."""
    frame = first_frame(SAMPLE_VIDEO)
    index, _ = canvas.of_mask(str(SAMPLE_MASK), frame.shape[1], frame.shape[0])
    note = panels.of_video("The sample, Big Buck Bunny, is loaded and painted: press Run.", frame)
    return str(SAMPLE_VIDEO), on_canvas(frame, index), note, gr.update(visible=True)


def sample_picture() -> str:
    """The sample's first frame with its mask, as a data address."""
    frame = first_frame(SAMPLE_VIDEO)
    index, _ = canvas.of_mask(str(SAMPLE_MASK), frame.shape[1], frame.shape[0])
    return panels.thumbnail(tint(frame, index), 640)


def on_canvas(frame: np.ndarray, index: np.ndarray | None = None) -> Any:
    """An update of the editor. It carries the size of the canvas, without which painted layers land displaced."""
    height, width = frame.shape[:2]
    return gr.update(value=canvas.from_index(frame, index), canvas_size=(width, height))


def describe(info: VideoInfo) -> str:
    """A line about a video: "640×360, 90 frames, 25 frames/s, 4 s, with sound"."""
    about = "" if info.frame_count_exact else "about "
    parts = [f"{info.width}×{info.height}"]
    if info.frame_count:
        parts.append(f"{about}{info.frame_count} frame{'s' if info.frame_count != 1 else ''}")
    parts.append(f"{float(info.rate):.3g} frames/s")
    if info.duration:
        parts.append(f"{info.duration:.1f} s" if info.duration < 60 else panels.duration(info.duration))
    if info.has_audio:
        parts.append("with sound")
    return ", ".join(parts)


# 2 Paint


def read_painting(value: dict[str, Any] | None, fill: bool) -> Any:
    """What the painting is understood as, shown after each change."""
    frame = (value or {}).get("background")
    if frame is None:  # Gradio hands each stroke out once: of two readers at a time the second comes away empty
        return gr.skip()
    frame = np.ascontiguousarray(frame[..., :3])
    height, width = frame.shape[:2]
    try:
        plain = canvas.to_index(value, width, height)
    except xmem.InputError as error:
        return panels.message(str(error), "bad")
    index = canvas.fill_outlines(plain) if fill else plain
    note = "Outlines are filled." if (index != plain).any() else ""
    return panels.understood(canvas.summary(index), note, panels.thumbnail(tint(frame, index)))


def clear_painting(video: str | None) -> tuple[Any, str, str]:
    """The first frame without any paint. Updates of (editor, what is understood, message)."""
    nothing = panels.understood("", "", "")
    try:
        return (on_canvas(first_frame(video)) if video else gr.skip()), nothing, ""
    except xmem.InputError as error:
        return gr.skip(), nothing, panels.message(str(error), "bad")


def upload_mask(mask: str | None, video: str | None) -> tuple[Any, Any, str]:
    """A mask file instead of painting: it is painted onto the canvas, where it can be corrected."""
    if mask is None:
        return gr.skip(), gr.skip(), ""
    try:
        if video is None:
            raise xmem.InputError("There is no video yet: choose one first, then its mask.")
        frame = first_frame(video)
        index, note = canvas.of_mask(mask, frame.shape[1], frame.shape[0])
    except xmem.InputError as error:
        return gr.skip(), gr.skip(), panels.message(str(error), "bad")
    said = "The mask is on the canvas" + (f" ({note})" if note else "") + ": correct it with brush and eraser."
    return on_canvas(frame, index), False, panels.message(said, "good")  # a mask's holes are meant: nothing is filled


# 3 Track: models


def device_choices() -> list[tuple[str, str]]:
    """(label, value) of the devices found, the best first."""
    found = []
    for name in ("cuda", "mps", "cpu"):
        try:
            found.append((checkpoints.describe_device(checkpoints.select_device(name)), name))
        except xmem.InputError:
            continue
    return found


def default_model() -> str:
    """XMEM_MODEL, else the released XMem where a GPU and its file are at hand, else the one that comes along."""
    chosen = checkpoints.default_model()
    if chosen != EMBEDDED or device_choices()[0][1] == "cpu" or checkpoints.find("XMem") is None:
        return chosen
    return "XMem"


def default_size() -> int:
    return CPU_SIZE if device_choices()[0][1] == "cpu" else GPU_SIZE


def model_choices() -> list[tuple[str, str]]:
    """(label, name) of the registered checkpoints, of files put into the folder by hand, and of XMEM_MODEL."""
    choices = []
    for name, record in REGISTRY.items():
        if record.url is None:
            state = "comes with the page"
        elif checkpoints.find(name):
            state = "at hand"
        else:
            state = f"{record.size_bytes / 1e6:.0f} MB to fetch" if record.size_bytes else "to fetch"
        choices.append((f"{name} · {state}", name))
    known = {record.file_name for record in REGISTRY.values()}
    own = [path for path in sorted(checkpoints.folder().glob("*")) if path.suffix in checkpoints.SUFFIXES]
    choices += [(f"{path.stem} · own file", path.name) for path in own if path.name not in known]
    chosen = checkpoints.default_model()
    if chosen not in dict((name, label) for label, name in choices):
        choices.append((f"{Path(chosen).stem} · own file", chosen))
    return choices


def choose_model(name: str, device: str) -> Iterator[tuple[Any, str, str]]:
    """A checkpoint was chosen: fetch it if it is not at hand, and say which one works from now on.

    Yields updates of (model choice, message, status line).
    """
    for progress, note in _bring(name):
        if note:
            yield (
                gr.update(value=EMBEDDED, choices=model_choices()),
                panels.message(note, "bad"),
                status(EMBEDDED, device),
            )
            return
        yield gr.skip(), panels.busy(*_fetched(name, progress)), gr.skip()
    yield gr.update(choices=model_choices()), "", status(name, device)


def _bring(name: str) -> Iterator[tuple[checkpoints.FetchProgress | None, str]]:
    """Fetch a checkpoint unless it is at hand: (progress, ""), and at the end (None, sentence) where that failed."""
    if name not in REGISTRY or REGISTRY[name].url is None or checkpoints.find(name):
        return
    try:
        for progress in follow(checkpoints.fetch(name), wait=False):
            yield progress, ""
    except xmem.InputError as error:
        log.warning("%s could not be fetched: %s", name, error)
        yield None, going_on(str(error))


def _fetched(name: str, progress: checkpoints.FetchProgress | None) -> tuple[str, float | None]:
    if progress is None:
        return f"Fetching {name}…", None
    total = progress.total_bytes or REGISTRY[name].size_bytes
    done = f"{progress.done_bytes / 1e6:.0f}"
    if not total:
        return f"Fetching {name}: {done} MB", None
    return f"Fetching {name}: {done} of {total / 1e6:.0f} MB", min(1.0, progress.done_bytes / total)


def status(model: str, device: str) -> str:
    """The line that says which device and model work."""
    labels = {value: label for label, value in device_choices()}
    return panels.status_line(labels.get(device, device), Path(model).stem if model not in REGISTRY else model)


# 3 Track: the run


def begin(request: gr.Request) -> tuple[str, Any, Any, Any, Any]:
    """Run was pressed. Updates of (panel, run button, stop button, result video, results' block)."""
    workspace_of(request).clear_stop()
    return (
        panels.busy("Starting…"),
        gr.update(visible=False),
        gr.update(visible=True, interactive=True, value="Stop"),
        None,
        gr.update(visible=False),
    )


def stop(request: gr.Request) -> Any:
    """Stop was pressed: the run ends after the frame it is at, and keeps what it has."""
    workspace_of(request).request_stop()
    return gr.update(interactive=False, value="Stopping…")


def finish(video: str | None) -> tuple[Any, Any, Any, Any]:
    """The run is over, however it ended. Updates of (run, stop, video download, results' block)."""
    return (
        gr.update(visible=True, value="Run again" if video else "Run"),
        gr.update(visible=False),
        gr.update(value=video),
        gr.update(visible=video is not None),
    )


def leave(request: gr.Request) -> None:
    """The page was closed."""
    workspace_of(request).leave()


def track(
    video: str | None,
    painting: dict[str, Any] | None,
    fill_outlines: bool,
    model: str,
    device: str,
    size: int,
    opacity: float,
    mem_every: float,
    min_working_frames: float,
    max_working_frames: float,
    prototypes: float,
    max_long_term: float,
    top_k: float,
    deep_update_every: float,
    long_term: bool,
    request: gr.Request,
) -> Iterator[tuple[str, str | None, str | None]]:
    """Follow the painted objects through the video.

    Yields (progress as HTML, overlay video, ZIP of mask PNGs) about once per second; the files come last.
    """
    try:
        memory = xmem.MemoryConfig(
            mem_every=int(mem_every),
            deep_update_every=int(deep_update_every),
            top_k=int(top_k),
            long_term=long_term,
            min_working_frames=int(min_working_frames),
            max_working_frames=int(max_working_frames),
            prototypes=int(prototypes),
            max_long_term=int(max_long_term),
        )
        settings = Settings(model, device, int(size) or None, opacity, memory)
        mask = _given_mask(video, painting, fill_outlines)
        yield from _run(video, mask, settings, workspace_of(request))
    except xmem.InputError as error:
        yield panels.failed(str(error)), None, None
        raise gr.Error(str(error), title="Not yet", print_exception=False) from error
    except Exception as error:
        log.exception("A run failed.")
        sentence = _unexpected(error)
        yield panels.failed(sentence), None, None
        raise gr.Error(sentence, print_exception=False) from error


def _unexpected(error: Exception) -> str:
    if type(error).__name__ == "OutOfMemoryError":
        return "The GPU's memory is full: choose a smaller inference size in the settings and run again."
    return "Something went wrong inside the program, and it was logged; your video and painting are still here."


def _given_mask(video: str | None, painting: dict[str, Any] | None, fill: bool) -> np.ndarray:
    """The index mask uint8 [H, W] to start from. Raises InputError where there is no video or no paint."""
    if not video:
        raise xmem.InputError("There is no video yet: upload one, or take the sample.")
    info = probe(video)
    index = canvas.to_index(painting, info.width, info.height, fill)
    if not index.any():
        raise xmem.InputError("Nothing is painted yet: paint the object on the first frame, or choose a mask file.")
    return index


def _run(
    video: str, mask: np.ndarray, settings: Settings, workspace: session.Workspace
) -> Iterator[tuple[str, str | None, str | None]]:
    note = ""
    for progress, note in _bring(settings.model):  # noqa: B007  (the last note is what counts)
        yield panels.busy(*_fetched(settings.model, progress)), None, None
    if note:
        settings = replace(settings, model=EMBEDDED)
    with workspace.new_run() as folder:
        last = Progress()
        for latest in follow(propagate(video, mask, str(folder), str(workspace.stop_file), settings)):
            workspace.keep_alive()
            if latest is None:
                yield panels.busy(f"Loading {Path(settings.model).stem}…"), None, None
            else:
                last = replace(latest, note=note or latest.note)
                yield panels.running(last), None, None
        stopped = workspace.stop_file.exists() and last.done != last.total
        workspace.clear_stop()
        stem = session.download_stem(video)
        overlay = shutil.move(folder / "overlay.mp4", folder / f"{stem}-overlay.mp4")
        archive = pack_masks(folder, stem)
        # Gradio copies the files into its cache before it asks for more, and then the folder goes
        yield panels.finished(last, stopped), str(overlay), str(archive)
