"""Mask files: writing index masks, and reading whatever people call a mask."""

from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image

from xmem.errors import InputError
from xmem.render.plain_png import encoded, read_plain_png
from xmem.render.regions import Regions, grey_regions, regions_of
from xmem.video.stills import read_still

MAX_OBJECTS = 64  # more "objects" than this is a photograph or a label map of something else
_SMALL_IDS = 32  # a grey image whose brightest value is no larger holds ids, not brightness
_VOID = 255  # "do not care" in index masks that have other ids
_ASPECT_TOLERANCE = 0.01


@dataclass(frozen=True)
class GivenMask:
    """index: uint8 [H, W], 0 = background. objects: its ids, ascending. note: what was changed on reading, or ""."""

    index: np.ndarray
    objects: tuple[int, ...]
    note: str


def read_mask(source: str | Path | np.ndarray | Image.Image, width: int, height: int) -> GivenMask:
    """Read a mask for a video of width x height pixels.

    source: an image file, a PIL image, or an array: [H, W] index mask (integers, or booleans; {0, 255} is one object),
    [H, W, 3] RGB or [H, W, 4] RGBA, uint8.

    - Palette images and small grey values (to 32) are ids and keep them; 255 beside other ids is "void" and ignored.
    - Grey: one object where brighter than half of its flat level; several flat levels are objects, darker first.
    - RGB: flat colours are objects. Background is black, or without black the colour along most of the border. Soft
      edges and JPEG noise make no objects. Colours that all come from one list have their places in it as ids: the
      brush's, else the DAVIS palette, else red, green, blue, yellow, magenta, cyan. Other ids count in reading order.
    - RGBA with transparency: transparent is background; flat colours as above, all else (a cut-out) is one object.

    A mask of another size but the same aspect (within 1 %) is resized, nearest, and the note says so.
    Raises InputError for an unreadable, empty or misshapen mask, and for one of more than 64 objects.
    """
    image = source if isinstance(source, (np.ndarray, Image.Image)) else _open(Path(source), width, height)
    if isinstance(image, Image.Image):
        _check_aspect(*image.size, width, height)
    regions = _of_array(image) if isinstance(image, np.ndarray) else _of_image(image)
    notes = [regions.note] if regions.note else []
    index = regions.index
    if not index.any():
        raise InputError("The mask is empty: paint at least one object, or choose a mask that has one.")
    if index.shape != (height, width):
        notes.append(f"resized from {index.shape[1]}x{index.shape[0]} to {width}x{height}")
        index = _resize(index, width, height)
    objects = tuple(int(i) for i in np.flatnonzero(np.bincount(index.ravel(), minlength=256)) if i)
    if not objects:
        raise InputError("The mask's objects are too small to survive its resizing; give a mask of the video's size.")
    if len(objects) > MAX_OBJECTS:
        raise _too_many(len(objects))
    return GivenMask(index, objects, "; ".join(notes))


def write_index_mask(path: str | Path | IO[bytes], mask: np.ndarray) -> None:
    """Write uint8 [H, W] ids as a palette PNG with the DAVIS palette."""
    data = encoded(np.asarray(mask, np.uint8), 8)  # in half of Pillow's time
    if isinstance(path, (str, Path)):
        Path(path).write_bytes(data)
    else:
        path.write(data)


def read_index_mask(path: Path) -> np.ndarray:
    """uint8 [H, W] of a file that `write_index_mask` or `write_compact_mask` wrote.

    Raises InputError where it is damaged, or another one.
    """
    plain = read_plain_png(path)
    if plain is not None:
        return plain
    image = read_still(path, f"The mask {path.name!r}", "the work's own files must stay as they are")
    if image.mode not in ("P", "L"):
        raise InputError(f"The mask {path.name!r} is no index mask; the work's own files must stay as they are.")
    return np.array(image)


def _open(path: Path, width: int, height: int) -> Image.Image:
    if not path.is_file():
        raise InputError(f"There is no mask file {path.name!r}; check the path.")

    def check(own_width: int, own_height: int) -> None:
        _check_aspect(own_width, own_height, width, height)

    return read_still(path, f"The mask {path.name!r}", "give a PNG", check)


def _of_image(image: Image.Image) -> Regions:
    if image.mode == "P":
        palette = np.array(image.getpalette("RGB") or [], int).reshape(-1, 3)
        is_grey = len(palette) > 0 and (palette == palette[:, :1]).all()
        return _of_grey(np.array(image.convert("L"))) if is_grey else _of_ids(np.array(image))
    if image.mode == "1":
        return Regions(np.array(image).astype(np.uint8))
    if image.mode == "L":
        return _of_grey(np.array(image))
    if image.mode.startswith("I") or image.mode == "F":
        return _of_deep(np.array(image))
    alpha = image.mode in ("RGBA", "LA", "PA", "RGBa", "La")
    return _of_array(np.array(image.convert("RGBA" if alpha else "RGB")))


def _of_array(array: np.ndarray) -> Regions:
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    if array.ndim == 2:
        if array.dtype == bool:
            return Regions(array.astype(np.uint8))
        return _of_ids(array) if np.issubdtype(array.dtype, np.integer) else _of_deep(array)
    if array.ndim != 3 or array.shape[2] not in (3, 4) or array.dtype != np.uint8:
        raise InputError(f"A mask array is [H, W], or uint8 [H, W, 3] or [H, W, 4], not {array.dtype} {array.shape}.")
    if array.shape[2] == 4 and array[..., 3].min() < 255:
        return regions_of(np.ascontiguousarray(array[..., :3]), array[..., 3] > 127)
    rgb = np.ascontiguousarray(array[..., :3])
    if (rgb == rgb[..., :1]).all():
        return _of_grey(rgb[..., 0])
    return regions_of(rgb, None)


def _of_ids(ids: np.ndarray) -> Regions:
    """Ids as they stand, as far as they fit in a byte."""
    present = [int(i) for i in np.unique(ids) if i]
    if present == [_VOID]:
        return Regions((ids > 0).astype(np.uint8))
    if present and (present[-1] > 255 or present[0] < 0):
        return _relabelled(ids, present)
    index = ids.astype(np.uint8)
    if _VOID in present:
        return Regions(np.where(index == _VOID, 0, index).astype(np.uint8), "id 255 taken as void and left out")
    return Regions(index)


def _of_grey(grey: np.ndarray) -> Regions:
    """uint8 [H, W]: small ids, or brightness."""
    return Regions(grey) if grey.max() <= _SMALL_IDS else grey_regions(grey)


def _of_deep(values: np.ndarray) -> Regions:
    """More than 8 bits: ids that are few, or brightness up to 65535 (or 1.0)."""
    if np.issubdtype(values.dtype, np.floating):
        values = np.nan_to_num(values)
        scale = 255 if values.max() <= 1 else 1
        return _of_grey(np.clip(np.round(values * scale), 0, 255).astype(np.uint8))
    if values.max() <= 255:
        return _of_grey(np.clip(values, 0, 255).astype(np.uint8))
    present = [int(i) for i in np.unique(values) if i]
    if len(present) <= MAX_OBJECTS and present[-1] < 32768:
        return _relabelled(values, present)
    return _of_grey((np.clip(values, 0, 65535) >> 8).astype(np.uint8))


def _relabelled(ids: np.ndarray, present: list[int]) -> Regions:
    if len(present) > MAX_OBJECTS:
        raise _too_many(len(present))
    index = np.searchsorted(np.array([0, *present]), ids) if present[0] > 0 else np.searchsorted(present, ids) + 1
    index = np.where(ids == 0, 0, index)
    return Regions(index.astype(np.uint8), f"ids up to {present[-1]} renumbered from 1")


def _check_aspect(own_width: int, own_height: int, width: int, height: int) -> None:
    off = abs(own_width * height / (own_height * width) - 1)
    if off > _ASPECT_TOLERANCE and abs(own_width - own_height * width / height) >= 1:
        raise InputError(
            f"The mask is {own_width}x{own_height} but the video {width}x{height}, another shape; "
            "give a mask of the video's size."
        )


def _resize(mask: np.ndarray, width: int, height: int) -> np.ndarray:
    _check_aspect(mask.shape[1], mask.shape[0], width, height)
    return np.array(Image.fromarray(mask).resize((width, height), Image.Resampling.NEAREST))


def _too_many(count: int) -> InputError:
    return InputError(f"The mask holds {count} objects, more than {MAX_OBJECTS}; give a mask and not a picture.")
