"""Painted pictures to index masks: which flat colours are objects, and whose the soft pixels between them are."""

from dataclasses import dataclass

import cv2
import numpy as np

from xmem.errors import InputError
from xmem.render.palette import DAVIS_PALETTE, OBJECT_COLORS, color_of

_NOISE = 24  # channel levels: JPEG noise around a flat colour
_SAME = 40  # channel levels: colours closer than this are one
_CORE = 8  # channel levels: most of a flat colour lies this close to it; of a gradient, little does
_FLAT_SHARE = 0.8  # of the picture must be flat for it to be a painted mask
_SOLID_SHARE = 0.5  # of the pixels of an opaque mask lie inside its flat areas
_MIN_SHARE = 1 / 5000  # of the picture: a smaller solid area is no object, unless the picture is clean
_CLEAN_COLOURS = 256  # a picture with no more colours has no JPEG noise; thin strokes count in it
_MIN_THIN = 4  # pixels of a stroke too thin to have an inside
_MAX_COLOURS = 65
_BLACK = 24  # channel levels up to which a colour counts as black
_PURE = ((255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (255, 0, 255), (0, 255, 255))

_CELLS = np.stack(np.meshgrid(*[np.arange(32) * 8 + 4] * 3, indexing="ij"), axis=-1).reshape(-1, 3)  # centres


@dataclass(frozen=True)
class Regions:
    """index: uint8 [H, W]; note: what a reader of the mask should be told."""

    index: np.ndarray
    note: str = ""


def grey_regions(grey: np.ndarray) -> Regions:
    """Brightness, uint8 [H, W]: black is background, each other flat level an object; soft masks are cut at half."""
    image = np.repeat(grey[..., None], 3, axis=2)
    flat = _flat_colours(image, np.ones(grey.shape, bool))
    levels = sorted(int(colour.max()) for colour in flat.colours if colour.max() > _BLACK)
    if len(levels) < 2 or flat.share < _FLAT_SHARE:
        top = levels[-1] if levels else int(grey.max())
        return Regions((grey > top / 2).astype(np.uint8))
    centres = np.array([[0] * 3] + [[level] * 3 for level in levels])
    return Regions(_assign(image, centres, flat.solid))


def regions_of(image: np.ndarray, painted: np.ndarray | None) -> Regions:
    """Flat colours of uint8 [H, W, 3]. painted: bool [H, W], where an alpha channel says that there is something.

    Raises InputError for a picture that is no mask.
    """
    everywhere = np.ones(image.shape[:2], bool)
    if painted is not None and not painted.any():
        return Regions(np.zeros(image.shape[:2], np.uint8))
    flat = _flat_colours(image, everywhere if painted is None else painted)
    is_flat = flat.share >= _FLAT_SHARE and 0 < len(flat.colours) < _MAX_COLOURS
    if painted is not None:
        if not is_flat or len(flat.colours) == 1 or not _is_paint(image, painted):
            return Regions(painted.astype(np.uint8))
        labels = _assign(image, flat.colours, flat.solid & painted)
        return Regions(_with_ids(np.where(painted, labels + 1, 0), flat.colours))
    if not is_flat or flat.solid.mean() < _SOLID_SHARE:
        raise InputError("The mask looks like a picture: it needs flat colours, one per object, on a black background.")
    background = _background(image, flat.colours)
    colours = np.concatenate([flat.colours[background : background + 1], np.delete(flat.colours, background, axis=0)])
    return Regions(_with_ids(_assign(image, colours, flat.solid), colours[1:]))


def _is_paint(image: np.ndarray, painted: np.ndarray) -> bool:
    """Whether few exact colours make up what is there; even the smooth parts of a cut-out photo have many."""
    inside = cv2.erode(painted.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    codes = _codes(image[inside if inside.any() else painted])
    counts = np.sort(np.unique(codes, return_counts=True)[1])
    return bool(counts[-_MAX_COLOURS:].sum() >= _FLAT_SHARE * len(codes))


@dataclass(frozen=True)
class _Flat:
    colours: np.ndarray  # int [K, 3]
    solid: np.ndarray  # bool [H, W]: pixels whose neighbourhood has one colour
    share: float  # of the solid pixels, those close to one of the colours


def _flat_colours(image: np.ndarray, valid: np.ndarray) -> _Flat:
    """The flat colours of a picture, most frequent first."""
    kernel = np.ones((3, 3), np.uint8)
    spread = cv2.morphologyEx(image, cv2.MORPH_GRADIENT, kernel).max(axis=2)
    inside = cv2.erode(valid.astype(np.uint8), kernel) > 0
    solid = (spread <= _NOISE) & inside  # [H, W]
    if not solid.any():
        solid = valid
    counts = np.bincount(_cells(image)[solid], minlength=len(_CELLS))
    used = np.flatnonzero(counts)
    bins, counts = _CELLS[used], counts[used]
    least = max(1, int(counts.sum() * _MIN_SHARE))
    colours: list[np.ndarray] = []
    covered = 0
    remaining = counts.copy()
    while len(colours) < _MAX_COLOURS and remaining.sum() > 0:
        centre = bins[remaining.argmax()]
        distance = np.abs(bins - centre).max(axis=1)
        near = int(remaining[distance <= _NOISE].sum())
        core = int(remaining[distance <= _CORE].sum())
        remaining[distance <= _SAME] = 0
        if near >= least and core >= 0.7 * near:
            colours.append(centre)
            covered += int(counts[distance <= _NOISE].sum())
    # What lies below transparent paint shows in its edges; it is black or white.
    below = [] if valid.all() else [np.zeros(3, int), np.full(3, 255)]
    colours += _thin_colours(image[valid & ~solid], colours, below)
    return _Flat(np.array(colours, int).reshape(-1, 3), solid, covered / int(counts.sum()))


def _cells(image: np.ndarray) -> np.ndarray:
    """int32 [H, W]: which of the 32^3 cells of colour space (rows of _CELLS) each pixel of uint8 [H, W, 3] is in."""
    parts = (image >> 3).astype(np.int32)
    return parts[..., 0] << 10 | parts[..., 1] << 5 | parts[..., 2]


def _thin_colours(pixels: np.ndarray, colours: list[np.ndarray], below: list[np.ndarray]) -> list[np.ndarray]:
    """Colours of strokes without an inside, in a clean picture: those that are no mixture of two others."""
    codes, counts = np.unique(_codes(pixels), return_counts=True)
    if len(codes) > _CLEAN_COLOURS:
        return []
    unique = np.stack([codes >> 16, codes >> 8 & 255, codes & 255], axis=1)  # [U, 3]
    found: list[np.ndarray] = []
    for colour in unique[np.argsort(-counts)][: (counts >= _MIN_THIN).sum()]:
        known = colours + found
        if not any(np.abs(colour - other).max() <= _SAME for other in known) and not _is_mixture(colour, known + below):
            found.append(colour)
    return found


def _codes(pixels: np.ndarray) -> np.ndarray:
    """int32 [N] of uint8 [N, 3]: red, green, blue as one number."""
    parts = pixels.astype(np.int32)
    return parts[:, 0] << 16 | parts[:, 1] << 8 | parts[:, 2]


def _is_mixture(colour: np.ndarray, known: list[np.ndarray]) -> bool:
    for number, first in enumerate(known):
        for second in known[number + 1 :]:
            line = second - first
            if not line.any():
                continue
            part = np.clip((colour - first) @ line / (line @ line), 0, 1)
            if np.abs(first + part * line - colour).max() <= _NOISE:
                return True
    return False


def _background(image: np.ndarray, colours: np.ndarray) -> int:
    """Which colour is background: black, or without black the one along most of the border."""
    darkest = int(colours.max(axis=1).argmin())
    if colours[darkest].max() <= _BLACK:
        return darkest
    border = np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]]).astype(int)  # [N, 3]
    nearest = np.abs(border[:, None] - colours[None]).sum(axis=2).argmin(axis=1)
    return int(np.bincount(nearest, minlength=len(colours)).argmax())


def _assign(image: np.ndarray, colours: np.ndarray, solid: np.ndarray) -> np.ndarray:
    """uint8 [H, W]: the colour (row of [K, 3]) that each pixel belongs to.

    By nearest colour; but a patch of soft pixels that falls on a third colour between two others goes to its neighbour.
    """
    distances = ((_CELLS[:, None] - colours[None]) ** 2).sum(axis=2)  # [32768, K]
    cells = _cells(image)
    labels = distances.argmin(axis=1).astype(np.uint8)[cells]
    if len(colours) <= 2:
        return labels
    exact = (distances.min(axis=1) <= 3 * _CORE**2)[cells]
    doubtful = np.zeros(labels.shape, np.uint8)
    for number in range(len(colours)):
        mine = labels == number
        seeds = mine & exact & solid
        if not seeds.any():  # a thin stroke
            continue
        count, patches = cv2.connectedComponents(mine.astype(np.uint8), connectivity=8)
        seeded = np.zeros(count, bool)
        seeded[patches[seeds]] = True
        doubtful |= mine & ~seeded[patches]
    if not doubtful.any():
        return labels
    _, nearest = cv2.distanceTransformWithLabels(doubtful, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    sure = doubtful == 0
    label_of = np.zeros(nearest.max() + 1, np.uint8)
    label_of[nearest[sure]] = labels[sure]
    return np.where(sure, labels, label_of[nearest])


def _with_ids(labels: np.ndarray, colours: np.ndarray) -> np.ndarray:
    """uint8 [H, W] with ids for labels 1 .. K of these colours [K, 3]."""
    ids = _listed_ids(colours)
    if ids is None:
        flat = labels.ravel()
        first = {int(number): int((flat == number).argmax()) for number in np.unique(flat) if number}
        ids = [0] * len(colours)
        for place, number in enumerate(sorted(first, key=first.__getitem__), start=1):
            ids[number - 1] = place
    return np.array([0, *ids], np.uint8)[labels]


def _listed_ids(colours: np.ndarray) -> list[int] | None:
    """Places of all colours in the first list that has them all."""
    brush = [color_of(number) for number in range(1, len(OBJECT_COLORS) + 1)]
    for known in (brush, DAVIS_PALETTE[1:22], _PURE):
        distance = np.abs(colours[:, None] - np.asarray(known, int)[None]).max(axis=2)  # [K, len(known)]
        places = distance.argmin(axis=1)
        if (distance.min(axis=1) <= _NOISE).all() and len(set(places.tolist())) == len(colours):
            return [int(place) + 1 for place in places]
    return None
