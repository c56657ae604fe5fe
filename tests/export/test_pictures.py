"""ZIPs of PNGs: written as the frames come, read by another library."""

import io
import zipfile
from pathlib import Path

import cv2
import imageio.v3 as iio
import numpy as np
from PIL import Image

from tests.export.discs import finish
from xmem.render.palette import DAVIS_PALETTE
from xmem.session.project import SessionObject

NAMES = [f"{frame:05d}.png" for frame in range(40, 48)]


def _read(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        assert {entry.compress_type for entry in archive.infolist()} == {zipfile.ZIP_STORED}
        return {name: archive.read(name) for name in archive.namelist()}


def test_index_masks_are_palette_pngs_of_ids(source, tmp_path):
    files = _read(finish("index_png", source, tmp_path))
    assert list(files) == NAMES
    for frame in (40, 47):
        with Image.open(io.BytesIO(files[f"{frame:05d}.png"])) as image:
            assert image.mode == "P"
            assert (np.array(image.getpalette()).reshape(-1, 3)[:22] == DAVIS_PALETTE[:22]).all()
            assert (np.array(image) == source.mask(frame)).all()
        colours = cv2.imdecode(np.frombuffer(files[f"{frame:05d}.png"], np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
        assert (colours == DAVIS_PALETTE[source.mask(frame)]).all()


def test_a_folder_per_object_with_black_and_white_masks(source, tmp_path):
    """Names of objects become names of folders that every system can unpack."""
    source.objects = (SessionObject(1, "../bunny", 0), SessionObject(3, 'ball: "red"', 4))
    files = _read(finish("binary_png", source, tmp_path))
    folders = ["1-.._bunny", "3-ball_ _red_"]
    assert sorted(files) == [f"{folder}/{name}" for folder in folders for name in NAMES]
    for folder, object_id in zip(folders, (1, 3), strict=True):
        with Image.open(io.BytesIO(files[f"{folder}/00042.png"])) as image:
            assert image.mode == "L"
            assert (np.array(image) == 255 * (source.mask(42) == object_id)).all()


def test_cut_outs_keep_the_frames_pixels_and_the_soft_matte(source, tmp_path):
    files = _read(finish("rgba_png", source, tmp_path))
    assert list(files) == NAMES
    picture = iio.imread(files["00047.png"])
    matte = np.maximum(*source.mattes(47).values())
    assert picture.shape == (360, 640, 4)
    assert (picture[..., 3] == matte).all()
    assert (picture[..., :3][matte > 0] == source.image(47)[matte > 0]).all()


def test_hidden_objects_are_left_out(source, tmp_path):
    source.objects = (SessionObject(1, "bunny", 0), SessionObject(3, "ball", 4, visible=False))
    picture = iio.imread(_read(finish("rgba_png", source, tmp_path))["00040.png"])
    assert (picture[..., 3] == source.mattes(40)[1]).all()
    assert {name.split("/")[0] for name in _read(finish("binary_png", source, tmp_path))} == {"1-bunny"}
