"""Scoring a checkpoint on sequences with known masks, by the protocol of DAVIS's semi-supervised track."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import dropwhile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from xmem.checkpoints import load_model
from xmem.device import peak_memory, start_memory_count
from xmem.engine.masks import index_mask
from xmem.engine.propagator import Propagator
from xmem.errors import InputError
from xmem.networks import Network
from xmem.scoring.metrics import boundary_accuracy, region_similarity
from xmem.video import Frame, FrameReader
from xmem.video.stills import read_still

log = logging.getLogger("xmem")

LAYOUTS = (("frames", "masks"), ("JPEGImages", "Annotations"))  # folders of images, folders of masks
PREFERRED_RESOLUTION = "480p"
VOID = 255  # in an index mask: no object


@dataclass(frozen=True)
class LabelledSequence:
    """Where the images of a sequence lie and, by the images' stems, its masks."""

    name: str
    images: Path
    masks: Mapping[str, Path]


@dataclass(frozen=True)
class ObjectScore:
    """Mean J and F, 0 to 1, of one object over the scored frames of its sequence."""

    id: int
    j: float
    f: float


class ObjectMeans:
    """Means over `objects`, each 0 to 1, as DAVIS counts."""

    objects: tuple[ObjectScore, ...]

    @property
    def j(self) -> float:
        """Mean region similarity."""
        return float(np.mean([score.j for score in self.objects]))

    @property
    def f(self) -> float:
        """Mean boundary accuracy."""
        return float(np.mean([score.f for score in self.objects]))

    @property
    def jf(self) -> float:
        """J&F, the mean of both."""
        return (self.j + self.f) / 2


@dataclass(frozen=True)
class SequenceScore(ObjectMeans):
    """A sequence's objects; frames run and frames scored; seconds that the engine took for all of them."""

    name: str
    objects: tuple[ObjectScore, ...]
    frames: int
    scored_frames: int
    seconds: float

    @property
    def fps(self) -> float:
        """Frames per second of the engine: reading images and scoring left out."""
        return self.frames / self.seconds


@dataclass(frozen=True)
class Evaluation(ObjectMeans):
    """A whole data set. peak_memory_bytes: see `peak_memory`."""

    sequences: tuple[SequenceScore, ...]
    peak_memory_bytes: int | None
    objects: tuple[ObjectScore, ...] = field(init=False)

    def __post_init__(self) -> None:
        objects = tuple(score for sequence in self.sequences for score in sequence.objects)
        object.__setattr__(self, "objects", objects)  # as frozen dataclasses set their fields

    @property
    def fps(self) -> float:
        return sum(s.frames for s in self.sequences) / sum(s.seconds for s in self.sequences)


def evaluate(
    root: str | Path,
    model: Network | str = "xmem-lite",
    config: Any = None,
    size: int | None = 480,
    sequences: Sequence[str] | None = None,
    device: str = "auto",
    precision: str = "auto",
) -> Evaluation:
    """Score `model` on the sequences of `root` (all, or those named), each from its first mask.

    root, sequences: see `find_sequences`. config: settings of its family, None = the defaults. size: shorter side
    for inference in pixels, None = the images' own. device, precision: used where `model` is a name or path.
    Raises InputError for a folder that cannot be scored.
    """
    chosen = find_sequences(root, sequences)
    network = load_model(model, device, precision) if isinstance(model, (str, Path)) else model
    start_memory_count(network.device)
    scores = tuple(score_sequence(sequence, network, config, size) for sequence in chosen)
    return Evaluation(scores, peak_memory(network.device))


def find_sequences(root: str | Path, names: Sequence[str] | None = None) -> list[LabelledSequence]:
    """The sequences under `root`, by name: `frames/<sequence>/` with `masks/<sequence>/`, or DAVIS's
    `JPEGImages/480p/<sequence>/` with `Annotations/480p/<sequence>/` (or another resolution, or none).

    A `frames` folder that holds images itself is one sequence, named after `root`. names: those to take.
    Raises InputError where there is no such layout, or no sequence of a given name.
    """
    root = Path(root)
    if not root.is_dir():
        raise InputError(f"{root} is not a folder: give one that holds 'frames' and 'masks'.")
    images, masks = _roots(root)
    folders = sorted(folder for folder in images.iterdir() if folder.is_dir() and (masks / folder.name).is_dir())
    pairs = [(folder.name, folder, masks / folder.name) for folder in folders]
    if not pairs and any(masks.glob("*.png")):
        pairs = [(root.resolve().name, images, masks)]
    if not pairs:
        raise InputError(f"No sequence of {images} has masks of the same name in {masks}.")
    known = [name for name, _, _ in pairs]
    if missing := [name for name in names or () if name not in known]:
        raise InputError(f"There is no sequence '{missing[0]}' in {images}: choose among {', '.join(known)}.")
    return [
        LabelledSequence(name, folder, {path.stem: path for path in sorted(labels.glob("*.png"))})
        for name, folder, labels in pairs
        if names is None or name in names
    ]


def _roots(root: Path) -> tuple[Path, Path]:
    """The folder of image folders and the folder of mask folders."""
    for images, masks in ((root / a, root / b) for a, b in LAYOUTS):
        if not (images.is_dir() and masks.is_dir()):
            continue
        shared = [folder.name for folder in sorted(images.iterdir()) if (masks / folder.name).is_dir()]
        resolutions = [name for name in shared if any(path.is_dir() for path in (images / name).iterdir())]
        if not resolutions:
            return images, masks
        chosen = PREFERRED_RESOLUTION if PREFERRED_RESOLUTION in resolutions else resolutions[0]
        if len(resolutions) > 1:
            log.info("Of the resolutions %s, %s is scored.", ", ".join(resolutions), chosen)
        return images / chosen, masks / chosen
    raise InputError(f"{root} holds neither 'frames' and 'masks' nor DAVIS's 'JPEGImages' and 'Annotations'.")


class LabelledFrame(NamedTuple):
    """A frame and its true index mask uint8 [H, W], where it has one."""

    frame: Frame
    truth: np.ndarray | None

    @property
    def image(self) -> np.ndarray:
        return self.frame.image


def labelled_frames(sequence: LabelledSequence, reader: FrameReader) -> Iterator[LabelledFrame]:
    """The frames of a sequence from its first mask that has an object on."""

    def labelled(frame: Frame) -> LabelledFrame:
        path = sequence.masks.get(frame.name)
        return LabelledFrame(frame, read_truth(path, frame.image.shape[:2]) if path else None)

    return dropwhile(lambda item: item.truth is None or not item.truth.any(), map(labelled, reader))


def score_sequence(
    sequence: LabelledSequence,
    model: Network,
    config: Any = None,
    size: int | None = 480,
    on_frame: Callable[[], object] = lambda: None,
) -> SequenceScore:
    """Run one sequence from its first mask with objects; on_frame is called after each frame.

    The objects of that mask are scored on every later frame that has a mask, the sequence's last frame left out.
    Raises InputError where nothing can be scored.
    """
    engine, seconds, frames, began = Propagator(model, config, size=size), 0.0, 0, 0.0
    scores: list[list[tuple[float, float]]] = []  # [scored frame][object] -> J, F

    def first_mask(item: LabelledFrame) -> dict[str, Any]:
        nonlocal began
        began = time.perf_counter()  # the frame was read before
        return {} if frames else {"mask": item.truth}

    with FrameReader(sequence.images) as reader:
        count = reader.info.frame_count
        for (frame, truth), prob in engine.run(labelled_frames(sequence, reader), first_mask):
            index = index_mask(prob, engine.objects)  # waits for the device
            seconds += time.perf_counter() - began
            frames += 1
            if truth is not None and frames > 1 and frame.index + 1 != count:
                scores.append([_score(index == i, truth == i) for i in engine.objects])
            on_frame()
    if not scores:
        raise InputError(
            f"The sequence '{sequence.name}' has nothing to score: it needs a mask with an object and, "
            "between that frame and the last one, frames with masks named like their images."
        )
    means = np.mean(scores, axis=0)  # [object, 2]
    parts = tuple(ObjectScore(i, float(j), float(f)) for i, (j, f) in zip(engine.objects, means, strict=True))
    return SequenceScore(sequence.name, parts, frames, len(scores), seconds)


def _ids(mask: np.ndarray | None) -> list[int]:
    return [] if mask is None else [int(i) for i in np.unique(mask) if i]


def _score(pred: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    return region_similarity(pred, truth), boundary_accuracy(pred, truth)


def read_truth(path: Path, shape: tuple[int, int]) -> np.ndarray:
    """A known mask as uint8 [H, W] of object ids.

    A palette image holds ids (255: none). Any other image whose brightest value is 255 is one object, white on black
    as in DAVIS 2016; with smaller values it holds ids. Raises InputError where it cannot be read or has another shape.
    """
    name = f"The mask '{path.parent.name}/{path.name}'"
    image = read_still(path, name, "give PNGs")
    is_palette = image.mode == "P"
    values = np.array(image if is_palette else image.convert("RGB").convert("L"))
    if values.shape != shape:
        raise InputError(
            f"{name} is {values.shape[1]}x{values.shape[0]} and its image {shape[1]}x{shape[0]}: "
            "masks must have their image's size."
        )
    is_white_on_black = values.max() == VOID and (not is_palette or set(np.unique(values)) <= {0, VOID})
    if is_white_on_black:
        return (values > VOID // 2).astype(np.uint8)
    return np.where(values == VOID, 0, values).astype(np.uint8)
