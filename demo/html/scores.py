"""Scores by frame, as HTML that follows the page's width and its light or dark colours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape

import numpy as np

from demo.html.plot import Axis, curve, drawing, thinned

STRIPS = 400  # at most so many places to point at; frames in between share one
TICKS = (0, 0.25, 0.5, 0.75, 1)
FRAME_LABELS = 5


@dataclass(frozen=True)
class Line:
    """Values (0 to 1) by frame. colour: as CSS; thin: drawn behind the others; filled: with a tint below."""

    label: str
    colour: str
    values: Mapping[int, float]
    thin: bool = False
    filled: bool = False


@dataclass(frozen=True)
class Plot:
    """lines over frames first..last, counted from 0 and shown from 1.

    marks: texts of small discs by (frame, value). title: read out for the picture.
    """

    title: str
    first: int
    last: int
    lines: Sequence[Line]
    marks: Mapping[tuple[int, float], str] = field(default_factory=dict)

    @property
    def axis(self) -> Axis:
        return Axis(self.first, self.last)

    def html(self) -> str:
        keys = "".join(f'<span><i style="--key:{line.colour}"></i>{escape(line.label)}</span>' for line in self.lines)
        grid = "".join(f'<line x1="0" x2="100" y1="{100 - 100 * tick}" y2="{100 - 100 * tick}"/>' for tick in TICKS)
        lines = "".join(self._line(line) for line in sorted(self.lines, key=lambda line: not line.thin))
        picture = drawing(100, [grid, lines, self._strips()])
        return (
            f'<figure class="plot"><figcaption>{keys}</figcaption><div class="field" role="img" '
            f'aria-label="{escape(self.title)}">{picture}{self._labels()}{self._marks()}</div></figure>'
        )

    def _line(self, line: Line) -> str:
        frames = np.array(sorted(line.values))
        values = np.array([line.values[frame] for frame in frames.tolist()])
        kept = thinned(values)
        stroke = f'style="stroke:{line.colour}"' + (' class="thin"' if line.thin else "")
        tint = f'style="fill:{line.colour}"' if line.filled else ""
        return curve(self.axis, frames[kept], values[kept], 0, 100, stroke, tint)

    def _strips(self) -> str:
        """What is read when the mouse points at a place: all values of a frame."""
        frames = sorted({frame for line in self.lines for frame in line.values})
        step = max(1, -(-len(frames) // STRIPS))
        chosen = frames[::step]
        width = 100 / max(1, len(chosen))
        rects = []
        for frame in chosen:
            values = (f"{line.label} {line.values[frame]:.3f}" for line in self.lines if frame in line.values)
            left = min(100 - width, max(0.0, self.axis.x(frame) - width / 2))
            said = escape(f"Frame {frame + 1}: {', '.join(values)}")
            rects.append(f'<rect x="{left:.2f}" y="0" width="{width:.2f}" height="100"><title>{said}</title></rect>')
        return "".join(rects)

    def _labels(self) -> str:
        values = "".join(f'<span class="at y" style="bottom:{100 * tick:g}%">{tick:g}</span>' for tick in TICKS)
        return values + "".join(
            f'<span class="at x" style="left:{self.axis.x(frame):.2f}%">{frame + 1}</span>'
            for frame in self.axis.ticks(FRAME_LABELS)
        )

    def _marks(self) -> str:
        return "".join(
            f'<span class="mark" aria-hidden="true" style="left:{self.axis.x(frame):.2f}%;bottom:{100 * value:.2f}%">'
            f"{escape(text)}</span>"
            for (frame, value), text in self.marks.items()
        )
