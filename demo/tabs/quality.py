"""The tab Quality: the result against masks that are known to be right, as figures, a plot, and the worst frames."""

from __future__ import annotations

import csv
from collections.abc import Generator, Iterator, Sequence
from dataclasses import asdict, dataclass
from html import escape
from pathlib import Path
from typing import Any

import cv2
import gradio as gr
import numpy as np

import xmem
from demo.failures import in_words
from demo.html import panels, pictures
from demo.html.scores import Line, Plot
from demo.runs.follow import follow
from demo.runs.track import TrackStep
from demo.tabs import common as tabs
from demo.visit import studio
from demo.visit.asked import uploaded
from demo.wiring import QUIET, RENDERINGS, Counters
from xmem import leaving
from xmem.render.palette import OBJECT_COLORS
from xmem.scoring.quality import FrameScore, QualityReport, score
from xmem.session import Session
from xmem.video.images import list_images

WORST = 6  # frames shown as pictures
PICTURE_WIDTH = 640  # pixels
TRUTH_COLOUR = (255, 255, 255)
FOUND_COLOUR = (255, 138, 31)  # RGB; both stand out from most videos, and from each other for everybody
DARKER = 0.75  # so that outlines stand out
ROOM = 1.4  # around the objects, of their size
LEAST_SHOWN = 0.35  # of the frame's width and height
F_COLOUR = "var(--line-f)"
DESCRIPTION = (
    "Compare the result with masks known to be right: a ZIP of index mask PNGs named like the video's frames, flat or "
    "laid out as in DAVIS. Key frames are not scored. Returns J, F and J&F (0 to 1), their means per object, and rows "
    "of frame (from 0), object, J and F."
)
HINT = (
    '<p class="hint">Do you have masks that are known to be right? Give them as a ZIP, flat or laid out as in DAVIS, '
    "one PNG per frame, and see how close the result comes: <strong>J</strong> says how much of the area is right, "
    "<strong>F</strong> how well the outline fits (1 is perfect). Key frames are not scored: they were given.</p>"
)

# A picture leads to its frame on the canvas.
GO_THERE = """
element.addEventListener("click", (event) => {
  const picture = event.target.closest("[data-frame]");
  if (picture && window.xmemGo) window.xmemGo(Number(picture.dataset.frame));
});
"""


@dataclass(frozen=True)
class QualityTab:
    truth: gr.File
    panel: gr.HTML
    report: gr.HTML
    scores: gr.DownloadButton


def build() -> QualityTab:
    gr.HTML(HINT)
    truth = gr.File(
        label="Known masks (ZIP)", file_types=[".zip"], type="filepath", height=130, elem_id="quality-truth"
    )
    panel = gr.HTML(elem_id="quality-panel")
    report = gr.HTML(js_on_load=GO_THERE, apply_default_css=False, elem_id="quality-report")
    scores = gr.DownloadButton("Download all scores (CSV)", size="md", visible=False, elem_id="quality-table")
    return QualityTab(truth, panel, report, scores)


def wire(step: QualityTab, track: TrackStep, changed: Counters) -> None:
    outputs = [step.panel, step.report, step.scores]
    scored = step.truth.upload(compare_masks, step.truth, outputs, **QUIET, **RENDERINGS)
    scored.then(lambda scores: gr.update(visible=scores is not None), step.scores, step.scores, **QUIET)
    step.truth.clear(lambda: ("", "", gr.update(value=None, visible=False)), None, outputs, **QUIET)
    changed.refreshed.change(outdated, step.report, step.panel, **QUIET)
    with gr.Column(visible=False):
        tabs.endpoint("quality", quality, [gr.File(label="truth")], [gr.JSON()], DESCRIPTION, **RENDERINGS)


# What the controls do


@in_words(lambda sentence, *_: (panels.failed(sentence), "", None))
def compare_masks(truth: str | None, request: gr.Request) -> Iterator[tuple[str, Any, Any]]:
    """Score the result. Yields (message, report as HTML, CSV of the scores), the last two at the end."""
    workspace, session = studio.workspace_of(request), tabs.tracked(request)
    for report in _scored(session, truth, request):
        workspace.keep_alive()
        if report is None:
            yield panels.busy("Comparing…"), gr.skip(), gr.skip()
    with workspace.new_folder("files-") as folder:
        path = folder / f"{tabs.stem_of(session)}-quality.csv"
        write_scores(report, path)
        yield "", report_html(session, report), studio.handed(request, path)


@in_words()
def quality(truth: str | None, request: gr.Request) -> dict[str, Any]:
    """For programs: the scores as plain values."""
    *_, report = _scored(tabs.tracked(request), truth, request)
    return {
        "j": report.j,
        "f": report.f,
        "jf": report.jf,
        "objects": [asdict(item) for item in report.objects],
        "rows": [asdict(row) for row in report.rows],
    }


def outdated(report: str) -> str:
    """The result changed after it was scored."""
    return panels.message("The result changed since: give the masks again to score it anew.") if report else ""


def _scored(session: Session, given: str | None, request: gr.Request) -> Iterator[QualityReport | None]:
    """None about once per second, and the report in the end. Raises InputError for masks that cannot be used."""
    if not given:
        raise xmem.InputError("There are no masks to compare with yet: choose a ZIP of them.")
    truth, workspace = uploaded(given, request), studio.workspace_of(request)

    def work() -> Generator[QualityReport, None, None]:
        with leaving.while_wanted(workspace.check_here):
            report = score(session.mask, names_of(session), truth, not_scored(session))
        yield report

    yield from follow(work())


def names_of(session: Session) -> list[str]:
    """Names of all frames, as files of masks are named."""
    if session.video.is_dir():
        return [path.stem for path in list_images(session.video)]
    return [f"{frame:05d}" for frame in range(session.frame_count)]


def not_scored(session: Session) -> list[int]:
    """Key frames, which were given, and frames that are not tracked."""
    keys = {key.frame for key in session.key_frames}
    return [
        frame
        for frame in range(session.frame_count)
        if frame in keys or not session.first <= frame <= session.last or not session.has_result(frame)
    ]


def write_scores(report: QualityReport, path: Path) -> None:
    """A row per frame and object: frame, object, J, F."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["frame", "object", "J", "F"])
        writer.writerows([row.frame, row.object, f"{row.j:.4f}", f"{row.f:.4f}"] for row in report.rows)


# The report


def report_html(session: Session, report: QualityReport) -> str:
    worst = worst_frames(report)
    pictures = "".join(_picture(session, report, place, frame) for place, frame in enumerate(worst, start=1))
    shown = f'<h3 class="subhead">Where they differ most</h3>{_key()}<ul class="worst">{pictures}</ul>'
    return (
        f"{_scores(report)}{_left_out(report)}{_plot(session, report, worst).html()}{_table(session, report)}"
        f"{shown if worst else panels.message('Every scored frame is perfect.', 'good')}"
    )


def _left_out(report: QualityReport) -> str:
    if not report.left_out:
        return ""
    ids = ", ".join(str(i) for i in report.left_out)
    return panels.message(f"Not scored, since nothing of the result lies there: object {ids} of the known masks.")


def worst_frames(report: QualityReport) -> list[int]:
    """The frames of lowest J, the worst first, no two of them neighbours; perfect ones are none."""
    means = by_frame(report.rows, "j")
    chosen: list[int] = []
    for frame in sorted(means, key=means.get):
        if means[frame] < 1 and all(abs(frame - other) > 1 for other in chosen):
            chosen.append(frame)
    return chosen[:WORST]


def by_frame(rows: Sequence[FrameScore], name: str) -> dict[int, float]:
    """Means over the objects of each frame, counted from 0."""
    values: dict[int, list[float]] = {}
    for row in rows:
        values.setdefault(row.frame, []).append(getattr(row, name))
    return {frame: float(np.mean(found)) for frame, found in values.items()}


def _scores(report: QualityReport) -> str:
    figures = (("J&F", report.jf), ("J, region", report.j), ("F, outline", report.f))
    frames = len({row.frame for row in report.rows})
    parts = "".join(f"<div><dt>{escape(name)}</dt><dd>{100 * value:.1f}</dd></div>" for name, value in figures)
    return f'<dl class="scores">{parts}<div><dt>Frames scored</dt><dd>{frames}</dd></div></dl>'


def _plot(session: Session, report: QualityReport, worst: Sequence[int]) -> Plot:
    j, f = by_frame(report.rows, "j"), by_frame(report.rows, "f")
    lines = [Line("J", "var(--line-j)", j, filled=True), Line("F", F_COLOUR, f)]
    several = {row.object for row in report.rows}
    if len(several) > 1:
        for item in session.objects:
            own = {row.frame: row.j for row in report.rows if row.object == item.id}
            if own:
                lines.append(Line(f"J of {item.name}", OBJECT_COLORS[item.color][1], own, thin=True))
    marks = {(frame, j[frame]): str(place) for place, frame in enumerate(worst, start=1)}
    title = f"J and F by frame: J from {min(j.values()):.2f} to {max(j.values()):.2f}, mean {report.j:.2f}"
    return Plot(title, min(j), max(j), lines, marks)


def _table(session: Session, report: QualityReport) -> str:
    rows = []
    for item in session.objects:
        own = [row for row in report.rows if row.object == item.id]
        if not own:
            continue
        j, f = float(np.mean([row.j for row in own])), float(np.mean([row.f for row in own]))
        lowest = min(own, key=lambda row: row.j)
        rows.append(
            f'<tr><th scope="row"><span class="dot" style="background:{OBJECT_COLORS[item.color][1]}"></span>'
            f"{escape(item.name)}</th><td>{100 * (j + f) / 2:.1f}</td><td>{100 * j:.1f}</td><td>{100 * f:.1f}</td>"
            f"<td>{100 * lowest.j:.1f} on frame {lowest.frame + 1}</td></tr>"
        )
    head = "".join(f'<th scope="col">{name}</th>' for name in ("Object", "J&amp;F", "J", "F", "Lowest J"))
    return (
        '<p class="hint above" id="quality-columns">Means per object, in percent</p>'
        '<div class="figures-table"><table aria-describedby="quality-columns">'
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def _key() -> str:
    found, truth = ("#{:02x}{:02x}{:02x}".format(*colour) for colour in (FOUND_COLOUR, TRUTH_COLOUR))
    return (
        f'<p class="hint"><span class="key" style="--key:{found}"></span>the result '
        f'<span class="key outlined" style="--key:{truth}"></span>the known mask</p>'
    )


def _picture(session: Session, report: QualityReport, place: int, frame: int) -> str:
    j, f = by_frame(report.rows, "j")[frame], by_frame(report.rows, "f")[frame]
    picture = pictures.small(contours(session.image(frame), session.mask(frame), report.truth(frame)), PICTURE_WIDTH)
    said = f"Frame {frame + 1}: outline of the result in orange, of the known mask in white"
    return (
        f'<li><figure><button type="button" class="picture" data-frame="{frame}" title="Correct this frame">'
        f'<img src="{picture}" alt="{said}"><span class="number" aria-hidden="true">{place}</span></button>'
        f"<figcaption><strong>Frame {frame + 1}</strong> J {100 * j:.1f}, F {100 * f:.1f}</figcaption></figure></li>"
    )


def contours(image: np.ndarray, found: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """The part of a frame where the masks are, a little darker, with both outlines.

    image: uint8 [H, W, 3]; found, truth: index masks uint8 [H, W]. Returns uint8 [h, w, 3] of the frame's shape.
    """
    box = around((found > 0) | (truth > 0))
    height, width = found[box].shape
    size = (PICTURE_WIDTH, max(1, round(height * PICTURE_WIDTH / width)))
    drawn = (cv2.resize(image[box], size, interpolation=cv2.INTER_AREA) * DARKER).astype(np.uint8)
    for mask, colour in ((truth, TRUTH_COLOUR), (found, FOUND_COLOUR)):
        larger = cv2.resize(mask[box], size, interpolation=cv2.INTER_NEAREST)
        for i in np.unique(larger[larger > 0]):
            outlines, _ = cv2.findContours((larger == i).astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
            cv2.polylines(drawn, outlines, True, colour, 2, cv2.LINE_AA)
    return drawn


def around(mask: np.ndarray) -> tuple[slice, slice]:
    """The part (rows, columns) of the shape of mask, bool [H, W], that shows what is in it with some room around."""
    height, width = mask.shape
    x, y, w, h = cv2.boundingRect(mask.astype(np.uint8))
    share = min(1.0, max(LEAST_SHOWN, ROOM * w / width, ROOM * h / height)) if w else 1.0
    part_height, part_width = round(height * share), round(width * share)
    top = min(max(0, y + h // 2 - part_height // 2), height - part_height)
    left = min(max(0, x + w // 2 - part_width // 2), width - part_width)
    return slice(top, top + part_height), slice(left, left + part_width)
