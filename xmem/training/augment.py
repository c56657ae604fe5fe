"""Image operations on clips: crops that drift, sprites that move and deform, colours, blur and compression.

All randomness comes from the numpy generator that the caller passes, so a clip is a pure function of its seed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

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


SIZES = 0.15, 0.7  # of sprites: the least and the largest geometric mean side, of the canvas's shorter side
NEAR_SIZES = 0.6, 1.3  # of what passes close to the camera


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
        return cls.along(rng, centre, moving_picture=moving_picture)

    @classmethod
    def beside(cls, rng: Generator, frames: int, box: Sequence[float], *, moving_picture: bool) -> "SpritePath":
        """Touching the object whose box (left, top, width, height, of the canvas) is that of the first frame.

        It then keeps its place in the canvas or moves slowly, whatever the object does.
        """
        left, top, width, height = box
        angle = rng.uniform(0, 2 * np.pi)
        reach = 0.5 * np.array([width, height]) + rng.uniform(0.04, 0.15)
        start = np.array([left + width / 2, top + height / 2]) + reach * np.array([np.cos(angle), np.sin(angle)])
        centre = start[None] + np.stack([smooth_path(rng, frames, 0.03) for _ in range(2)], axis=1)
        return cls.along(rng, centre, moving_picture=moving_picture)

    @classmethod
    def across(
        cls, rng: Generator, target: np.ndarray, *, moving_picture: bool, sizes: tuple[float, float] = SIZES
    ) -> "SpritePath":
        """Passing over target [T, 2] (x, y, of the canvas) in the middle of the clip, beside it at both ends."""
        frames = len(target)
        angle, meeting = rng.uniform(0, 2 * np.pi), rng.uniform(0.3, 0.7) * (frames - 1)
        time = (np.arange(frames) - meeting) / max(1, frames - 1)
        way = rng.uniform(0.8, 1.6) + 2 * max(0, sizes[1] - SIZES[1])  # what is larger has farther to go
        centre = target + time[:, None] * way * np.array([np.cos(angle), np.sin(angle)])
        return cls.along(rng, centre, moving_picture=moving_picture, sizes=sizes)

    @classmethod
    def along(
        cls, rng: Generator, centre: np.ndarray, *, moving_picture: bool, sizes: tuple[float, float] = SIZES
    ) -> "SpritePath":
        """Of random turn and deformation and a size between two, with its centre where it is given, [T, 2] (x, y)."""
        frames = len(centre)
        scale = log_uniform(rng, *sizes) * np.exp(smooth_path(rng, frames, 0.15))
        angle = rng.uniform(-20, 20) + smooth_path(rng, frames, 15.0)
        amount = rng.choice([0.0, 0.04, 0.1], p=[0.3, 0.4, 0.3]) * (0.3 if moving_picture else 1.0)
        bend = rng.normal(0, amount, (4, 4, 2))[None] * np.linspace(0, 1, frames)[:, None, None, None]
        bend = bend + rng.normal(0, amount / 3, (frames, 4, 4, 2))
        blur = float(rng.choice([0.0, 0.4, 0.9], p=[0.65, 0.2, 0.15]))
        return cls(centre, scale, angle, bend.astype(np.float32), blur)

    def surroundings(self, frame: np.ndarray) -> np.ndarray:
        """Pixels [N, C] of a frame [H, W, C] where the sprite is at first, every second one; none outside of it."""
        height, width = frame.shape[:2]
        reach = max(2, round(self.scale[0] * min(height, width) / 2))
        column, row = round(self.centre[0, 0] * width), round(self.centre[0, 1] * height)
        rows, columns = (slice(max(0, place - reach), max(0, place + reach), 2) for place in (row, column))
        return frame[rows, columns].reshape(-1, frame.shape[2])


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


def thin_plate_field(displacements: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Thin-plate spline through displacements [4, 4, 2] of a regular grid, on size (h, w): float32 [h, w, 2]."""
    coarse = (_thin_plate_basis() @ displacements.reshape(16, 2)).reshape(_COARSE, _COARSE, 2)
    return cv2.resize(coarse.astype(np.float32), (size[1], size[0]), interpolation=cv2.INTER_CUBIC)


_COARSE = 24  # points a side at which the spline is computed; between them it is interpolated


@cache
def _thin_plate_basis() -> np.ndarray:
    """The spline at every coarse point as a linear function of the 16 displacements, [points, 16]."""

    def grid(line: np.ndarray) -> np.ndarray:
        return np.stack(np.meshgrid(line, line), axis=-1).reshape(-1, 2)

    def kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        squared = ((a[:, None] - b[None]) ** 2).sum(-1)
        return squared * np.log(np.maximum(squared, 1e-12))

    def affine(a: np.ndarray) -> np.ndarray:
        return np.concatenate([np.ones((len(a), 1)), a], axis=1)

    knots, points = grid(np.linspace(0.0, 1.0, 4)), grid((np.arange(_COARSE) + 0.5) / _COARSE)  # points: cell centres
    system = np.block([[kernel(knots, knots), affine(knots)], [affine(knots).T, np.zeros((3, 3))]])
    return np.concatenate([kernel(points, knots), affine(points)], axis=1) @ np.linalg.inv(system)[:, :16]


@dataclass(frozen=True)
class StillMotion:
    """How a still moves over T frames: a thin-plate bend [T, 4, 4, 2], then a map [T, 3, 3] about the centre.

    Both in units of the height; the map is projective, in the first frame a turn.
    """

    projection: np.ndarray
    bend: np.ndarray

    @classmethod
    def random(cls, rng: Generator, frames: int) -> "StillMotion":
        """Smooth shift, turn, scale, shear and tilt, slow or fast, and a bend that grows, with a little unrest."""
        strength = rng.choice([0.3, 1.0, 2.0], p=[0.3, 0.45, 0.25])
        shift_x, shift_y, turn, scale, shear, tilt_x, tilt_y = (
            smooth_path(rng, frames, strength * spread) for spread in (0.08, 0.08, 0.12, 0.1, 0.06, 0.08, 0.08)
        )
        turn = turn + rng.normal(0, 0.15)
        projection = np.zeros((frames, 3, 3))
        projection[:, 0, 0], projection[:, 0, 1] = np.exp(scale) * np.cos(turn), shear - np.exp(scale) * np.sin(turn)
        projection[:, 1, 0], projection[:, 1, 1] = np.exp(scale) * np.sin(turn), np.exp(scale) * np.cos(turn)
        projection[:, 0, 2], projection[:, 1, 2] = shift_x, shift_y
        projection[:, 2] = np.stack([tilt_x, tilt_y, np.ones(frames)], axis=1)
        amount = rng.choice([0.0, 0.02, 0.05], p=[0.3, 0.4, 0.3])
        bend = rng.normal(0, amount, (4, 4, 2))[None] * np.linspace(0, 1, frames)[:, None, None, None]
        return cls(projection, bend + rng.normal(0, amount / 4, (frames, 4, 4, 2)))

    def apply(self, picture: np.ndarray, frame: int, size: tuple[int, int], *, label: bool) -> np.ndarray:
        """The picture [H, W, ...] at a frame, its middle at the middle of size (h, w), mirrored beyond its borders."""
        height, width = size
        columns, rows = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
        place = np.stack([columns - (width - 1) / 2, rows - (height - 1) / 2], axis=-1) / height
        place += thin_plate_field(self.bend[frame], size)
        matrix = self.projection[frame].astype(np.float32)
        mapped = place @ matrix[:, :2].T + matrix[:, 2]
        mapped = mapped[..., :2] / np.maximum(mapped[..., 2:], 0.2) * height
        middle = np.array([(picture.shape[1] - 1) / 2, (picture.shape[0] - 1) / 2], np.float32)
        way = cv2.INTER_NEAREST if label else cv2.INTER_LINEAR
        places = (mapped + middle).astype(np.float32)
        return cv2.remap(picture, places[..., 0], places[..., 1], way, borderMode=cv2.BORDER_REFLECT_101)


def camouflage(rng: Generator, pictures: Sequence[np.ndarray], surroundings: np.ndarray) -> list[np.ndarray]:
    """Sprites (RGBA uint8 [h, w, 4]) with the colours' mean and spread moved most of the way to those of RGB pixels
    `surroundings` [N, 3]."""
    amount = rng.uniform(0.6, 1.0)
    seen = pictures[0][pictures[0][..., 3] > 127][:, :3].astype(np.float32)
    if not len(seen) or not len(surroundings):
        return list(pictures)
    mean, target = seen.mean(0), surroundings.mean(0)
    spread = float(np.clip(surroundings.std(0).mean() / max(1.0, float(seen.std(0).mean())), 0.4, 2.0)) ** amount
    matrix = np.eye(3) * spread
    colours = Colours(matrix, mean + amount * (target - mean) - spread * mean, 1.0)
    made = {id(picture): recolour_sprite(picture, colours) for picture in pictures}
    return [made[id(picture)] for picture in pictures]


def defocus(rng: Generator, pictures: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Sprites (RGBA uint8 [h, w, 4]) as things close to the camera: out of focus, and most of them dark."""
    gain, spread = (log_uniform(rng, 0.08, 0.6) if rng.random() < 0.7 else 1.0), log_uniform(rng, 0.01, 0.06)
    made = {}
    for picture in pictures:
        if id(picture) in made:
            continue
        sigma = spread * np.sqrt(picture.shape[0] * picture.shape[1])
        margin = round(2 * sigma)
        padded = np.pad(picture, ((margin, margin), (margin, margin), (0, 0))).astype(np.float32)
        padded[..., :3] *= padded[..., 3:] / 255
        soft = np.asarray(cv2.GaussianBlur(padded, (0, 0), sigma))
        colours = gain * 255 * soft[..., :3] / np.maximum(soft[..., 3:], 1)
        made[id(picture)] = np.clip(np.dstack([colours, soft[..., 3]]), 0, 255).astype(np.uint8)
    return [made[id(picture)] for picture in pictures]


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
