"""Training clips: real footage with pasted objects, stills in motion, and composites of moving cut-outs.

A clip is a pure function of its batch's seed and its place: a resumed run sees the clips of an uninterrupted one.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from xmem.training import augment, trouble
from xmem.training.drawn import thin_object
from xmem.training.footage import Cutouts, Footage, Stills, VideoSequence
from xmem.training.trouble import NO_TROUBLE, Trouble

Generator = np.random.Generator
FIRST_MASK_PIXELS = 0.002  # least share of the first frame that each object must cover
ATTEMPTS = 8
SPRITE_GAP = 4  # most frames between two pictures of a moving sprite


@dataclass(frozen=True)
class BatchShape:
    """What one batch looks like; height and width are multiples of 16."""

    height: int
    width: int
    frames: int
    batch: int
    objects: int

    @property
    def size(self) -> tuple[int, int]:
        return self.height, self.width


@dataclass(frozen=True)
class ClipSource:
    """Everything that clips are made of.

    real_share, still_share: shares of clips on real footage and of stills in motion; the rest are composites.
    trouble: how often each difficulty is added to a clip (see `Trouble`).
    thin_share: share of drawn objects of thin parts among pasted ones (see `thin_object`).
    """

    footage: Footage
    cutouts: Cutouts
    real_share: float = 0.65
    stills: Stills | None = None
    still_share: float = 0.0
    trouble: Trouble = NO_TROUBLE
    thin_share: float = 0.0

    def batch(self, shape: BatchShape, seed: Sequence[int], max_gap: int) -> tuple[np.ndarray, np.ndarray]:
        """Frames uint8 [B, T, H, W, 3] RGB and index masks uint8 [B, T, H, W] with the objects 1..O.

        max_gap: most frames between two neighbours of a clip.
        """
        clips = [self.clip(np.random.default_rng([*seed, place]), shape, max_gap) for place in range(shape.batch)]
        return np.stack([frames for frames, _ in clips]), np.stack([labels for _, labels in clips])

    def clip(self, rng: Generator, shape: BatchShape, max_gap: int) -> tuple[np.ndarray, np.ndarray]:
        """One clip: frames uint8 [T, H, W, 3] and index masks uint8 [T, H, W].

        Every object covers part of the first frame, unless several attempts found no such clip.
        """
        kind = self._kind(rng)
        for _ in range(ATTEMPTS):
            frames, labels = kind(rng, shape, max_gap)
            areas = np.bincount(labels[0].ravel(), minlength=shape.objects + 1)[1 : shape.objects + 1]
            if areas.min() >= FIRST_MASK_PIXELS * shape.height * shape.width:
                break
        return _finish(rng, frames, labels)

    def _kind(self, rng: Generator) -> Callable[[Generator, BatchShape, int], tuple[np.ndarray, np.ndarray]]:
        """How the next clip is made."""
        draw = rng.random()
        if self.stills and draw < self.still_share:
            return self._static
        still_share = self.still_share if self.stills else 0.0
        has_objects = len(self.cutouts) or self.stills
        return self._real if not has_objects or draw < still_share + self.real_share else self._composite

    def _real(self, rng: Generator, shape: BatchShape, max_gap: int) -> tuple[np.ndarray, np.ndarray]:
        """Footage whose own objects come first."""
        sequence = self.footage.pick(rng)
        indices = pick_frames(rng, len(sequence.frames), shape.frames, max_gap)
        frames, labels = crop_clip(rng, sequence, indices, shape.size)
        return self._populate(rng, frames, labels, shape.objects, sequence, indices)

    def _static(self, rng: Generator, shape: BatchShape, max_gap: int) -> tuple[np.ndarray, np.ndarray]:
        """A still that is moved and bent as a whole, its own objects first."""
        assert self.stills is not None  # see `_kind`
        still = self.stills.pick(rng)
        frames, labels = move_still(rng, still, shape.frames, shape.size)
        return self._populate(rng, frames, labels, shape.objects, still, np.zeros(shape.frames, int))

    def _populate(
        self,
        rng: Generator,
        frames: np.ndarray,
        labels: np.ndarray,
        objects: int,
        sequence: VideoSequence,
        indices: np.ndarray,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Some of a clip's own objects, with pasted sprites up to the wanted number, or merely to distract."""
        present = [int(value) for value in np.unique(labels[0]) if value]
        rng.shuffle(present)
        kept = present[:objects]
        order = np.zeros(256, np.uint8)
        order[kept] = np.arange(1, len(kept) + 1)
        labels = order[labels]
        frames = augment.Colours.random(rng).apply(frames.astype(np.float32))
        missing = range(len(kept) + 1, objects + 1)
        twin = None
        for value in missing:
            # the footage's own object a second time, elsewhere: looks alike, is another one
            twin = self._sprite(rng, sequence, indices) if rng.random() < 0.2 else None
            self._add(rng, frames, labels, value, twin, behind=rng.random() < 0.35)
        if rng.random() < (0.2 if len(missing) else 0.35):
            self._add(rng, frames, labels, 0, None, behind=rng.random() < 0.35)
        if rng.random() < self.trouble.twin:
            self._add(rng, frames, labels, 0, self._sprite(rng, sequence, indices), behind=rng.random() < 0.6)
        self._trouble(rng, frames, labels)
        return frames, labels

    def _composite(self, rng: Generator, shape: BatchShape, max_gap: int) -> tuple[np.ndarray, np.ndarray]:
        """A still picture under a moving camera, with moving, deforming objects on it."""
        sequence = self.stills.pick(rng) if self.stills and rng.random() < 0.7 else self.footage.pick(rng)
        index = int(rng.integers(len(sequence.frames)))
        frames, labels = crop_clip(rng, sequence, np.full(shape.frames, index), shape.size, on_object=False)
        frames = augment.Colours.random(rng).apply(frames.astype(np.float32))
        labels = np.zeros_like(labels)
        previous: list[np.ndarray] | None = None
        for value in range(1, shape.objects + 1):
            repeat = previous if previous is not None and rng.random() < 0.3 else None
            previous = self._add(rng, frames, labels, value, repeat, behind=False)
        if rng.random() < 0.4:
            self._add(rng, frames, labels, 0, previous if rng.random() < 0.3 else None, behind=rng.random() < 0.4)
        self._trouble(rng, frames, labels)
        return frames, labels

    def _trouble(self, rng: Generator, frames: np.ndarray, labels: np.ndarray) -> None:
        """Neighbours, occluders, smoke and blur, in place."""
        scale = np.array(labels.shape[:0:-1], float)  # width, height
        if rng.random() < self.trouble.neighbour:
            box = np.array(object_box(labels[0] == rng.integers(1, max(2, labels[0].max() + 1)))) / np.tile(scale, 2)
            pictures = self._random_sprite(rng, frames)
            path = augment.SpritePath.beside(rng, len(frames), box, moving_picture=pictures[0] is not pictures[-1])
            self._draw(frames, labels, 0, pictures, path, behind=rng.random() < 0.7)
        for chance, sizes in ((self.trouble.crossing, augment.SIZES), (self.trouble.near, augment.NEAR_SIZES)):
            if rng.random() >= chance:
                continue
            value = rng.integers(1, max(2, labels[0].max() + 1))
            boxes = np.array([object_box(label == value) for label in labels], float)
            pictures = self._random_sprite(rng, frames)
            moving = pictures[0] is not pictures[-1]
            target = (boxes[:, :2] + boxes[:, 2:] / 2) / scale
            path = augment.SpritePath.across(rng, target, moving_picture=moving, sizes=sizes)
            pictures = augment.defocus(rng, pictures) if sizes == augment.NEAR_SIZES else pictures
            self._draw(frames, labels, 0, pictures, path, behind=False)
        if rng.random() < self.trouble.pan:
            trouble.pan(rng, frames, labels)
        if rng.random() < self.trouble.screen:
            trouble.screen(rng, frames, labels)
        if rng.random() < self.trouble.veil:
            trouble.veil(rng, frames)
        if rng.random() < self.trouble.light:
            trouble.relight(rng, frames)
        if rng.random() < self.trouble.shake:
            trouble.shake(rng, frames)
        if rng.random() < self.trouble.dim:
            trouble.dim(rng, frames)

    def _add(
        self,
        rng: Generator,
        frames: np.ndarray,
        labels: np.ndarray,
        value: int,
        pictures: list[np.ndarray] | None,
        behind: bool,
    ) -> list[np.ndarray]:
        """Paste a sprite (one picture per frame; None: a random one) into the clip, in place; returns its pictures."""
        fresh = pictures is None
        pictures = self._random_sprite(rng, frames) if pictures is None else pictures
        path = augment.SpritePath.random(rng, len(frames), moving_picture=pictures[0] is not pictures[-1])
        if fresh and rng.random() < self.trouble.camouflage:
            pictures = augment.camouflage(rng, pictures, path.surroundings(frames[0]))
        self._draw(frames, labels, value, pictures, path, behind)
        return pictures

    @staticmethod
    def _draw(
        frames: np.ndarray,
        labels: np.ndarray,
        value: int,
        pictures: list[np.ndarray],
        path: augment.SpritePath,
        behind: bool,
    ) -> None:
        for index, picture in enumerate(pictures):
            layer = augment.draw_sprite(picture, path, index, frames.shape[1:3])
            augment.paste(frames[index], labels[index], layer, value, behind)

    def _random_sprite(self, rng: Generator, clip: np.ndarray) -> list[np.ndarray]:
        """One picture per frame of a clip [T, H, W, 3]."""
        frames = len(clip)
        if self.thin_share and rng.random() < self.thin_share:
            return [thin_object(rng, clip[0])] * frames
        if self.stills and rng.random() < 0.4:
            still = self.stills.pick(rng)
            return self._sprite(rng, still, np.zeros(1, int)) * frames
        if len(self.cutouts) and rng.random() < 0.6:
            return self._cutout(rng, self.cutouts[int(rng.integers(len(self.cutouts)))], frames)
        sequence = self.footage.pick(rng)
        return self._sprite(rng, sequence, pick_frames(rng, len(sequence.frames), frames, SPRITE_GAP))

    @staticmethod
    def _cutout(rng: Generator, strip: np.ndarray, frames: int) -> list[np.ndarray]:
        """A cut-out [n, h, w, 4] as one picture per frame: of a loop from any place on, at any pace, either way."""
        pace = rng.choice([-3, -2, -1, 1, 2, 3])
        order = (rng.integers(len(strip)) + pace * np.arange(frames)) % len(strip)
        strip = strip[:, :, ::-1] if rng.random() < 0.5 else strip
        colours = augment.Colours.random(rng)
        made = {index: augment.recolour_sprite(np.ascontiguousarray(strip[index]), colours) for index in set(order)}
        return [made[index] for index in order]

    def _sprite(self, rng: Generator, sequence: VideoSequence, indices: np.ndarray) -> list[np.ndarray]:
        """An object of the footage as a moving picture: one RGBA crop per frame around the object."""
        values = [value for value in np.unique(sequence.masks[indices[0]]) if value] or [1]
        value, flip = rng.choice(values), rng.random() < 0.5
        colours = augment.Colours.random(rng, 0.6)
        boxes = [object_box(sequence.masks[index] == value) for index in indices]
        side_y, side_x = (max(box[axis + 2] for box in boxes) for axis in (1, 0))
        pictures = []
        for index, (left, top, width, height) in zip(indices, boxes, strict=True):
            y0, x0 = max(0, top + height // 2 - side_y // 2), max(0, left + width // 2 - side_x // 2)
            window = np.s_[y0 : y0 + side_y, x0 : x0 + side_x]
            alpha = cv2.GaussianBlur((sequence.masks[index][window] == value).astype(np.uint8) * 255, (0, 0), 0.8)
            picture = np.concatenate([sequence.frames[index][window], alpha[..., None]], axis=2)
            pictures.append(augment.recolour_sprite(picture[:, ::-1] if flip else picture, colours))
        return pictures


def pick_frames(rng: Generator, available: int, wanted: int, max_gap: int) -> np.ndarray:
    """Indices [wanted] with random gaps, forward or backward in time; short sequences repeat frames."""
    gaps = rng.integers(1, rng.integers(1, max_gap + 1) + 1, wanted - 1)
    offsets = np.concatenate([[0], np.cumsum(gaps)])
    if offsets[-1] >= available:
        offsets = np.floor(offsets * ((available - 1) / offsets[-1])).astype(int)
    indices = rng.integers(available - offsets[-1]) + offsets
    return indices[::-1].copy() if rng.random() < 0.5 else indices


def object_box(mask: np.ndarray) -> tuple[int, int, int, int]:
    """Left, top, width, height of a boolean mask; a small box in the middle for an empty one."""
    rows, columns = np.nonzero(mask.any(axis=1))[0], np.nonzero(mask.any(axis=0))[0]
    if len(rows) == 0:
        return mask.shape[1] // 2 - 4, mask.shape[0] // 2 - 4, 8, 8
    return int(columns[0]), int(rows[0]), int(columns[-1] - columns[0] + 1), int(rows[-1] - rows[0] + 1)


def crop_clip(
    rng: Generator, sequence: VideoSequence, indices: np.ndarray, size: tuple[int, int], *, on_object: bool = True
) -> tuple[np.ndarray, np.ndarray]:
    """Cut the frames by a window that drifts like a camera; uint8 [T, H, W, 3] and [T, H, W].

    The window's first place is near a point of an object (on_object). Its height lies between the frame's own and one
    that is enlarged 1.4 times.
    """
    rows, columns = sequence.frames.shape[1:3]
    ratio = size[1] / size[0] * augment.log_uniform(rng, 0.85, 1.18)
    largest = min(rows, columns / ratio)
    height = largest if rng.random() < 0.2 else augment.log_uniform(rng, min(size[0] / 1.4, largest * 0.9), largest)
    zooms = np.exp(augment.smooth_path(rng, len(indices), 0.08))
    aim = np.array([rng.uniform(0, columns), rng.uniform(0, rows)])
    inside = np.argwhere(sequence.masks[indices[0]] > 0) if on_object else np.empty((0, 2), int)
    if len(inside):
        aim = inside[rng.integers(len(inside))][::-1] + rng.normal(0, 0.2 * height, 2)
    drift = rng.choice([0.0, 0.04, 0.2], p=[0.4, 0.4, 0.2]) * height
    centres = aim + np.stack([augment.smooth_path(rng, len(indices), drift) for _ in range(2)], axis=1)
    angles = rng.normal(0, 6) + augment.smooth_path(rng, len(indices), 3) if rng.random() < 0.25 else None
    frames, labels = [], []
    for step, index in enumerate(indices):
        tall = min(height * zooms[step], largest)
        wide = tall * ratio
        left = float(np.clip(centres[step, 0] - wide / 2, 0, columns - wide))
        top = float(np.clip(centres[step, 1] - tall / 2, 0, rows - tall))
        pair = [
            augment.crop(source[index], (left, top, wide, tall), size, label=label)
            for source, label in ((sequence.frames, False), (sequence.masks, True))
        ]
        if angles is not None:
            pair = [augment.rotate(x, angles[step], label=label) for x, label in zip(pair, (False, True), strict=True)]
        frames.append(pair[0])
        labels.append(pair[1])
    return np.stack(frames), np.stack(labels)


def move_still(
    rng: Generator, still: VideoSequence, frames: int, size: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """A clip from one image by affine, perspective and thin-plate motion; uint8 [T, H, W, 3] and [T, H, W]."""
    margin = round(1.2 * size[0]), round(1.2 * size[1])  # of the picture beyond the clip's frame, for it to move in
    picture, mask = (part[0] for part in crop_clip(rng, still, np.zeros(1, int), margin))
    motion = augment.StillMotion.random(rng, frames)
    images = [motion.apply(picture, t, size, label=False) for t in range(frames)]
    return np.stack(images), np.stack([motion.apply(mask, t, size, label=True) for t in range(frames)])


def _finish(rng: Generator, frames: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mirror, camera faults, conversion to uint8."""
    if rng.random() < 0.5:
        frames, labels = frames[:, :, ::-1], labels[:, :, ::-1]
    frames = np.clip(np.ascontiguousarray(frames), 0, 255).astype(np.uint8)
    return augment.degrade(rng, frames), np.ascontiguousarray(labels)
