"""A line plot of scores by frame, as HTML that follows the page's width and its light or dark colours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape

STRIPS = 400  # at most so many places to point at; frames in between share one
TICKS = (0, 0.25, 0.5, 0.75, 1)
FRAME_LABELS = 5


@dataclass(frozen=True)
class Line:
    """Values (0 to 1) by frame. color: as CSS; thin: drawn behind the others; filled: with a tint below."""

    label: str
    color: str
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

    def html(self) -> str:
        keys = "".join(f'<span><i style="--key:{line.color}"></i>{escape(line.label)}</span>' for line in self.lines)
        grid = "".join(f'<line x1="0" x2="100" y1="{100 - 100 * tick}" y2="{100 - 100 * tick}"/>' for tick in TICKS)
        drawn = "".join(self._line(line) for line in sorted(self.lines, key=lambda line: not line.thin))
        shape = 'viewBox="0 0 100 100" preserveAspectRatio="none"'
        picture = f'<svg {shape} aria-hidden="true">{grid}{drawn}{self._strips()}</svg>'
        return (
            f'<figure class="plot"><figcaption>{keys}</figcaption><div class="field" role="img" '
            f'aria-label="{escape(self.title)}">{picture}{self._labels()}{self._marks()}</div></figure>'
        )

    def _x(self, frame: float) -> float:
        """Percent from the left; a single frame stands in the middle."""
        return 100 * (frame - self.first) / (self.last - self.first) if self.last > self.first else 50.0

    def _line(self, line: Line) -> str:
        points = " ".join(
            f"{self._x(frame):.2f},{100 - 100 * value:.2f}" for frame, value in sorted(line.values.items())
        )
        kind = ' class="thin"' if line.thin else ""
        below = ""
        if line.filled and line.values:
            ends = f"{self._x(min(line.values)):.2f},100 {points} {self._x(max(line.values)):.2f},100"
            below = f'<polygon points="{ends}" style="fill:{line.color}"/>'
        return f'{below}<polyline{kind} points="{points}" style="stroke:{line.color}"/>'

    def _strips(self) -> str:
        """What is read when the mouse points at a place: all values of a frame."""
        frames = sorted({frame for line in self.lines for frame in line.values})
        step = max(1, -(-len(frames) // STRIPS))
        chosen = frames[::step]
        width = 100 / max(1, len(chosen))
        rects = []
        for frame in chosen:
            values = (f"{line.label} {line.values[frame]:.3f}" for line in self.lines if frame in line.values)
            left = min(100 - width, max(0.0, self._x(frame) - width / 2))
            said = escape(f"Frame {frame + 1}: {', '.join(values)}")
            rects.append(f'<rect x="{left:.2f}" y="0" width="{width:.2f}" height="100"><title>{said}</title></rect>')
        return "".join(rects)

    def _labels(self) -> str:
        values = "".join(f'<span class="at y" style="bottom:{100 * tick:g}%">{tick:g}</span>' for tick in TICKS)
        count = min(FRAME_LABELS, self.last - self.first + 1)
        frames = {round(self.first + place * (self.last - self.first) / max(1, count - 1)) for place in range(count)}
        return values + "".join(
            f'<span class="at x" style="left:{self._x(frame):.2f}%">{frame + 1}</span>' for frame in sorted(frames)
        )

    def _marks(self) -> str:
        return "".join(
            f'<span class="mark" aria-hidden="true" style="left:{self._x(frame):.2f}%;bottom:{100 * value:.2f}%">'
            f"{escape(text)}</span>"
            for (frame, value), text in self.marks.items()
        )
