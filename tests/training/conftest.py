"""A small world to train in: two sequences of moving coloured objects, and a few cut-outs, as files."""

import cv2
import numpy as np
import pytest

COLOURS = {1: (200, 30, 30), 2: (30, 200, 30)}  # RGB of the objects, far from the grey background
SIZE = (96, 128)  # height, width


def draw(frame: int, start: int) -> tuple[np.ndarray, np.ndarray]:
    """A textured grey frame with a red square and a green disc, and its index mask."""
    rng = np.random.default_rng(start)
    image = np.repeat(rng.integers(90, 130, (*SIZE, 1), dtype=np.uint8), 3, axis=2)
    mask = np.zeros(SIZE, np.uint8)
    mask[20 + frame : 50 + frame, start + 2 * frame : start + 2 * frame + 30] = 1
    cv2.circle(mask, (90 - frame, 60), 14, 2, -1)
    for value, colour in COLOURS.items():
        image[mask == value] = colour
    return image, mask


@pytest.fixture(scope="session")
def world(tmp_path_factory):
    """A folder with `data` in the DAVIS layout (sequences one, two, held; 8 frames each), `stills`, `cutouts`."""
    root = tmp_path_factory.mktemp("world")
    for name, start in (("one", 8), ("two", 20), ("held", 14)):
        for kind in ("frames", "masks"):
            (root / "data" / kind / name).mkdir(parents=True)
        for frame in range(8):
            image, mask = draw(frame, start)
            cv2.imwrite(str(root / "data" / "frames" / name / f"{frame:05d}.png"), image[..., ::-1])
            cv2.imwrite(str(root / "data" / "masks" / name / f"{frame:05d}.png"), mask)
    (root / "cutouts").mkdir()
    for index, colour in enumerate([(250, 220, 10), (20, 40, 250)]):
        picture = np.zeros((60, 60, 4), np.uint8)
        cv2.circle(picture, (30, 30), 24, (*colour, 255), -1)
        cv2.imwrite(str(root / "cutouts" / f"{index}.png"), picture)
    for kind in ("frames", "masks"):
        (root / "stills" / kind / "all").mkdir(parents=True)
    for index in range(3):
        image, mask = draw(index, 16)
        width = 128 - 16 * index  # stills differ in size
        cv2.imwrite(str(root / "stills" / "frames" / "all" / f"{index}.png"), image[:, :width, ::-1])
        cv2.imwrite(str(root / "stills" / "masks" / "all" / f"{index}.png"), mask[:, :width])
    return root
