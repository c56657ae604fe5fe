"""Image operations on clips: crops that drift, sprites that move and deform, colours, blur and compression.

All randomness comes from the numpy generator that the caller passes, so a clip is a pure function of its seed.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

Generator = np.random.Generator


def log_uniform(rng: Generator, low: float, high: float) -> float:
    """A number whose logarithm is uniform between `low` and `high`."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def smooth_path(rng: Generator, steps: int, spread: float) -> np.ndarray:
    """A smooth random curve [steps] from 0 with an end point of about `spread` and a bend half as large."""
    time = np.linspace(0.0, 1.0, steps)
    return rng.normal(0, spread) * time + rng.normal(0, spread / 2) * np.sin(np.pi * time)


def crop(frame: np.ndarray, box: Sequence[float], size: tuple[int, int], *, label: bool) -> np.ndarray:
    """Cut box (left, top, width, height in pixels) and resize it to size (height, width); labels by nearest pixel."""
    left, top, width, height = box
    rows, columns = frame.shape[:2]
    x0, y0 = max(0, int(left)), max(0, int(top))
    x1, y1 = min(columns, max(x0 + 2, round(left + width))), min(rows, max(y0 + 2, round(top + height)))
    patch = np.ascontiguousarray(frame[y0:y1, x0:x1])
    shrinks = patch.shape[0] > size[0]
    way = cv2.INTER_NEAREST_EXACT if label else cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return cv2.resize(patch, (size[1], size[0]), interpolation=way)


@dataclass(frozen=True)
class SpritePath:
    """How a sprite moves over T frames, in units of the canvas: centre [T, 2] (x, y), scale, angle (degrees) [T]."""

    centre: np.ndarray
    scale: np.ndarray
    angle: np.ndarray
    bend: np.ndarray  # [T, 4, 4, 2] displacement of a coarse grid, relative to the sprite's size
    blur: float  # length of the motion blur as a share of the movement between frames

    @classmethod
    def random(cls, rng: Generator, frames: int, *, moving_picture: bool) -> "SpritePath":
        """Slow, medium or fast; a sprite that is itself a video deforms less by the grid."""
        speed = rng.choice([0.03, 0.12, 0.35], p=[0.35, 0.4, 0.25])
        start = rng.uniform(0.15, 0.85, 2)
        centre = start[None] + np.stack([smooth_path(rng, frames, speed) for _ in range(2)], axis=1)
        scale = log_uniform(rng, 0.15, 0.7) * np.exp(smooth_path(rng, frames, 0.15))
        angle = rng.uniform(-20, 20) + smooth_path(rng, frames, 15.0)
        amount = rng.choice([0.0, 0.04, 0.1], p=[0.3, 0.4, 0.3]) * (0.3 if moving_picture else 1.0)
        bend = rng.normal(0, amount, (4, 4, 2))[None] * np.linspace(0, 1, frames)[:, None, None, None]
        bend = bend + rng.normal(0, amount / 3, (frames, 4, 4, 2))
        return cls(centre, scale, angle, bend.astype(np.float32), float(rng.choice([0.0, 0.4], p=[0.75, 0.25])))


def _bend(sprite: np.ndarray, bend: np.ndarray) -> np.ndarray:
    """Warp by a coarse grid [4, 4, 2] of displacements; the sprite needs an empty margin."""
    height, width = sprite.shape[:2]
    field = cv2.resize(bend, (width, height), interpolation=cv2.INTER_CUBIC)
    columns, rows = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    return cv2.remap(sprite, columns + field[..., 0] * width, rows + field[..., 1] * height, cv2.INTER_LINEAR)


def draw_sprite(sprite: np.ndarray, path: SpritePath, frame: int, size: tuple[int, int]) -> np.ndarray:
    """The sprite (uint8 [h, w, 4] RGBA) on an empty canvas, float32 [H, W, 4] premultiplied, 0..255."""
    height, width = size
    extent = path.scale[frame] * min(height, width)  # pixels, of the sprite's geometric mean side
    ratio = extent / np.sqrt(sprite.shape[0] * sprite.shape[1])
    target = [max(4, round(side * ratio)) for side in sprite.shape[:2]]
    premultiplied = sprite.astype(np.float32)
    premultiplied[..., :3] *= premultiplied[..., 3:] / 255
    small = cv2.resize(premultiplied, target[::-1], interpolation=cv2.INTER_AREA if ratio < 1 else cv2.INTER_LINEAR)
    margin = max(4, round(0.15 * max(target)))
    small = cv2.copyMakeBorder(small, margin, margin, margin, margin, cv2.BORDER_CONSTANT, value=(0, 0, 0, 0))
    if np.abs(path.bend[frame]).max() > 1e-4:
        small = _bend(small, path.bend[frame])
    rows, columns = small.shape[:2]
    matrix = cv2.getRotationMatrix2D((columns / 2, rows / 2), float(path.angle[frame]), 1.0)
    matrix[:, 2] += np.array([width, height]) * path.centre[frame] - np.array([columns, rows]) / 2
    canvas = cv2.warpAffine(small, matrix, (width, height), flags=cv2.INTER_LINEAR)
    other = frame - 1 if frame else min(1, len(path.centre) - 1)
    movement = (path.centre[frame] - path.centre[other]) * np.array([width, height]) * path.blur
    return motion_blur(canvas, movement) if np.hypot(*movement) > 3 else canvas


def motion_blur(image: np.ndarray, movement: np.ndarray) -> np.ndarray:
    """Average along `movement` (x, y in pixels, at most 25)."""
    length = min(25.0, float(np.hypot(*movement)))
    direction = np.asarray(movement) / np.hypot(*movement)
    side = int(length) // 2 * 2 + 3
    kernel = np.zeros((side, side), np.float32)
    half = direction * length / 2
    ends = [tuple(round(side // 2 + sign * float(value)) for value in half) for sign in (-1, 1)]
    cv2.line(kernel, ends[0], ends[1], 1.0)
    return cv2.filter2D(image, -1, kernel / kernel.sum())


def paste(frame: np.ndarray, label: np.ndarray, layer: np.ndarray, value: int, behind: bool) -> None:
    """Draw a premultiplied layer [H, W, 4] on frame float32 [H, W, 3] and label uint8 [H, W], in place.

    behind: the layer stays behind every object that the label already has.
    """
    alpha = layer[..., 3:] / 255
    colour = layer[..., :3]
    if behind:
        free = (label == 0)[..., None]
        alpha, colour = alpha * free, colour * free
    frame *= 1 - alpha
    frame += colour
    label[alpha[..., 0] > 0.5] = value


@dataclass(frozen=True)
class Colours:
    """One colour change for a whole clip: matrix [3, 3], offset [3] and gamma on RGB in 0..255."""

    matrix: np.ndarray
    offset: np.ndarray
    gamma: float

    @classmethod
    def random(cls, rng: Generator, strength: float = 1.0) -> "Colours":
        """Brightness, contrast, saturation, tint and gamma; rarely grey."""
        saturation = 0.0 if rng.random() < 0.05 * strength else 1 + strength * rng.uniform(-0.4, 0.4)
        grey = np.full((3, 3), 1 / 3)
        gain = 1 + strength * rng.uniform(-0.25, 0.25) + strength * rng.uniform(-0.08, 0.08, 3)
        matrix = np.diag(gain) @ (saturation * np.eye(3) + (1 - saturation) * grey)
        offset = strength * rng.uniform(-25, 25) + strength * rng.uniform(-8, 8, 3)
        return cls(matrix, offset, log_uniform(rng, 0.8, 1.25) if strength > 0 else 1.0)

    def apply(self, image: np.ndarray) -> np.ndarray:
        """Recoloured float32 [..., 3] in 0..255."""
        image = np.clip(image @ self.matrix.T.astype(np.float32) + self.offset.astype(np.float32), 0, 255)
        return 255 * (image / 255) ** np.float32(self.gamma)


def recolour_sprite(sprite: np.ndarray, colours: Colours) -> np.ndarray:
    """RGBA uint8 with changed RGB."""
    return np.concatenate([colours.apply(sprite[..., :3].astype(np.float32)).astype(np.uint8), sprite[..., 3:]], axis=2)


def degrade(rng: Generator, clip: np.ndarray) -> np.ndarray:
    """Camera faults shared by a clip uint8 [T, H, W, 3]: blur, noise, JPEG compression, each on some clips only."""
    frames = list(clip)
    if rng.random() < 0.12:
        sigma = rng.uniform(0.5, 1.3)
        frames = [cv2.GaussianBlur(frame, (0, 0), sigma) for frame in frames]
    if rng.random() < 0.12:
        sigma = rng.uniform(2, 8)
        frames = [np.clip(frame + rng.normal(0, sigma, frame.shape), 0, 255).astype(np.uint8) for frame in frames]
    if rng.random() < 0.15:
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(25, 75))]
        frames = [cv2.imdecode(cv2.imencode(".jpg", frame, quality)[1], cv2.IMREAD_COLOR) for frame in frames]
    return np.stack(frames)


def rotate(frame: np.ndarray, angle: float, *, label: bool) -> np.ndarray:
    """Rotate about the centre by `angle` degrees, mirrored at the borders."""
    height, width = frame.shape[:2]
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), angle, 1.0)
    way = cv2.INTER_NEAREST if label else cv2.INTER_LINEAR
    return cv2.warpAffine(frame, matrix, (width, height), flags=way, borderMode=cv2.BORDER_REFLECT_101)
