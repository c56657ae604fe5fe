"""The confidence timeline: per object a band of area and certainty over the frames, as one SVG for light and dark."""

from collections.abc import Sequence
from html import escape
from itertools import pairwise

import numpy as np

from xmem.render.palette import OBJECT_COLORS
from xmem.session import Session, SessionObject
from xmem.session.stats import ObjectStats
from xmem.session.suggestions import Suggestion

MAX_POINTS = 600  # per line, however long the video
WIDTH, BAND, GAP = 1000.0, 44.0, 26.0  # units, stretched to the page's width; names are in the gaps


def timeline(session: Session, stats: Sequence[ObjectStats], suggestions: Sequence[Suggestion]) -> str:
    """The timeline of a session with results, as HTML; "" without. `data-frame` of what can be pressed names frames."""
    objects = [item for item in session.objects if item.visible]
    if not stats or not objects:
        return ""
    first, last = session.first, session.last
    keys = [key.frame for key in session.key_frames if first <= key.frame <= last]
    cuts = [cut for cut in session.cuts() if first < cut <= last]
    drawing = bands(stats, objects, first, last, cuts, keys)
    marks = "".join(_diamond(frame, first, last) for frame in keys)
    marks += "".join(_flag(item, first, last) for item in suggestions)
    ticks = "".join(f"<span>{frame + 1}</span>" for frame in np.linspace(first, last, 5).round().astype(int).tolist())
    names = "".join(_name(item, i / len(objects)) for i, item in enumerate(objects))
    said = f"Certainty and area of {', '.join(item.name for item in objects)} over frames {first + 1} to {last + 1}"
    return (
        f'<div class="timeline" data-first="{first}" data-last="{last}">{_legend(bool(cuts))}'
        f'<div class="t-marks">{marks}</div>'
        f'<div class="t-plot" role="img" aria-label="{escape(said)}. A click goes to the frame.">{drawing}{names}'
        f'<i class="t-cursor" aria-hidden="true"></i><b class="t-tip" aria-hidden="true"></b></div>'
        f'<div class="t-axis" aria-hidden="true">{ticks}</div></div>'
    )


def bands(
    stats: Sequence[ObjectStats],
    objects: Sequence[SessionObject],
    first: int,
    last: int,
    cuts: Sequence[int],
    keys: Sequence[int],
) -> str:
    """The SVG: a band per object, vertical lines for cuts and key frames."""
    height = len(objects) * (BAND + GAP)
    parts = [_rule(frame, first, last, height, "cut") for frame in cuts]
    parts += [_rule(frame, first, last, height, "key") for frame in keys]
    for place, item in enumerate(objects):
        rows = [row for row in stats if row.object == item.id]
        parts.append(_band(rows, item, first, last, place * (BAND + GAP) + GAP))
    return (
        f'<svg viewBox="0 0 {WIDTH:g} {height:g}" preserveAspectRatio="none" style="height:{height:g}px" '
        f'aria-hidden="true">{"".join(parts)}</svg>'
    )


def _band(rows: Sequence[ObjectStats], item: SessionObject, first: int, last: int, top: float) -> str:
    color = _color(item)
    frames, area, certainty = thinned(rows)
    floor = top + BAND
    largest = max(float(area.max()) if len(area) else 0, 1.0)
    shapes = []
    for run in _runs(frames, first, last):
        x = [_x(frames[i], first, last) for i in run]
        hill = " ".join(f"{px:.1f},{floor - 0.92 * BAND * area[i] / largest:.1f}" for px, i in zip(x, run, strict=True))
        line = " ".join(f"{px:.1f},{floor - BAND * certainty[i]:.1f}" for px, i in zip(x, run, strict=True))
        shapes.append(f'<polygon class="b-area" points="{x[0]:.1f},{floor:g} {hill} {x[-1]:.1f},{floor:g}"/>')
        shapes.append(f'<polyline class="b-line" points="{line}"/>')
    ground = f'<rect class="b-ground" x="0" y="{top:g}" width="{WIDTH:g}" height="{BAND:g}"/>'
    return f'<g style="--object:{color}">{ground}{"".join(shapes)}</g>'


def thinned(rows: Sequence[ObjectStats]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(frames, area, certainty) of one object, at most MAX_POINTS each: of neighbours the least certain stands."""
    frames = np.array([row.frame for row in rows])
    area = np.array([row.area for row in rows], np.float64)
    certainty = np.array([row.certainty for row in rows], np.float64)
    if len(rows) <= MAX_POINTS:
        return frames, area, certainty
    edges = np.linspace(0, len(rows), MAX_POINTS + 1).astype(int)
    kept = [start + int(certainty[start:end].argmin()) for start, end in pairwise(edges.tolist())]
    return frames[kept], area[kept], certainty[kept]


def _runs(frames: np.ndarray, first: int, last: int) -> list[list[int]]:
    """Places in `frames` without a gap, as lists; a gap is a stretch that was not computed."""
    if not len(frames):
        return []
    widest = 2 * max(1, (last - first) // MAX_POINTS + 1)
    breaks = np.flatnonzero(np.diff(frames) > widest) + 1
    return [part.tolist() for part in np.split(np.arange(len(frames)), breaks)]


def _legend(has_cuts: bool) -> str:
    cut = '<span class="k-cut">cut</span>' if has_cuts else ""
    return (
        '<p class="t-legend"><span class="k-line">certainty</span><span class="k-area">area</span>'
        f'<span class="k-key">key frame</span><span class="k-flag">worth checking</span>{cut}</p>'
    )


def _name(item: SessionObject, top: float) -> str:
    return f'<span class="t-name" style="top:{100 * top:.2f}%;--object:{_color(item)}">{escape(item.name)}</span>'


def _color(item: SessionObject) -> str:
    return OBJECT_COLORS[item.color % len(OBJECT_COLORS)][1]


def _x(frame: int, first: int, last: int) -> float:
    return WIDTH * (frame - first) / max(1, last - first)


def _share(frame: int, first: int, last: int) -> str:
    return f"{100 * (frame - first) / max(1, last - first):.3f}%"


def _rule(frame: int, first: int, last: int, height: float, kind: str) -> str:
    x = _x(frame, first, last)
    return f'<line class="b-{kind}" x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{height:g}"/>'


def _diamond(frame: int, first: int, last: int) -> str:
    return (
        f'<button type="button" class="t-key" data-frame="{frame}" style="left:{_share(frame, first, last)}" '
        f'aria-label="Key frame {frame + 1}" title="Key frame {frame + 1}"></button>'
    )


def _flag(item: Suggestion, first: int, last: int) -> str:
    place = _share(item.frame, first, last)
    return (
        f'<button type="button" class="t-flag" data-frame="{item.frame}" style="left:{place}" '
        f'aria-label="Frame {item.frame + 1}, worth checking: {escape(item.reason)}" '
        f'title="Frame {item.frame + 1}: {escape(item.reason)}"></button>'
    )
