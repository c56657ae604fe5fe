"""Mask files made to do harm, and real ones with damage: refused by their header, or in a sentence."""

import io
import random
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.hostile import MEGABYTE, memory_rise, mutated, png
from xmem.errors import InputError
from xmem.limits import Limits
from xmem.render.masks import read_index_mask, read_mask, write_index_mask

WIDTH, HEIGHT = 48, 32


@pytest.mark.filterwarnings("ignore:Image size")  # Pillow's own bound, which is higher, only warns
@pytest.mark.parametrize("video", [(320, 180), (300, 300)])
def test_a_mask_of_13000_pixels_a_side_is_refused_by_its_header(tmp_path, video):
    """Half a megabyte as a file, 6.5 GB on its way to an index mask."""
    path = png(tmp_path / "huge.png", 13_000, 13_000)

    def work() -> None:
        with pytest.raises(InputError, match=r"13000x13000|far too large"):
            read_mask(path, *video)

    assert memory_rise(work) < 20 * MEGABYTE


def test_the_shape_is_compared_before_pixels_are_read(tmp_path):
    path = png(tmp_path / "mask.png", 5000, 5000)  # whose pixels are not there
    with pytest.raises(InputError, match="5000x5000 but the video 320x180"):
        read_mask(path, 320, 180)


def test_an_opened_image_is_bounded_as_well(monkeypatch):
    with pytest.raises(InputError, match="another shape"):
        read_mask(Image.new("L", (5000, 10)), 320, 180)


def test_a_mask_may_be_larger_than_the_video_up_to_the_limit(tmp_path, monkeypatch):
    allowed = Limits(frame_pixels=4 * WIDTH * HEIGHT)
    monkeypatch.setattr("xmem.limits.limits", lambda: allowed)
    for factor, fits in ((1, True), (2, True), (3, False)):
        path = tmp_path / f"{factor}.png"
        write_index_mask(path, np.ones((factor * HEIGHT, factor * WIDTH), np.uint8))
        if fits:
            assert read_mask(path, WIDTH, HEIGHT).index.all()
        else:
            with pytest.raises(InputError, match="megapixels"):
                read_mask(path, WIDTH, HEIGHT)


def kinds() -> dict[str, bytes]:
    """A mask in every mode and format that people use."""
    ids = np.zeros((HEIGHT, WIDTH), np.uint8)
    ids[4:20, 4:20], ids[10:30, 24:40] = 1, 2
    grey = Image.fromarray(ids * 100)
    colours = Image.fromarray(np.array([[0, 0, 0], [255, 0, 0], [0, 0, 255]], np.uint8)[ids])
    palette = Image.fromarray(ids)
    palette.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0])
    clear = colours.copy()
    clear.putalpha(Image.fromarray((ids > 0).astype(np.uint8) * 255))
    deep = Image.fromarray(ids.astype(np.uint16) * 20_000)
    see_through = palette.copy()
    see_through.info["transparency"] = b"\x00\x80\xff"
    images = {
        "grey.png": grey,
        "colours.png": colours,
        "palette.png": palette,
        "transparency.png": see_through,
        "clear.png": clear,
        "deep.png": deep,
        "bits.png": grey.point(lambda v: 255 * (v > 0)).convert("1"),
        "colours.jpg": colours,
        "clear.webp": clear,
        "colours.bmp": colours,
        "palette.bmp": palette,
    }
    return {name: _saved(image, name) for name, image in images.items()}


def _saved(image: Image.Image, name: str) -> bytes:
    file, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = 6
    format = {"jpg": "JPEG", "png": "PNG", "webp": "WEBP", "bmp": "BMP"}[name.split(".")[1]]
    options = {"lossless": True} if format == "WEBP" else {}
    if format != "BMP":
        options["exif"] = exif
    image.save(file, format, **options)
    return file.getvalue()


def fate_of(path: Path) -> str:
    """Whether a mask can be read; nothing but InputError may come instead."""
    try:
        read_mask(path, WIDTH, HEIGHT)
    except InputError as error:
        assert str(path.parent) not in str(error)
        return "refused"
    return "read"


@pytest.mark.parametrize("name", kinds())
def test_whole_masks_of_every_kind_are_read(tmp_path, name):
    (tmp_path / name).write_bytes(kinds()[name])
    assert fate_of(tmp_path / name) == "read"


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_damaged_masks_are_read_or_refused(tmp_path):
    """A seeded sample of mutations of each kind."""
    rng, outcomes = random.Random(14), {"read": 0, "refused": 0}
    for _ in range(12):
        for name, whole in kinds().items():
            (tmp_path / name).write_bytes(mutated(whole, rng))
            outcomes[fate_of(tmp_path / name)] += 1
    assert min(outcomes.values()) > 10, outcomes


def test_stored_index_masks_that_were_exchanged_are_noticed(tmp_path):
    path = tmp_path / "00000.png"
    for image in (Image.new("RGB", (4, 4)), Image.new("I;16", (4, 4))):
        image.save(path)
        with pytest.raises(InputError, match="no index mask"):
            read_index_mask(path)
    path.write_bytes(b"\x89PNG")
    with pytest.raises(InputError, match="readable"):
        read_index_mask(path)
