"""The confidence timeline: per object a band of area and certainty over the frames, as one SVG for light and dark."""

from collections.abc import Sequence
from html import escape

import numpy as np

from demo.html.plot import WIDTH, Axis, curve, drawing, rule, thinned
from xmem.render.palette import OBJECT_COLORS
from xmem.session import Session, SessionObject
from xmem.session.stats import ObjectStats
from xmem.session.suggestions import Suggestion

BAND, GAP = 44.0, 26.0  # pixels; names are in the gaps
LARGEST = 0.92  # of the band, where the object is largest
TICKS = 5


def timeline(session: Session, stats: Sequence[ObjectStats], suggestions: Sequence[Suggestion]) -> str:
    """The timeline of a session with results, as HTML; "" without. `data-frame` of what can be pressed names frames."""
    objects = [item for item in session.objects if item.visible]
    if not stats or not objects:
        return ""
    axis = Axis(session.first, session.last)
    keys = [key.frame for key in session.key_frames if session.first <= key.frame <= session.last]
    cuts = [cut for cut in session.cuts() if session.first < cut <= session.last]
    drawn = bands(stats, objects, axis, cuts, keys)
    marks = "".join(_diamond(frame, axis) for frame in keys)
    marks += "".join(_flag(item, axis) for item in suggestions)
    ticks = "".join(f"<span>{frame + 1}</span>" for frame in axis.ticks(TICKS))
    names = "".join(_name(item, i / len(objects)) for i, item in enumerate(objects))
    over = f"frames {session.first + 1} to {session.last + 1}"
    said = f"Certainty and area of {', '.join(item.name for item in objects)} over {over}"
    return (
        f'<div class="timeline" data-first="{session.first}" data-last="{session.last}">{_legend(bool(cuts))}'
        f'<div class="t-marks">{marks}</div>'
        f'<div class="t-plot" role="img" aria-label="{escape(said)}. A click goes to the frame.">{drawn}{names}'
        f'<i class="t-cursor" aria-hidden="true"></i><b class="t-tip" aria-hidden="true"></b></div>'
        f'<div class="t-axis" aria-hidden="true">{ticks}</div></div>'
    )


def bands(
    stats: Sequence[ObjectStats],
    objects: Sequence[SessionObject],
    axis: Axis,
    cuts: Sequence[int],
    keys: Sequence[int],
) -> str:
    """The SVG: a band per object, vertical lines for cuts and key frames."""
    height = len(objects) * (BAND + GAP)
    parts = [rule(axis, frame, height, "b-cut") for frame in cuts]
    parts += [rule(axis, frame, height, "b-key") for frame in keys]
    for place, item in enumerate(objects):
        rows = [row for row in stats if row.object == item.id]
        parts.append(_band(rows, item, axis, place * (BAND + GAP) + GAP))
    return drawing(height, parts, f"height:{height:g}px")


def _band(rows: Sequence[ObjectStats], item: SessionObject, axis: Axis, top: float) -> str:
    certainty = np.array([row.certainty for row in rows], np.float64)
    kept = thinned(certainty)
    frames = np.array([row.frame for row in rows])[kept]
    area = np.array([row.area for row in rows], np.float64)[kept]
    hill = LARGEST * area / max(area.max(initial=0), 1.0)
    ground = f'<rect class="b-ground" x="0" y="{top:g}" width="{WIDTH}" height="{BAND:g}"/>'
    shapes = curve(axis, frames, hill, top, BAND, area='class="b-area"')
    shapes += curve(axis, frames, certainty[kept], top, BAND, line='class="b-line"')
    return f'<g style="--object:{_colour(item)}">{ground}{shapes}</g>'


def _legend(has_cuts: bool) -> str:
    cut = '<span class="k-cut">cut</span>' if has_cuts else ""
    return (
        '<p class="t-legend"><span class="k-line">certainty</span><span class="k-area">area</span>'
        f'<span class="k-key">key frame</span><span class="k-flag">worth checking</span>{cut}</p>'
    )


def _name(item: SessionObject, top: float) -> str:
    return f'<span class="t-name" style="top:{100 * top:.2f}%;--object:{_colour(item)}">{escape(item.name)}</span>'


def _colour(item: SessionObject) -> str:
    return OBJECT_COLORS[item.color % len(OBJECT_COLORS)][1]


def _diamond(frame: int, axis: Axis) -> str:
    return (
        f'<button type="button" class="t-key" data-frame="{frame}" style="left:{axis.x(frame):.3f}%" '
        f'aria-label="Key frame {frame + 1}" title="Key frame {frame + 1}"></button>'
    )


def _flag(item: Suggestion, axis: Axis) -> str:
    return (
        f'<button type="button" class="t-flag" data-frame="{item.frame}" style="left:{axis.x(item.frame):.3f}%" '
        f'aria-label="Frame {item.frame + 1}, worth checking: {escape(item.reason)}" '
        f'title="Frame {item.frame + 1}: {escape(item.reason)}"></button>'
    )
