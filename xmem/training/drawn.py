"""Objects of thin parts, drawn: frames of bars, spokes, rings and strands with a solid plate or two.

Sets of stills and cut-outs hold few chairs, bicycles, cables and kites; their parts of one to eight pixels are what a
small network loses first. Only shape matters here: colours are random, and often near to those of a given picture.
"""

import cv2
import numpy as np

from xmem.training.augment import Generator, log_uniform, smooth_path

SIDE = 256  # pixels of the drawing's square
FINER = 4  # bits of cv2's sub-pixel places
THINNEST, THICKEST = 0.008, 0.05  # width of a bar as a share of the side


def thin_object(rng: Generator, surroundings: np.ndarray | None = None) -> np.ndarray:
    """RGBA uint8 [h, w, 4], cropped to the object, about SIDE pixels large.

    surroundings: RGB [H, W, 3] that the colours are taken from in half of the cases, so that they stand out little.
    """
    colour = rng.uniform(0, 255, 3) if rng.random() < 0.5 else np.full(3, rng.uniform(0, 255)) + rng.normal(0, 8, 3)
    if surroundings is not None and rng.random() < 0.5:
        y, x = (int(rng.integers(side)) for side in surroundings.shape[:2])
        colour = surroundings[y, x].astype(float) + rng.normal(0, 18, 3)
    picture, alpha = np.zeros((SIDE, SIDE, 3), np.float32), np.zeros((SIDE, SIDE), np.uint8)
    for part in _parts(rng):
        fresh = np.zeros_like(alpha)
        for points, width in part:
            _draw(fresh, points, width)
        begin, end = rng.uniform(0.6, 1.3, 2)
        light = np.linspace(begin, end, SIDE, dtype=np.float32)
        light = light[:, None] if rng.random() < 0.5 else light[None]
        shaded = light[..., None] * (colour + rng.normal(0, 12, 3)).astype(np.float32)
        picture[fresh > 0] = np.broadcast_to(shaded, picture.shape)[fresh > 0]
        alpha = np.maximum(alpha, fresh)
    picture += cv2.resize(rng.normal(0, 8, (SIDE // 4, SIDE // 4)).astype(np.float32), (SIDE, SIDE))[..., None]
    rows, columns = (np.flatnonzero((alpha > 127).any(axis)) for axis in (1, 0))
    window = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return np.dstack([np.clip(picture, 0, 255).astype(np.uint8), alpha])[window]


Part = list[tuple[np.ndarray, float]]  # curves: points [N, 2] (x, y) in 0..1, and width in pixels; 0 fills


def _parts(rng: Generator) -> list[Part]:
    """One to three structures that meet in a common place, and up to two plates on them."""
    meeting = rng.uniform(0.35, 0.65, 2)
    width = log_uniform(rng, THINNEST, THICKEST) * SIDE
    kinds = (_spokes, _frame, _ring, _strands)
    drawn = rng.choice(len(kinds), size=int(rng.integers(1, 4)), p=[0.35, 0.25, 0.2, 0.2])
    parts: list[Part] = [kinds[kind](rng, meeting, width * log_uniform(rng, 0.7, 1.5)) for kind in drawn]
    for _ in range(int(rng.choice(3, p=[0.35, 0.4, 0.25]))):
        around = [curve for part in parts for curve, _ in part]
        curve = around[int(rng.integers(len(around)))]
        parts.append(_plate(rng, curve[int(rng.integers(len(curve)))]))
    return parts


def _spokes(rng: Generator, meeting: np.ndarray, width: float) -> Part:
    """Legs from one place, straight or bent once: stools, tripods, antennas, branches."""
    middle, spread = rng.uniform(0, 2 * np.pi), rng.uniform(0.3, 2 * np.pi)
    part: Part = []
    for angle in middle + spread * rng.uniform(-0.5, 0.5, int(rng.integers(2, 7))):
        reach = rng.uniform(0.2, 0.48)
        end = meeting + reach * np.array([np.cos(angle), np.sin(angle)])
        bent = angle + rng.normal(0, 0.8) * (rng.random() < 0.4)
        part.append((np.stack([meeting, end, end + 0.3 * reach * np.array([np.cos(bent), np.sin(bent)])]), width))
    return part


def _frame(rng: Generator, meeting: np.ndarray, width: float) -> Part:
    """A polygon of bars with some bars across: chairs, gates, bicycle frames, scaffolds."""
    angles = np.sort(rng.uniform(0, 2 * np.pi, int(rng.integers(3, 7))))
    reach = rng.uniform(0.12, 0.4, len(angles))[:, None]
    nodes = meeting + reach * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    part: Part = [(np.concatenate([nodes, nodes[:1]]), width), (np.stack([meeting, nodes[0]]), width)]
    for _ in range(int(rng.integers(0, 4))):
        part.append((nodes[rng.choice(len(nodes), 2, replace=False)], width))
    return part


def _ring(rng: Generator, meeting: np.ndarray, width: float) -> Part:
    """A wheel or hoop through the meeting place, with or without thin spokes."""
    reach, tilt, turn = rng.uniform(0.08, 0.25), rng.uniform(0.35, 1), rng.uniform(0, 2 * np.pi)
    time = np.linspace(0, 2 * np.pi, 33)
    flat = reach * np.stack([np.cos(time), tilt * np.sin(time)], axis=1)
    circle = flat @ np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    centre = meeting - circle[int(rng.integers(33))]
    part: Part = [(centre + circle, width)]
    if rng.random() < 0.4:
        part += [(np.stack([centre, centre + end]), 0.5 * width) for end in circle[:: int(rng.integers(3, 9))]]
    return part


def _strands(rng: Generator, meeting: np.ndarray, width: float) -> Part:
    """Smooth curves: strings, cables, leashes."""
    part: Part = []
    for _ in range(int(rng.integers(1, 4))):
        curve = np.stack([smooth_path(rng, 24, 0.3) for _ in range(2)], axis=1)
        part.append((np.clip(meeting + curve, 0.02, 0.98), 0.7 * width))
    return part


def _plate(rng: Generator, place: np.ndarray) -> Part:
    """A solid part: seat, back, lamp, kite."""
    angles = np.linspace(0, 2 * np.pi, int(rng.choice([4, 4, 5, 24])), endpoint=False) + rng.uniform(0, np.pi)
    reach = rng.uniform(0.05, 0.16, 2)
    return [(place + reach * np.stack([np.cos(angles), np.sin(angles)], axis=1), 0.0)]


def _draw(canvas: np.ndarray, points: np.ndarray, width: float) -> None:
    """A curve of `width` pixels, its ends round, or its inside where that is 0, on uint8 [SIDE, SIDE], in place."""
    places = np.round(np.clip(points, 0.01, 0.99) * SIDE * 2**FINER).astype(np.int32)
    if width:
        cv2.polylines(canvas, [places], False, 255, max(1, round(width)), cv2.LINE_AA, FINER)
    else:
        cv2.fillPoly(canvas, [places], 255, cv2.LINE_AA, FINER)
