"""A rough sketch follows the object's edges; polygons become masks."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from xmem.errors import InputError
from xmem.render.post import grow as post_grow
from xmem.render.refine import grow, is_scribbled, polygon_mask, refine_mask
from xmem.video.images import load_image

DAVIS = Path(__file__).parents[3] / "shared/data/davis2016-train"


def _scene() -> tuple[np.ndarray, np.ndarray]:
    """A textured leaf-like shape on a textured ground: image uint8 [180, 240, 3], truth bool [180, 240]."""
    noise = np.random.default_rng(3).normal(0, 14, (180, 240, 3))
    truth = cv2.ellipse(np.zeros((180, 240), np.uint8), ((120, 90), (120, 70), 30), 1, -1) > 0
    image = np.where(truth[..., None], (190, 120, 60), (60, 110, 90)) + noise
    return cv2.GaussianBlur(np.clip(image, 0, 255).astype(np.uint8), (0, 0), 0.8), truth


def _iou(first: np.ndarray, second: np.ndarray) -> float:
    return float((first & second).sum() / (first | second).sum())


def _moved(mask: np.ndarray, x: int, y: int) -> np.ndarray:
    return np.roll(mask, (y, x), (0, 1))


@pytest.mark.parametrize("kind", ["dilated", "eroded", "offset"])
def test_a_filled_sketch_gets_the_objects_edge(kind):
    image, truth = _scene()
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (11, 11))
    mask = truth.astype(np.uint8)
    sketch = {"dilated": cv2.dilate(mask, kernel), "eroded": cv2.erode(mask, kernel), "offset": _moved(mask, 4, -4)}[
        kind
    ]
    assert _iou(sketch > 0, truth) < 0.9
    assert _iou(refine_mask(image, sketch * 3, 3) == 3, truth) > 0.95


def test_scribbles_become_the_object_around_them():
    image, truth = _scene()
    index = np.zeros(truth.shape, np.uint8)
    cv2.line(index, (90, 75), (150, 108), 2, 5)
    assert is_scribbled(image, cv2.inRange(index, 2, 2))
    refined = refine_mask(image, index, 2)
    assert _iou(refined == 2, truth) > 0.9
    assert (refined[index == 2] == 2).all(), "scribbles stay"


def test_filled_shapes_are_no_scribbles():
    image, truth = _scene()
    assert not is_scribbled(image, truth.astype(np.uint8) * 255)


def test_other_objects_keep_their_paint_and_get_none():
    image, truth = _scene()
    index = np.zeros(truth.shape, np.uint8)
    index[:, :120][truth[:, :120]] = 1  # the object's left half, painted as another object
    index[:, 124:][cv2.dilate(truth.astype(np.uint8), np.ones((9, 9)))[:, 124:] > 0] = 2
    refined = refine_mask(image, index, 2)
    assert np.array_equal(refined == 1, index == 1)
    assert (refined == 2).any() and not np.array_equal(refined == 2, index == 2)


def test_the_core_of_a_sketch_stays_and_the_input_too():
    image, truth = _scene()
    index = cv2.circle(np.zeros(truth.shape, np.uint8), (200, 40), 22, 1, -1)  # on the ground, where no object is
    index[truth] = 1
    before = index.copy()
    refined = refine_mask(image, index, 1)
    assert (refined[36:45, 196:205] == 1).all()
    assert np.array_equal(index, before)


def test_the_same_sketch_always_gives_the_same_mask():
    image, truth = _scene()
    index = _moved(truth.astype(np.uint8), 3, 3)
    assert np.array_equal(refine_mask(image, index, 1), refine_mask(image, index, 1))


def test_what_cannot_be_refined_is_an_input_error():
    image, truth = _scene()
    dot = np.zeros(truth.shape, np.uint8)
    dot[50:53, 50:53] = 1
    everything = np.ones(truth.shape, np.uint8)
    flat = np.full_like(image, 90)
    for picture, index in ((image, dot), (image, everything), (flat, truth.astype(np.uint8)), (image, dot * 2)):
        with pytest.raises(InputError):
            refine_mask(picture, index, 1)
    with pytest.raises(ValueError):
        refine_mask(image[:50], truth.astype(np.uint8), 1)


@pytest.mark.skipif(not DAVIS.exists(), reason="needs ../shared/data")
def test_rough_sketches_of_real_objects_get_clearly_better():
    gains = []
    for clip in ("bear", "rhino", "flamingo", "car-turn", "lucia"):
        image = load_image(DAVIS / "frames" / clip / "00000.jpg")
        truth = np.array(Image.open(DAVIS / "masks" / clip / "00000.png").convert("L")) > 0
        radius = max(2, round(0.05 * np.sqrt(truth.sum())))
        kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
        sketch = cv2.dilate(truth.astype(np.uint8), kernel)
        gains.append(_iou(refine_mask(image, sketch, 1) > 0, truth) - _iou(sketch > 0, truth))
    assert np.mean(gains) > 0.07 and min(gains) > -0.01


def test_a_polygon_is_filled_and_cut_off_at_the_frame():
    mask = polygon_mask([[10, 10], [30, 10], [30, 25], [10, 25]], 60, 40)
    assert mask.dtype == np.uint8 and mask.shape == (40, 60)
    assert mask[11:24, 11:29].all() and not mask[:9].any() and not mask[27:].any() and not mask[:, 32:].any()
    assert abs(int(mask.sum()) - 300) <= 36  # its area, give or take a pixel around
    assert polygon_mask([[-1e9, -5], [1e9, -5], [1e9, 500.5], [-1e9, 500.5]], 60, 40).all()
    assert not polygon_mask([[100, 5], [120, 5], [110, 20]], 60, 40).any()


@pytest.mark.parametrize(
    "points", [[], [[1, 1], [5, 5]], [[1, 2, 3]] * 3, [1, 2, 3], [["a", 1]] * 3, [[np.nan, 1]] * 3]
)
def test_no_polygon_is_an_input_error(points):
    with pytest.raises(InputError):
        polygon_mask(points, 60, 40)


def test_growing_one_object_is_at_hand_here_too():
    assert grow is post_grow
