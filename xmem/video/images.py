"""A folder of images as a video: natural order, upright, one size."""

from fractions import Fraction
from pathlib import Path

import numpy as np
from natsort import natsorted, ns

from xmem.errors import InputError
from xmem.limits import check_frames
from xmem.video.colour import on_white
from xmem.video.stills import read_still, still_size

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
IMAGE_RATE = Fraction(24)  # frames per second given to a folder, which has no timing of its own


def list_images(folder: Path, most: int | None = None) -> list[Path]:
    """The images of a folder in natural order (frame2 before frame10); of many, the first `most`.

    Raises InputError when there are none, or when two share a name, since masks are named after them.
    """
    images = [
        path
        for path in folder.iterdir()
        if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".") and path.is_file()
    ]
    if not images:
        raise InputError(f"The folder {folder.name!r} holds no images; it needs {', '.join(IMAGE_SUFFIXES)} files.")
    check_frames(len(images) if most is None else min(len(images), most), folder.name)
    images = natsorted(images, key=lambda path: path.name, alg=ns.IGNORECASE)[:most]
    seen: dict[str, str] = {}
    for path in images:
        if path.stem in seen:
            raise InputError(f"The images {seen[path.stem]!r} and {path.name!r} share a name; rename or remove one.")
        seen[path.stem] = path.name
    return images


def check_sizes(images: list[Path]) -> tuple[int, int]:
    """Width and height (pixels, upright) that all images share, by their headers. Raises InputError naming a misfit."""
    first = still_size(images[0], *_words(images[0]), upright=True)
    for path in images[1:]:
        size = still_size(path, *_words(path), upright=True)
        if size != first:
            raise InputError(
                f"The image {path.name!r} is {size[0]}x{size[1]} but {images[0].name!r} is {first[0]}x{first[1]}; "
                "all images of a folder must have one size."
            )
    return first


def load_image(path: Path) -> np.ndarray:
    """uint8 [H, W, 3] RGB, turned upright by its EXIF orientation, transparent parts on white. Raises InputError."""
    image = read_still(path, *_words(path), upright=True)
    if image.mode.startswith("I"):  # 16 bits: Pillow would clip, not scale
        return np.repeat((np.asarray(image).astype(np.uint32) >> 8).astype(np.uint8)[..., None], 3, axis=2)
    alpha = "A" in image.mode or "transparency" in image.info
    return on_white(np.array(image.convert("RGBA" if alpha else "RGB")))


def _words(path: Path) -> tuple[str, str]:
    return f"The image {path.name!r}", "remove it or save it again"
