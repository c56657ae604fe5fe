"""Curves over the frames of a video, as SVG that is stretched to the page's width."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

WIDTH = 100  # units of a drawing
MAX_POINTS = 600  # per curve, however long the video


@dataclass(frozen=True)
class Axis:
    """Frames first..last, counted from 0, from the left to the right."""

    first: int
    last: int

    def x(self, frame: float) -> float:
        """In units, which are percent of the width; a single frame stands in the middle."""
        return WIDTH * (frame - self.first) / (self.last - self.first) if self.last > self.first else WIDTH / 2

    def ticks(self, count: int) -> list[int]:
        """Frames to name below, at most `count` of them."""
        return np.unique(np.linspace(self.first, self.last, count).round().astype(int)).tolist()


def drawing(height: float, parts: Sequence[str], style: str = "") -> str:
    shape = f'viewBox="0 0 {WIDTH} {height:g}" preserveAspectRatio="none"'
    return f'<svg {shape} style="{style}" aria-hidden="true">{"".join(parts)}</svg>'


def rule(axis: Axis, frame: int, height: float, kind: str) -> str:
    """A vertical line at a frame."""
    x = axis.x(frame)
    return f'<line class="{kind}" x1="{x:.2f}" x2="{x:.2f}" y1="0" y2="{height:g}"/>'


def curve(
    axis: Axis, frames: np.ndarray, values: np.ndarray, top: float, height: float, line: str = "", area: str = ""
) -> str:
    """Values (0 to 1) of frames, ascending, in a band; a gap where frames are missing.

    line, area: attributes of the line through the values and of what lies below; what has none is not drawn.
    """
    shapes = []
    for run in runs(axis, frames):
        x = [axis.x(frame) for frame in frames[run]]
        y = top + height * (1 - values[run])
        points = " ".join(f"{left:.2f},{down:.2f}" for left, down in zip(x, y, strict=True))
        if area:
            floor = top + height
            shapes.append(f'<polygon {area} points="{x[0]:.2f},{floor:g} {points} {x[-1]:.2f},{floor:g}"/>')
        if line:
            shapes.append(f'<polyline {line} points="{points}"/>')
    return "".join(shapes)


def runs(axis: Axis, frames: np.ndarray) -> list[np.ndarray]:
    """Places in `frames`, ascending, as stretches without a gap."""
    if not len(frames):
        return []
    widest = 2 * max(1, (axis.last - axis.first) // MAX_POINTS + 1)
    return np.split(np.arange(len(frames)), np.flatnonzero(np.diff(frames) > widest) + 1)


def thinned(values: np.ndarray) -> np.ndarray:
    """Places of at most MAX_POINTS values that tell the course of all: of neighbours the lowest stands."""
    if len(values) <= MAX_POINTS:
        return np.arange(len(values))
    edges = np.linspace(0, len(values), MAX_POINTS + 1).astype(int)
    return np.array([start + int(values[start:end].argmin()) for start, end in pairwise(edges.tolist())])
