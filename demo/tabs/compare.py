"""The tab Compare: the same clip under two settings, so that one sees what each memory and each model buys."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

import xmem
from demo.failures import in_words
from demo.html import panels
from demo.html.progress import Progress
from demo.runs import models, turn, workers, zero
from demo.runs.follow import follow
from demo.runs.models import MODELS
from demo.runs.track import TrackStep
from demo.tabs import common as tabs
from demo.visit import studio
from demo.wiring import QUIET, RUNS, Counters
from xmem import checkpoints
from xmem.review.compare import PRESETS, CompareProgress, Comparison, Variant, compare
from xmem.session import Session, TrackSettings

RELEASED = "released"
NAME = "compare"  # of this tab's Stop
OWN = "own"  # the memory settings of the visitor's latest run
MEMORIES = {
    RELEASED: "The defaults, of any family",
    **{key: preset.label for key, preset in PRESETS.items()},
    OWN: "As in your latest run",
}
INDISTINCT = 0.9995  # agreement of masks that are the same but for rounding
ALIKE = 1.05  # times as fast or as large still counts as the same

# what the first preset has and another one lacks
MEANINGS = {
    "working": "Long-term memory keeps a summary of the past instead of all of it",
    "no_sensory": "Sensory memory carries shape and motion from one frame to the next",
    "given": "Remembered frames show how the object looks by now",
}
DESCRIPTION = (
    "Track the video from the same key frames twice, with other memories or models, and set both side by side; the "
    f"session's own result stays. left_memory, right_memory: one of {', '.join(MEMORIES)}; left_model, right_model: "
    "checkpoints of any family, of which XMem's alone has other memories than the defaults and its own. Size and "
    "direction are those of the latest run. Returns what each side took and gave, with a verdict, and the video (mp4), "
    "whose last part shows where they differ."
)
HINT = (
    '<p class="hint">What does each network, and each memory, buy? Your clip is tracked twice from the same painted '
    "frames, and both results are set side by side, with where they differ, their time and memory. Your own result "
    "stays as it is.</p>"
)


@dataclass(frozen=True)
class CompareTab:
    left_memory: gr.Dropdown
    left_model: gr.Dropdown
    right_memory: gr.Dropdown
    right_model: gr.Dropdown
    run: gr.Button
    stop: gr.Button
    panel: gr.HTML
    report: gr.HTML
    video: gr.Video
    video_file: gr.DownloadButton

    @property
    def choices(self) -> list[gr.Dropdown]:
        return [self.left_memory, self.left_model, self.right_memory, self.right_model]


def build() -> CompareTab:
    gr.HTML(HINT)
    first, second = "three", "working"
    with gr.Row(elem_id="compare-row"):
        left = _side("Left", first)
        right = _side("Right", second)
    with gr.Row(elem_id="compare-buttons"):
        run = gr.Button("Compare", variant="primary", elem_id="compare-run", min_width=160, scale=0)
        stop = gr.Button("Stop", variant="stop", visible=False, elem_id="compare-stop", min_width=160, scale=0)
    panel = gr.HTML(elem_id="compare-panel")
    report = gr.HTML(apply_default_css=False, elem_id="compare-report")
    video = gr.Video(interactive=False, show_label=False, buttons=[], autoplay=True, loop=True, elem_id="compare-video")
    file = gr.DownloadButton("Download side by side", size="md", visible=False, elem_id="compare-file")
    return CompareTab(*left, *right, run, stop, panel, report, video, file)


def _side(title: str, memory: str) -> tuple[gr.Dropdown, gr.Dropdown]:
    with gr.Column(min_width=260):
        return (
            gr.Dropdown(
                [(label, key) for key, label in MEMORIES.items()],
                value=memory,
                label=f"{title}: memory",
                elem_id=f"compare-{title.lower()}-memory",
            ),
            gr.Dropdown(
                models.model_choices(),
                value=models.default_model(),
                label=f"{title}: model",
                elem_id=f"compare-{title.lower()}-model",
                elem_classes=models.GROUPED,
            ),
        )


def wire(step: CompareTab, track: TrackStep, changed: Counters) -> None:
    del track, changed  # all comes from the session
    outputs = [step.panel, step.report, step.video, step.video_file]
    tabs.wire_work(NAME, [step.run, step.stop], step.panel, show_sides, step.choices, outputs, **RUNS)
    tabs.wire_stop(NAME, step.stop)
    step.video.change(lambda video: gr.update(visible=video is not None), step.video, step.video_file, **QUIET)
    with gr.Column(visible=False):
        video = gr.File(label="video")
        tabs.endpoint("compare", compare_sides, step.choices, [gr.JSON(), video], DESCRIPTION, **RUNS)


# What the button does


@in_words(lambda sentence, *_: (panels.failed(sentence), gr.skip(), gr.skip(), gr.skip()))
def show_sides(
    left_memory: str, left_model: str, right_memory: str, right_model: str, request: gr.Request
) -> Iterator[tuple[str, Any, Any, Any]]:
    """Track twice. Yields (progress as HTML, report as HTML, video, its download), the last three at the end."""
    latest = None
    for latest, said in _compared((left_memory, left_model), (right_memory, right_model), request):
        if isinstance(latest, Comparison):
            report = report_html(latest.rows, meaning(left_memory, right_memory))
            video = studio.handed(request, latest.video)
            yield "", report, video, video
        else:
            yield said, gr.skip(), gr.skip(), gr.skip()
    if not isinstance(latest, Comparison):
        yield panels.message("Stopped: nothing was changed."), gr.skip(), gr.skip(), gr.skip()


@in_words()
def compare_sides(
    left_memory: str, left_model: str, right_memory: str, right_model: str, request: gr.Request
) -> Iterator[tuple[dict[str, Any], str]]:
    """For programs: both sides as plain values, and the video."""
    for latest, _ in _compared((left_memory, left_model), (right_memory, right_model), request):
        if isinstance(latest, Comparison):
            said = verdict(*latest.rows, meaning(left_memory, right_memory))
            yield {"verdict": said, "sides": [plain(row) for row in latest.rows]}, studio.handed(request, latest.video)


def plain(row: Variant) -> dict[str, Any]:
    """What one side took and gave, in JSON's types."""
    return {name: value for name, value in asdict(row).items() if name != "settings"}


def _compared(
    left: tuple[str, str], right: tuple[str, str], request: gr.Request
) -> Iterator[tuple[CompareProgress | Comparison | None, str]]:
    """(latest, progress as HTML) about once per second; the Comparison comes last, unless the visitor stops.

    left, right: (memory, model). Raises InputError.
    """
    workspace, session = studio.workspace_of(request), tabs.tracked(request)
    sides = variants(session.settings, left, right)
    for _, model in (left, right):
        models.listed(model)
    for said in _fetch({left[1], right[1]}):
        yield None, said
    place_of = turn.line().place(device=turn.device_of(session.settings))
    with place_of as place, workspace.new_folder("files-") as folder, tabs.stoppable(workspace, NAME) as stop:
        while not place.wait(1):
            yield None, panels.waits(Progress(ahead=place.ahead, wait_seconds=place.seconds))
            if stop.exists():
                return
        steps = follow(compare_session(str(session.folder), str(folder), str(stop), sides))
        with closing(steps):
            for latest in steps:
                workspace.keep_alive()
                if turn.line().ends:
                    raise xmem.InputError(turn.ENDING)
                if isinstance(latest, Comparison):
                    video = latest.video.rename(folder / f"{tabs.stem_of(session)}-comparison.mp4")
                    yield replace(latest, video=video), ""
                    return
                yield latest, _progress(latest)


def variants(base: TrackSettings, *sides: tuple[str, str]) -> list[tuple[str, TrackSettings]]:
    """(label, settings) of each (memory, model); base: the other settings. Raises InputError where all are the same."""
    if not {memory for memory, _ in sides} <= set(MEMORIES):
        raise xmem.InputError(f"There is no memory of that name: choose one of {', '.join(MEMORIES)}.")
    chosen = [replace(base, model=model, memory=_memory(base, memory, model)) for memory, model in sides]
    if len({(one.model, one.memory) for one in chosen}) < len(chosen):
        raise xmem.InputError("Both sides are the same: choose another memory or another model on one of them.")
    several = len({one.model for one in chosen}) > 1
    same_memory = len({one.memory for one in chosen}) == 1
    labels = [
        Path(model).stem if same_memory else MEMORIES[memory] + (f" · {Path(model).stem}" if several else "")
        for memory, model in sides
    ]
    return list(zip(labels, chosen, strict=True))


def _memory(base: TrackSettings, memory: str, model: str) -> Any:
    """The settings that a choice stands for, None for the defaults. Raises InputError for XMem's memories with a
    model of another family."""
    family = models.family(model)
    if memory in (RELEASED, OWN):
        own = base.memory if memory == OWN else None
        return own if isinstance(own, family.config) and own != family.config() else None
    chosen = PRESETS[memory].memory
    if not isinstance(chosen, family.config):
        raise xmem.InputError(
            f"{Path(model).stem} is a network of {family.title}, which has no such memories: choose "
            f"'{MEMORIES[RELEASED]}' for it."
        )
    return None if chosen == family.config() else chosen


def _fetch(names: set[str]) -> Iterator[str]:
    """Fetch checkpoints that are not at hand, telling how far that is. Raises InputError where one cannot be had."""
    for name in sorted(names):
        if not checkpoints.is_at_hand(name):
            for progress in follow(checkpoints.fetch(name), wait=False):
                yield panels.busy(*models.fetched(name, progress))


def _progress(latest: CompareProgress | None) -> str:
    if latest is None:
        return panels.busy("Loading…")
    return panels.busy(latest.label or "Writing the video", latest.done / max(1, latest.total))


def _work_seconds(folder: str, _output: str, _stop_file: str, sides: Sequence[tuple[str, TrackSettings]]) -> float:
    """Of a GPU that is lent by the call. Raises InputError where the comparison does not fit into one call."""
    session = Session.open(folder)
    frames = len(sides) * 2 * session.length  # both ways
    seconds = frames / zero.FRAMES_PER_SECOND
    if seconds > zero.SLICE_SECONDS:
        most = int(zero.SLICE_SECONDS * zero.FRAMES_PER_SECOND / (2 * len(sides)))
        raise xmem.InputError(
            f"The GPU is lent for {zero.SLICE_SECONDS} s at a time, too short to compare {frames // (2 * len(sides))} "
            f"frames: trim the video to {most} frames."
        )
    return seconds


@zero.on_gpu(_work_seconds)
@workers.beside
def compare_session(
    folder: str, output: str, stop_file: str, sides: list[tuple[str, TrackSettings]]
) -> Iterator[CompareProgress | Comparison]:
    """Track the session in `folder` under each setting; the Comparison comes last, its video lies in `output`.

    Ends early, without one, once `stop_file` exists or when it is closed. Raises InputError.
    """
    with closing(compare(Session.open(folder), sides, output, MODELS.get)) as steps:
        while not Path(stop_file).exists():
            try:
                latest = next(steps)
            except StopIteration as end:
                yield end.value
                return
            yield latest


# The report


def report_html(rows: Sequence[Variant], meaning: str) -> str:
    heads = ("", "Time", "Frames/s", "Memory elements", "Memory", "Certainty", "Agreement")
    head = "".join(f'<th scope="col">{name}</th>' for name in heads)
    body = "".join(
        f'<tr><th scope="row">{escape(row.label)}</th><td>{panels.duration(row.seconds)}</td>'
        f"<td>{row.frames_per_second:.1f}</td><td>{row.peak_elements:,}</td><td>{row.peak_bytes / 1e6:.1f} MB</td>"
        f"<td>{100 * row.certainty:.1f} %</td><td>{f'{100 * row.agreement:.1f} %' if place else '–'}</td></tr>"
        for place, row in enumerate(rows)
    )
    caption = "Memory: at its fullest. Certainty: mean over all frames. Agreement: overlap with the left side's masks."
    return (
        f'<p class="verdict" role="status">{escape(verdict(rows[0], rows[1], meaning))}</p>'
        f'<p class="hint above" id="compare-columns">{caption}</p>'
        f'<div class="figures-table" tabindex="0" role="region" aria-label="Figures of both sides">'
        f'<table aria-describedby="compare-columns"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
    )


def meaning(left: str, right: str) -> str:
    """What the memory that one of two presets lacks is for, or ""."""
    complete = next(iter(PRESETS))
    other = {left, right} - {complete}
    return MEANINGS.get(other.pop(), "") if complete in (left, right) and len(other) == 1 else ""


def verdict(left: Variant, right: Variant, meaning: str) -> str:
    """One sentence on what the difference amounts to."""
    if meaning and right.agreement > INDISTINCT and left.peak_elements == right.peak_elements:
        return f"{meaning}: this clip is too short for a difference to show, so try a longer one."
    speed = _ratio(
        left.frames_per_second, right.frames_per_second, "{} was {:.1f} times as fast", "both were equally fast"
    )
    memory = _ratio(
        left.peak_bytes, right.peak_bytes, "{} held {:.1f} times as much in memory", "both held as much in memory"
    )
    masks = f"{_likeness(right.agreement)} ({100 * right.agreement:.0f} % overlap)"
    said = f"{speed}, {memory}, and {masks}."
    return f"{meaning}: here {said}" if meaning else said[0].upper() + said[1:]


def _ratio(left: float, right: float, text: str, alike: str) -> str:
    larger, smaller = max(left, right), max(min(left, right), 1e-9)
    if larger / smaller < ALIKE:
        return alike
    return text.format("the left side" if left > right else "the right side", larger / smaller)


def _likeness(agreement: float) -> str:
    if agreement >= 0.95:
        return "their masks are nearly the same"
    if agreement >= 0.8:
        return "their masks differ a little"
    return "their masks differ clearly, so that a look at the video tells which is right"
