"""Video sequences, stills and cut-outs on disk, decoded once into flat files that every worker maps into memory."""

import json
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import cv2
import numpy as np
from PIL import ImageSequence

from xmem.errors import InputError
from xmem.scoring.evaluation import LabelledSequence, find_sequences, read_truth
from xmem.video.stills import open_still

log = logging.getLogger("xmem")

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
MOVING_FRAMES = 12  # that are kept of an animated cut-out, over its whole length
MOVING_SIDE = 192  # pixels of its longer side
MOVING_CHANGE = 0.2  # of the area in any frame, that is not in all: animations with less hardly deform


@dataclass(frozen=True)
class VideoSequence:
    """One sequence, mapped from disk: frames uint8 [T, H, W, 3] RGB and index masks uint8 [T, H, W]."""

    name: str
    frames: np.ndarray
    masks: np.ndarray


def read_frames(sequence: LabelledSequence, short_side: int | None = None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Frames uint8 [H, W, 3] and index masks uint8 [H, W] of a sequence, shrunk to `short_side` if larger.

    Frames without a mask are left out.
    """
    paths = [path for path in sorted(sequence.images.iterdir()) if path.suffix.lower() in IMAGE_SUFFIXES]
    for path in (path for path in paths if path.stem in sequence.masks):
        read = cv2.imread(str(path), cv2.IMREAD_COLOR)
        if read is None:
            raise InputError(f"The image {path} cannot be read: copy it again.")
        image = cv2.cvtColor(read, cv2.COLOR_BGR2RGB)
        label = read_truth(sequence.masks[path.stem], image.shape[:2])
        scale = 1.0 if short_side is None else min(1.0, short_side / min(image.shape[:2]))
        size = (round(image.shape[1] * scale), round(image.shape[0] * scale))  # width, height
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA) if scale < 1 else image
        yield image, cv2.resize(label, size, interpolation=cv2.INTER_NEAREST_EXACT)


def read_sequence(sequence: LabelledSequence, short_side: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """All frames uint8 [T, H, W, 3] and index masks uint8 [T, H, W] that have both; see `read_frames`.

    Raises InputError where there are none.
    """
    pairs = list(read_frames(sequence, short_side))
    if not pairs:
        raise InputError(f"Sequence {sequence.name} in {sequence.images} has no frame with a mask of the same name.")
    return np.stack([image for image, _ in pairs]), np.stack([label for _, label in pairs])


class Footage:
    """Sequences cached as .npy files. `build` decodes what is missing; the object pickles as its paths only."""

    def __init__(self, cache: Path, names: Iterable[str]):
        self.cache, self.names = Path(cache), tuple(names)
        self._open: dict[str, VideoSequence] = {}
        self._weights: np.ndarray | None = None  # of the sequences, for `pick`

    @classmethod
    def build(cls, roots: Sequence[Path], cache: Path, short_side: int = 384, exclude: Sequence[str] = ()) -> "Footage":
        """Cache every sequence under `roots` that is not in `exclude`, shorter side at most `short_side` pixels."""
        cache = Path(cache)
        cache.mkdir(parents=True, exist_ok=True)
        names = []
        for root in roots:
            for sequence in find_sequences(root):
                if sequence.name in exclude:
                    continue
                key = f"{Path(root).resolve().name}-{sequence.name}-{short_side}"
                names.append(key)
                if (cache / f"{key}.masks.npy").exists():
                    continue
                frames, masks = read_sequence(sequence, short_side)
                np.save(cache / f"{key}.frames.npy", frames)
                np.save(cache / f"{key}.masks.npy", masks)  # written last: its presence says that both are whole
        if not names:
            raise InputError(f"No sequence to train on under {', '.join(map(str, roots))}.")
        log.info("footage: %d sequences in %s", len(names), cache)
        return cls(cache, names)

    def __len__(self) -> int:
        return len(self.names)

    def pick(self, rng: np.random.Generator) -> VideoSequence:
        """A random sequence, in proportion to a frame's pixels and the square root of the number of frames.

        Small and short ones come less often.
        """
        if self._weights is None:
            shapes = [self[index].masks.shape for index in range(len(self))]
            sizes = np.array([np.sqrt(frames) * height * width for frames, height, width in shapes])
            self._weights = sizes / sizes.sum()
        return self[int(rng.choice(len(self), p=self._weights))]

    def __getitem__(self, index: int) -> VideoSequence:
        name = self.names[index]
        if name not in self._open:
            frames, masks = (np.load(self.cache / f"{name}.{kind}.npy", mmap_mode="r") for kind in ("frames", "masks"))
            self._open[name] = VideoSequence(name, frames, masks)
        return self._open[name]

    def __reduce__(self):
        return Footage, (self.cache, self.names)


class Pictures:
    """Pictures of various shapes, uint8 [..., 4], in one mapped file; pickles as its path and shapes only.

    shapes: without the last axis.
    """

    NAME = "pictures"

    def __init__(self, cache: Path, shapes: Sequence[Sequence[int]]):
        self.cache, self.shapes = Path(cache), [tuple(shape) for shape in shapes]
        self._offsets = np.concatenate([[0], np.cumsum([4 * np.prod(shape) for shape in self.shapes])]).astype(np.int64)
        self._data: np.ndarray | None = None

    @classmethod
    def _store(cls, roots: Sequence[Path], cache: Path, side: int, pictures: Iterable[np.ndarray]) -> Self:
        """Write `pictures` into the cache, unless it holds those of the same roots and size already."""
        cache = Path(cache)
        cache.mkdir(parents=True, exist_ok=True)
        index, source = cache / f"{cls.NAME}.json", [side, *(str(Path(root).resolve()) for root in roots)]
        known = json.loads(index.read_text()) if index.exists() else {}
        if known.get("source") != source:
            shapes = []
            with open(cache / f"{cls.NAME}.u8", "wb") as file:
                for picture in pictures:
                    file.write(picture.tobytes())
                    shapes.append(picture.shape[:-1])
            known = {"source": source, "shapes": shapes}
            index.write_text(json.dumps(known))  # written last: its presence says that the pictures are whole
        log.info("%s: %d in %s", cls.NAME, len(known["shapes"]), cache)
        return cls(cache, known["shapes"])

    def __len__(self) -> int:
        return len(self.shapes)

    def picture(self, index: int) -> np.ndarray:
        """uint8 [..., 4]."""
        if self._data is None:
            self._data = np.memmap(self.cache / f"{self.NAME}.u8", dtype=np.uint8, mode="r")
        return self._data[self._offsets[index] : self._offsets[index + 1]].reshape(*self.shapes[index], 4)

    def __reduce__(self):
        return type(self), (self.cache, self.shapes)


class Cutouts(Pictures):
    """Objects with alpha, RGBA, tightly cropped: uint8 [n, h, w, 4], one picture or the loop of an animation."""

    NAME = "strips"

    @classmethod
    def build(cls, roots: Sequence[Path], cache: Path, longer_side: int = 288) -> Self:
        """Decode every image with alpha under `roots`, shrunk to `longer_side` pixels, animated ones to MOVING_SIDE.

        Animations whose outline hardly changes are left out. No root means no cut-outs.
        """
        paths = (path for root in roots for path in sorted(Path(root).rglob("*")) if path.suffix in IMAGE_SUFFIXES)
        strips = (strip for path in paths if (strip := _read_cutout(path, longer_side)) is not None)
        return cls._store(roots, cache, longer_side, strips)

    def __getitem__(self, index: int) -> np.ndarray:
        return self.picture(index)


class Stills(Pictures):
    """Single images with index masks, each a sequence of one frame; kept as RGB and the mask as a fourth channel."""

    NAME = "stills"

    @classmethod
    def build(cls, roots: Sequence[Path], cache: Path, short_side: int = 384) -> Self:
        """Decode every image with a mask under `roots`, shorter side at most `short_side`; no root means no stills."""
        pictures = (
            np.concatenate([frame, mask[..., None]], axis=2)
            for root in roots
            for sequence in find_sequences(root)
            for frame, mask in read_frames(sequence, short_side)
            if mask.any()
        )
        return cls._store(roots, cache, short_side, pictures)

    def pick(self, rng: np.random.Generator) -> VideoSequence:
        """A random still."""
        return self[int(rng.integers(len(self)))]

    def __getitem__(self, index: int) -> VideoSequence:
        picture = self.picture(index)
        return VideoSequence(f"still-{index}", picture[None, ..., :3], picture[None, ..., 3])


def _read_cutout(path: Path, longer_side: int) -> np.ndarray | None:
    """RGBA uint8 [n, h, w, 4] cropped to its object, or None where the image has no usable alpha, or hardly moves."""
    try:
        with open_still(path, f"The cut-out {path.name!r}", "copy it again") as image:
            if image.mode not in ("RGBA", "LA", "PA", "P"):
                return None
            count = getattr(image, "n_frames", 1)
            kept = set(np.linspace(0, count, MOVING_FRAMES, endpoint=False).astype(int)) if count > 1 else {0}
            frames = [frame.convert("RGBA") for i, frame in enumerate(ImageSequence.Iterator(image)) if i in kept]
    except (InputError, OSError):
        return None
    strip = np.stack([np.asarray(frame) for frame in frames])
    solid = strip[..., 3] > 127
    rows, columns = (np.flatnonzero(solid.any(axis)) for axis in ((0, 2), (0, 1)))
    if solid[0].sum() < 200 or solid.mean() > 0.98:
        return None
    if len(strip) > 1:
        longer_side = MOVING_SIDE
        if (solid.any(0) & ~solid.all(0)).sum() < MOVING_CHANGE * solid.any(0).sum():
            return None
    strip = strip[:, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    scale = min(1.0, longer_side / max(strip.shape[1:3]))
    size = (max(4, round(strip.shape[2] * scale)), max(4, round(strip.shape[1] * scale)))
    return np.stack([cv2.resize(frame, size, interpolation=cv2.INTER_AREA) for frame in strip])
