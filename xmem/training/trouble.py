"""What makes a clip difficult: how often each thing is added to one, and those that befall the whole picture.

All randomness comes from the numpy generator that the caller passes.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from xmem.training.augment import Generator, log_uniform, motion_blur, paste, smooth_path


@dataclass(frozen=True)
class Trouble:
    """Probability, per clip, of difficulties besides pasted objects.

    neighbour: something that is no object touches one in the first frame and stays behind.
    crossing: something passes over an object, which returns. near: the same, large and out of focus.
    twin: a distractor that is an object's own copy.
    screen: leaves or stalks before a part of the picture, with gaps.
    veil: smoke, dust or spray. light: exposure, tint and glare that change.
    shake: frames blurred by a quick camera. pan: the same, of all but the objects.
    dim: little contrast, dark or in haze.
    camouflage: a pasted object takes the colours of the place where it starts (of each such object, not of the clip).
    """

    neighbour: float = 0.0
    crossing: float = 0.0
    near: float = 0.0
    twin: float = 0.0
    screen: float = 0.0
    veil: float = 0.0
    light: float = 0.0
    pan: float = 0.0
    shake: float = 0.0
    dim: float = 0.0
    camouflage: float = 0.0


NO_TROUBLE = Trouble()


def veil(rng: Generator, frames: np.ndarray) -> None:
    """Smoke, dust or spray over a clip float32 [T, H, W, 3], in place: drifting noise of one colour, dense in parts."""
    count, height, width = frames.shape[:3]
    grain = rng.choice([3, 6, 40], p=[0.4, 0.35, 0.25])  # cells a side: smoke is coarse, spray fine
    cells = rng.random((2, grain + 1, grain * 2 + 1)).astype(np.float32)
    colour = np.full(3, rng.uniform(140, 250)) + rng.normal(0, 12, 3)
    drift = rng.normal(0, 0.25, 2) * height
    density, floor = rng.uniform(0.4, 0.95), rng.uniform(0.3, 0.6)
    wide = [cv2.resize(layer, (2 * width, 2 * height), interpolation=cv2.INTER_CUBIC) for layer in cells]
    for t in range(count):
        time = t / max(1, count - 1)
        y, x = (round(0.5 * side + time * d) for side, d in zip((height, width), drift, strict=True))
        shift = np.array([[1.0, 0.0, x], [0.0, 1.0, y]])
        moved = cv2.warpAffine(wide[0], shift, (width, height), borderMode=cv2.BORDER_REFLECT)
        noise = moved * (1 - time) + wide[1][:height, :width] * time
        alpha = density * np.clip((noise - floor) / (1 - floor) * 1.8, 0, 1)[..., None]
        frames[t] += alpha * (colour.astype(np.float32) - frames[t])


def relight(rng: Generator, frames: np.ndarray) -> None:
    """Let the light change over a clip float32 [T, H, W, 3], in place: exposure, tint, and glare from one side."""
    count, height, width = frames.shape[:3]
    gain = np.exp(smooth_path(rng, count, 0.3)[:, None] + np.stack([smooth_path(rng, count, 0.1) for _ in range(3)], 1))
    begin, end = rng.uniform(0, 0.75, 2)
    glare = np.linspace(begin, end, count) * (rng.random() < 0.6)
    colour = np.array([255, 240, 215]) * rng.uniform(0.75, 1) + rng.normal(0, 10, 3)
    angle, reach = rng.uniform(0, 2 * np.pi), rng.uniform(0.6, 1.4)
    rows, columns = np.mgrid[-0.5 : 0.5 : height * 1j, -0.5 : 0.5 : width * 1j]
    side = 0.5 + columns * np.cos(angle) + rows * np.sin(angle)  # 0 away from the light, 1 towards it
    ramp = np.clip(1 - (1 - side) / reach, 0, 1).astype(np.float32)[..., None]
    for t in range(count):
        frames[t] *= gain[t].astype(np.float32)
        frames[t] += np.float32(glare[t]) * ramp * (colour.astype(np.float32) - frames[t])


def pan(rng: Generator, frames: np.ndarray, labels: np.ndarray) -> None:
    """Blur what is no object along one direction, in place, as by a camera that follows the object.

    frames: float32 [T, H, W, 3]; labels: uint8 [T, H, W].
    """
    angle, longest = rng.uniform(0, 2 * np.pi), rng.uniform(0.02, 0.08) * frames.shape[2]
    for t in range(len(frames)):
        movement = longest * rng.uniform(0.2, 1) * np.array([np.cos(angle), np.sin(angle)])
        around = cv2.GaussianBlur((labels[t] == 0).astype(np.float32), (0, 0), 0.8)[..., None]
        blurred = motion_blur(np.concatenate([frames[t] * around, around], axis=2), movement)
        frames[t] += around * (blurred[..., :3] / np.maximum(blurred[..., 3:], 1e-2) - frames[t])


def screen(rng: Generator, frames: np.ndarray, labels: np.ndarray) -> None:
    """Draw leaves or stalks before a part of a clip, in place; what they leave open still shows the objects.

    frames: float32 [T, H, W, 3]; labels: uint8 [T, H, W].
    """
    count, height, width = frames.shape[:3]
    size = round(1.5 * height), round(1.5 * width)
    cover = _leaves(rng, size) if rng.random() < 0.5 else _stalks(rng, size)
    base = frames[0, int(rng.integers(height)), int(rng.integers(width))]
    if rng.random() < 0.5:
        base = rng.uniform((60, 70, 10), (190, 190, 110)).astype(np.float32)
    grain = cv2.resize(rng.normal(0, 1, (size[0] // 5, size[1] // 5)).astype(np.float32), size[::-1])
    colour = base * np.exp(rng.uniform(0.1, 0.4) * grain)[..., None] + rng.normal(0, 6, 3)
    layer = np.dstack([np.clip(colour, 0, 255), np.full(size, 255)]).astype(np.float32) * cover[..., None]
    x, y = (smooth_path(rng, count, 0.12) + rng.normal(0, 0.004, count) - 0.25 for _ in range(2))
    for t in range(count):
        matrix = np.array([[1.0, 0.0, x[t] * width], [0.0, 1.0, y[t] * height]])
        paste(frames[t], labels[t], cv2.warpAffine(layer, matrix, (width, height)), 0, behind=False)


def _leaves(rng: Generator, size: tuple[int, int]) -> np.ndarray:
    """Patches of foliage with gaps in it, and where they end: float32 [h, w] of size, 0..1."""

    def noise(cells: float, open_share: float) -> np.ndarray:
        coarse = rng.random([max(3, round(cells * side / size[0])) for side in size]).astype(np.float32)
        fine = cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_CUBIC)
        return np.clip(0.5 + 12 * (fine - np.quantile(fine[::4, ::4], open_share)), 0, 1)

    return noise(log_uniform(rng, 25, 90), rng.uniform(0.3, 0.7)) * noise(rng.uniform(3, 6), rng.uniform(0.4, 0.75))


def _stalks(rng: Generator, size: tuple[int, int]) -> np.ndarray:
    """Grass, reeds or thin branches from one side: float32 [h, w] of size, 0..1."""
    height, width = size
    cover, time = np.zeros(size, np.uint8), np.linspace(0, 1, 8)
    middle, spread, rise = rng.uniform(0.2, 0.8), rng.uniform(0.05, 0.3), rng.uniform(0.35, 0.75)
    thick = log_uniform(rng, 0.003, 0.012) * height
    for _ in range(round(log_uniform(rng, 8, 90))):
        foot, lean, tall = rng.normal(middle, spread), rng.normal(0, 0.15, 2), rise * rng.uniform(0.6, 1.2)
        curve = np.stack([foot + lean[0] * time + lean[1] * time**2, 0.85 - tall * time], axis=1)
        places = np.round(16 * curve * (width, height)).astype(np.int32)
        cv2.polylines(cover, [places], False, 255, max(1, round(thick * rng.uniform(0.5, 1.5))), cv2.LINE_AA, 4)
        if rng.random() < 0.3:  # an ear or a leaf at its end
            axes = round(1 + thick), round(1 + 2 * thick)
            cv2.ellipse(cover, places[-1] // 16, axes, rng.uniform(0, 180), 0, 360, 255, -1, cv2.LINE_AA)
    cover = np.rot90(cover, 2) if rng.random() < 0.2 else cover
    return cover.astype(np.float32) / 255


def shake(rng: Generator, frames: np.ndarray) -> None:
    """Blur single frames of a clip [T, H, W, 3] along a direction, in place, as a quick camera does."""
    angle, longest = rng.uniform(0, 2 * np.pi), rng.uniform(0.01, 0.05) * frames.shape[1]
    for t in range(len(frames)):
        length = longest * rng.uniform(0, 1)
        if length > 2:
            frames[t] = motion_blur(frames[t], length * np.array([np.cos(angle), np.sin(angle)]))


def dim(rng: Generator, frames: np.ndarray) -> None:
    """Take contrast from a clip float32 [T, H, W, 3], in place, with noise: dusk, a dark room, haze, glare."""
    level = rng.uniform(5, 60) if rng.random() < 0.6 else rng.uniform(60, 220)
    contrast, noise = log_uniform(rng, 0.2, 0.7), rng.uniform(0, 4)
    frames *= np.float32(contrast)
    frames += np.float32((1 - contrast) * level)
    if noise > 1:
        frames += np.float32(noise) * rng.standard_normal(frames.shape, dtype=np.float32)
