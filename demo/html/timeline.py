"""The timeline: per object a band of area and certainty over the frames, as one SVG for light and dark."""

import json
from collections.abc import Sequence
from dataclasses import replace
from html import escape
from typing import Any

import numpy as np

from demo.html.plot import WIDTH, Axis, curve, drawing, rule, thinned
from xmem.render.palette import OBJECT_COLORS
from xmem.session import Session, SessionObject
from xmem.session.stats import ObjectStats
from xmem.session.suggestions import Suggestion, object_scores

GAP = 4.0  # pixels between bands
HEIGHT = 76.0  # pixels of all bands together, where there are few objects
LEAST, MOST = 24.0, 44.0  # pixels of a band
LARGEST = 0.92  # of the band, where the object is largest
TICKS = 5
VALUES = 20_000  # at most so many go with the timeline, to be read beside a thumbnail


def timeline(session: Session, stats: Sequence[ObjectStats], suggestions: Sequence[Suggestion]) -> str:
    """The timeline of a session, as HTML; without results it has its frames alone. `data-frame` of what can be pressed
    names frames."""
    objects = [item for item in session.objects if item.visible]
    axis = Axis(session.first, session.last)
    keys = [key.frame for key in session.key_frames if session.first <= key.frame <= session.last]
    cuts = [cut for cut in session.cuts() if session.first < cut <= session.last]
    stats = judged(stats, cuts, keys)
    drawn = bands(stats, objects, axis, cuts, keys)
    marks = "".join(_diamond(frame, axis) for frame in keys)
    marks += "".join(_flag(item, axis) for item in suggestions)
    ticks = "".join(f"<span>{frame + 1}</span>" for frame in axis.ticks(TICKS))
    names = "".join(_name(item, i / len(objects)) for i, item in enumerate(objects))
    over = f"frames {session.first + 1} to {session.last + 1}"
    said = f"Certainty and area of {', '.join(item.name for item in objects)} over {over}" if stats else f"F{over[1:]}"
    values = escape(json.dumps(_values(objects, stats, axis), separators=(",", ":")))
    return (
        f'<div class="timeline" data-first="{session.first}" data-last="{session.last}" data-values="{values}">'
        f'<div class="t-marks">{marks}</div>'
        f'<div class="t-plot" role="img" aria-label="{escape(said)}. A click goes to the frame.">{drawn}{names}'
        f'<canvas class="t-live" aria-hidden="true"></canvas><i class="t-cursor" aria-hidden="true"></i></div>'
        f'<div class="t-axis" aria-hidden="true">{ticks}</div>'
        f'<div class="t-tip" aria-hidden="true"><canvas></canvas><p></p></div></div>'
    )


def judged(stats: Sequence[ObjectStats], cuts: Sequence[int], keys: Sequence[int]) -> list[ObjectStats]:
    """Figures whose certainty is that of all evidence within the clip: 1 minus the score by which frames are suggested.
    The network's own lies between 95 and 97 % on frames good and bad."""
    doubt = object_scores(stats, cuts, keys)
    return [replace(row, certainty=1 - doubt[row.frame, row.object]) for row in stats]


def _values(objects: Sequence[SessionObject], stats: Sequence[ObjectStats], axis: Axis) -> list[list[Any]]:
    """For each object its name, id, and certainty in percent by frame; null where it was not computed."""
    count = axis.last - axis.first + 1
    if count * len(objects) > VALUES:
        return []
    found = {item.id: [None] * count for item in objects}
    for row in stats:
        if row.object in found:
            found[row.object][row.frame - axis.first] = round(100 * row.certainty)
    return [[item.name, item.id, found[item.id]] for item in objects]


def bands(
    stats: Sequence[ObjectStats],
    objects: Sequence[SessionObject],
    axis: Axis,
    cuts: Sequence[int],
    keys: Sequence[int],
) -> str:
    """The SVG: a band per object, vertical lines for cuts and key frames."""
    band = min(MOST, max(LEAST, HEIGHT / max(1, len(objects)) - GAP))
    height = max(1, len(objects)) * (band + GAP)
    parts = [rule(axis, frame, height, "b-cut") for frame in cuts]
    parts += [rule(axis, frame, height, "b-key") for frame in keys]
    for place, item in enumerate(objects):
        rows = [row for row in stats if row.object == item.id]
        parts.append(_band(rows, item, axis, place * (band + GAP), band))
    if not objects:
        parts.append(f'<rect class="b-ground" x="0" y="0" width="{WIDTH}" height="{band:g}"/>')
    return drawing(height, parts, f"height:{height:g}px")


def _band(rows: Sequence[ObjectStats], item: SessionObject, axis: Axis, top: float, band: float) -> str:
    certainty = np.array([row.certainty for row in rows], np.float64)
    kept = thinned(certainty)
    frames = np.array([row.frame for row in rows])[kept]
    area = np.array([row.area for row in rows], np.float64)[kept]
    hill = LARGEST * area / max(area.max(initial=0), 1.0)
    ground = f'<rect class="b-ground" x="0" y="{top:g}" width="{WIDTH}" height="{band:g}"/>'
    shapes = curve(axis, frames, hill, top, band, area='class="b-area"')
    shapes += curve(axis, frames, certainty[kept], top, band, line='class="b-line"')
    return f'<g style="--object:{_colour(item)}">{ground}{shapes}</g>'


def _name(item: SessionObject, top: float) -> str:
    return f'<span class="t-name" style="top:{100 * top:.2f}%;--object:{_colour(item)}">{escape(item.name)}</span>'


def _colour(item: SessionObject) -> str:
    return OBJECT_COLORS[item.color % len(OBJECT_COLORS)][1]


def _diamond(frame: int, axis: Axis) -> str:
    return (
        f'<button type="button" class="t-key" tabindex="-1" data-frame="{frame}" style="left:{axis.x(frame):.3f}%" '
        f'aria-label="Key frame {frame + 1}" title="Key frame {frame + 1}"></button>'
    )


def _flag(item: Suggestion, axis: Axis) -> str:
    return (
        f'<button type="button" class="t-flag" tabindex="-1" data-frame="{item.frame}" '
        f'style="left:{axis.x(item.frame):.3f}%" '
        f'aria-label="Frame {item.frame + 1}, worth checking: {escape(item.reason)}" '
        f'title="Frame {item.frame + 1}: {escape(item.reason)}"></button>'
    )
