"""The settings of a run: which models and devices there are, and what the controls say as `TrackSettings`."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr

import xmem
from demo.html import panels
from demo.runs.follow import follow
from demo.runs.models import going_on
from xmem import checkpoints
from xmem.checkpoints.catalogue import D16, EMBEDDED, HELD_BACK, REGISTRY
from xmem.device import choose_precision, describe_device, precision_name, select_device
from xmem.session import TrackSettings

ORIGINAL_SIZE = 0  # the choice "as the video"
CPU_SIZE = 384  # pixels: xmem-lite scores 80.4 J&F there, of 81.0 at 480, in two thirds of the pixels
GPU_SIZE = 480  # pixels: the paper's
SIZES = (240, 288, CPU_SIZE, GPU_SIZE, 720)

log = logging.getLogger("xmem.demo")


def read(
    model: str,
    device: str,
    size: int,
    mem_every: float,
    min_working_frames: float,
    max_working_frames: float,
    prototypes: float,
    max_long_term: float,
    top_k: float,
    deep_update_every: float,
    long_term: bool,
    direction: str = "both",
    pause_at_cuts: bool = False,
) -> TrackSettings:
    """The controls' values, in their order on the page. size: 0 for the video's own. Raises InputError."""
    return TrackSettings(
        model,
        device,
        int(size) or None,
        memory(
            mem_every,
            min_working_frames,
            max_working_frames,
            prototypes,
            max_long_term,
            top_k,
            deep_update_every,
            long_term,
        ),
        direction,
        pause_at_cuts,
    )


def memory(
    mem_every: float,
    min_working_frames: float,
    max_working_frames: float,
    prototypes: float,
    max_long_term: float,
    top_k: float,
    deep_update_every: float,
    long_term: bool,
) -> xmem.MemoryConfig:
    """Raises InputError for a combination that cannot work."""
    return xmem.MemoryConfig(
        mem_every=int(mem_every),
        deep_update_every=int(deep_update_every),
        top_k=int(top_k),
        long_term=long_term,
        min_working_frames=int(min_working_frames),
        max_working_frames=int(max_working_frames),
        prototypes=int(prototypes),
        max_long_term=int(max_long_term),
    )


def values(settings: TrackSettings) -> list[Any]:
    """The reverse of `read`, for the controls of a session that goes on."""
    memory = settings.memory
    return [
        settings.model,
        gr.skip(),  # the device is this machine's
        settings.size or ORIGINAL_SIZE,
        memory.mem_every,
        memory.min_working_frames,
        memory.max_working_frames,
        memory.prototypes,
        memory.max_long_term,
        memory.top_k,
        memory.deep_update_every,
        memory.long_term,
        settings.direction,
        settings.pause_at_cuts,
    ]


def size_choices() -> list[tuple[str, int]]:
    return [*((f"{size} pixels", size) for size in SIZES), ("As the video", ORIGINAL_SIZE)]


def device_choices() -> list[tuple[str, str]]:
    """(label, value) of the devices found, the best first."""
    found = []
    for name in ("cuda", "mps", "cpu"):
        try:
            found.append((describe_device(select_device(name)), name))
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
    choices += [(f"{path.stem} · own file", path.name) for path in checkpoints.own_files()]
    chosen = checkpoints.default_model()
    if chosen not in dict((name, label) for label, name in choices):
        choices.append((f"{Path(chosen).stem} · own file", chosen))
    return choices


def is_at_hand(name: str) -> bool:
    """Whether a checkpoint can be loaded without fetching it."""
    return name not in REGISTRY or REGISTRY[name].url is None or checkpoints.find(name) is not None


def choose_model(name: str, device: str) -> Iterator[tuple[Any, str, str]]:
    """A checkpoint was chosen: fetch it if it is not at hand, and say which one works from now on.

    Yields updates of (model choice, message, status line).
    """
    for progress, note in bring(name):
        if note:
            yield (
                gr.update(value=EMBEDDED, choices=model_choices()),
                panels.message(note, "bad"),
                status(EMBEDDED, device),
            )
            return
        yield gr.skip(), panels.busy(*fetched(name, progress)), gr.skip()
    yield gr.update(choices=model_choices()), "", status(name, device)


def accuracy(name: str) -> str:
    """The notice beside the model choice: which accuracy to expect from this model, and from the other kind."""
    own, released = REGISTRY[EMBEDDED].figures[HELD_BACK], REGISTRY["XMem"].figures[D16]
    if name == EMBEDDED:
        text = (
            f"Expect J&F {own} ({HELD_BACK}, measured by us): quick, and good for clear objects; fast, small or "
            f"look-alike ones may need a correction or two. XMem reaches {released} ({D16}, published, other clips)."
        )
    elif name in REGISTRY:
        figures = ", ".join(f"{value} ({data})" for data, value in REGISTRY[name].figures.items())
        text = (
            f"Expect J&F {figures}, as published. On a CPU it takes many times as long as {EMBEDDED}, "
            f"whose J&F is {own} ({HELD_BACK})."
        )
    else:
        text = "No score is known for this file: try it on a clip that you know."
    return panels.accuracy(text)


def bring(name: str) -> Iterator[tuple[checkpoints.FetchProgress | None, str]]:
    """Fetch a checkpoint unless it is at hand: (progress, ""), and at the end (None, sentence) where that failed."""
    if is_at_hand(name):
        return
    try:
        for progress in follow(checkpoints.fetch(name), wait=False):
            yield progress, ""
    except xmem.InputError as error:
        log.warning("%s could not be fetched: %s", name, error)
        yield None, going_on(str(error))


def fetched(name: str, progress: checkpoints.FetchProgress | None) -> tuple[str, float | None]:
    """What to say while a checkpoint is fetched, and the share that has arrived where that is known."""
    if progress is None:
        return f"Fetching {name}…", None
    total = progress.total_bytes or REGISTRY[name].size_bytes
    done = f"{progress.done_bytes / 1e6:.0f}"
    if not total:
        return f"Fetching {name}: {done} MB", None
    return f"Fetching {name}: {done} of {total / 1e6:.0f} MB", min(1.0, progress.done_bytes / total)


def status(model: str, device: str) -> str:
    """The line that says which model and device work, and in which precision."""
    labels = {value: label for label, value in device_choices()}
    precision = precision_name(choose_precision("auto", select_device(device)))
    name = Path(model).stem if model not in REGISTRY else model
    return panels.status_line(f"{labels.get(device, device)}, {precision}", name)
