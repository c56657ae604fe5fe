"""Every look shows what its name says, on any size, without hard edges, and fast."""

from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from xmem.errors import InputError
from xmem.render.overlay import tint
from xmem.render.palette import color_of
from xmem.render.styles import STYLES, Style, StyleRenderer
from xmem.render.tracked import TrackedFrame
from xmem.video import Frame

HEIGHT, WIDTH = 240, 320
INSIDE, OUTSIDE, SECOND = np.s_[90:150, 70:130], np.s_[10:40, 220:310], np.s_[165:195, 245:275]


def _tracked(image: np.ndarray, index: np.ndarray) -> TrackedFrame:
    frame = Frame(image, 0, Fraction(0), Fraction(1, 25), "00000")
    return TrackedFrame(frame, index, lambda i: cv2.inRange(index, i, i), {})


def _scene() -> TrackedFrame:
    """Two discs, objects 1 and 4, on noise."""
    image = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    index = np.zeros((HEIGHT, WIDTH), np.uint8)
    cv2.circle(index, (100, 120), 60, 1, -1)
    cv2.circle(index, (260, 180), 30, 4, -1)
    return _tracked(image, index)


@pytest.fixture
def picture(tmp_path: Path) -> str:
    """A wide image: red, with a green left quarter that is cut off when it covers the frame."""
    image = np.full((60, 320, 3), (200, 30, 30), np.uint8)
    image[:, :80] = (30, 200, 30)
    Image.fromarray(image).save(tmp_path / "background.png")
    return str(tmp_path / "background.png")


def _style(kind: str, picture: str, **values) -> Style:
    return Style(kind, image=picture if kind == "cutout_image" else None, **values)


def _render(tracked: TrackedFrame, style: Style, progress: float = 0.0, colors=None) -> np.ndarray:
    height, width = tracked.mask.shape
    return StyleRenderer(style, width, height, colors or {}).render(tracked, progress)


@pytest.mark.parametrize("kind", STYLES)
def test_every_style_gives_a_new_frame_and_leaves_the_input(kind, picture):
    tracked = _scene()
    image, index = tracked.frame.image.copy(), tracked.mask.copy()
    shown = _render(tracked, _style(kind, picture), 0.5)
    assert shown.shape == image.shape and shown.dtype == np.uint8 and shown.flags.c_contiguous
    assert not np.array_equal(shown, image)
    assert np.array_equal(tracked.frame.image, image) and np.array_equal(tracked.mask, index)
    assert not np.shares_memory(shown, tracked.frame.image)


@pytest.mark.parametrize("kind", STYLES)
@pytest.mark.parametrize("size", [(1, 1), (3, 2), (37, 53), (53, 37)])
def test_every_style_works_at_any_size_with_and_without_objects(kind, size, picture):
    image = np.full((*size, 3), 90, np.uint8)
    corner = np.zeros(size, np.uint8)
    corner[0, 0] = 7
    for index in (corner, np.zeros(size, np.uint8), np.full(size, 2, np.uint8)):
        for strength in (0, 1):
            assert _render(_tracked(image, index), _style(kind, picture, strength=strength), 0.3).shape == image.shape


@pytest.mark.parametrize(
    "kind", [kind for kind in STYLES if "background" in kind or "spotlight" in kind or "cut" in kind]
)
def test_objects_stay_as_they_are_where_the_background_changes(kind, picture):
    tracked = _scene()
    shown = _render(tracked, _style(kind, picture))
    assert np.array_equal(shown[INSIDE], tracked.frame.image[INSIDE])
    assert np.array_equal(shown[SECOND], tracked.frame.image[SECOND])
    assert (shown[OUTSIDE] != tracked.frame.image[OUTSIDE]).mean() > 0.9


@pytest.mark.parametrize("kind", ["tint", "tint_contour", "contour", "blur_object", "pixelate_object"])
def test_the_background_stays_as_it_is_where_objects_change(kind, picture):
    tracked = _scene()
    shown = _render(tracked, _style(kind, picture))
    assert np.array_equal(shown[OUTSIDE], tracked.frame.image[OUTSIDE])
    if kind != "contour":
        assert (shown[INSIDE] != tracked.frame.image[INSIDE]).mean() > 0.9


def test_tint_and_contour_is_the_overlay():
    tracked = _scene()
    assert np.array_equal(_render(tracked, Style(opacity=0.3)), tint(tracked.frame.image, tracked.mask, 0.3))


@pytest.mark.parametrize("kind", ["tint", "tint_contour", "contour", "wipe"])
def test_objects_have_the_colours_that_were_chosen(kind):
    """Chosen where there is one, the palette's otherwise."""
    tracked = _tracked(np.zeros((HEIGHT, WIDTH, 3), np.uint8), _scene().mask)
    shown = _render(tracked, Style(kind, opacity=1.0), 0.5, {1: (0, 255, 0)})
    line = shown[120, 30:50].astype(int)  # across the left edge of object 1
    assert (line[:, 1] >= line[:, 0]).all() and line[:, 1].max() > 100
    if kind != "contour":
        assert tuple(shown[120, 100]) == (0, 255, 0) and tuple(shown[180, 260]) == color_of(4)


@pytest.mark.parametrize(
    "kind",
    ["tint", "spotlight_grey", "spotlight_dim", "cutout_colour", "cutout_image", "blur_object", "pixelate_object"],
)
def test_edges_are_soft(kind, picture):
    """Along a slanted edge between black and white there are many values in between, and they lie at the edge."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    index = (x + 0.3 * y > 180).astype(np.uint8)
    image = np.repeat((index * 255)[..., None], 3, axis=2)
    image[index == 0] = (250, 200, 250)
    style = _style(kind, picture, strength=1.0, opacity=1.0)
    shown = _render(_tracked(image, index), style, colors={1: (0, 0, 0)}).astype(int)[..., 1]
    row = shown[HEIGHT // 2, 100:200]
    ends = row[0], row[-1]
    between = np.flatnonzero((row > min(ends) + 8) & (row < max(ends) - 8))
    assert 1 <= len(between) <= 6 and np.ptp(between) <= 6
    assert len(np.unique(shown[60:180, 100:200])) > 6


def test_spotlights_have_grey_and_dim_backgrounds():
    tracked = _scene()
    grey = _render(tracked, Style("spotlight_grey", strength=0.5))[OUTSIDE]
    assert (np.ptp(grey, axis=2) == 0).all() and 0 < grey.mean() < tracked.frame.image[OUTSIDE].mean()
    dim = [_render(tracked, Style("spotlight_dim", strength=s))[OUTSIDE].mean() for s in (0.2, 0.5, 1.0)]
    assert dim[0] > dim[1] > dim[2] == 0


@pytest.mark.parametrize("kind", ["blur_object", "pixelate_object"])
def test_hidden_objects_are_hidden_up_to_and_past_their_edge(kind):
    """A bright rim along the object's edge must not stay visible."""
    index = cv2.circle(np.zeros((HEIGHT, WIDTH), np.uint8), (160, 120), 70, 1, -1)
    image = np.full((HEIGHT, WIDTH, 3), 20, np.uint8)
    cv2.circle(image, (160, 120), 69, (255, 255, 255), 2)
    shown = _render(_tracked(image, index), Style(kind, strength=0.5))
    assert shown[100:140, 80:240].max() < 150


@pytest.mark.parametrize("kind", ["blur_background", "pixelate_background"])
def test_no_colour_of_an_object_bleeds_into_its_background(kind):
    index = cv2.circle(np.zeros((HEIGHT, WIDTH), np.uint8), (160, 120), 70, 1, -1)
    image = np.full((HEIGHT, WIDTH, 3), (40, 90, 40), np.uint8)
    image[cv2.dilate(index, np.ones((3, 3), np.uint8)) > 0] = (255, 0, 0)  # its colour also on the pixels next to it
    shown = _render(_tracked(image, index), Style(kind, strength=0.7))
    away = cv2.dilate(index, np.ones((7, 7), np.uint8)) == 0
    assert np.abs(shown[away].astype(int) - (40, 90, 40)).max() <= 2


def test_blur_and_mosaic_grow_with_strength_and_with_the_frame():
    def roughness(kind: str, strength: float, scale: int = 1) -> float:
        image = np.random.default_rng(0).integers(0, 256, (HEIGHT * scale, WIDTH * scale, 3), np.uint8)
        tracked = _tracked(image, np.zeros(image.shape[:2], np.uint8))
        return float(_render(tracked, Style(kind, strength=strength)).std())

    for kind in ("blur_background", "pixelate_background"):
        weak, middle, strong = (roughness(kind, strength) for strength in (0, 0.5, 1))
        assert weak > 1.3 * middle > 1.69 * strong
        assert roughness(kind, 0.5, 2) < 0.7 * middle


def test_mosaic_cells_have_one_colour_and_keep_their_places():
    """The cells of a moving object do not move with it."""
    image = np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)
    edges = []
    for x in (300, 303):
        index = cv2.circle(np.zeros((480, 640), np.uint8), (x, 240), 150, 1, -1)
        shown = _render(_tracked(image, index), Style("pixelate_object"))[200:280, 250:350].astype(int)
        edges.append(np.flatnonzero(np.abs(np.diff(shown, axis=1)).max(axis=(0, 2)) > 0) + 250)
    assert np.array_equal(*edges) and len(set(np.diff(edges[0]))) == 1 and np.diff(edges[0])[0] >= 8


def test_cut_outs_lie_on_the_colour_and_on_the_covering_centred_image(picture):
    tracked = _scene()
    assert (_render(tracked, Style("cutout_colour", background="#0A64ff"))[OUTSIDE] == (10, 100, 255)).all()
    shown = _render(tracked, Style("cutout_image", image=picture))
    assert (shown[OUTSIDE] == (200, 30, 30)).all() and (shown[5:30, :20] == (200, 30, 30)).all()


def test_the_wipe_goes_forth_and_back_over_the_original():
    tracked = _tracked(np.full((HEIGHT, WIDTH, 3), 100, np.uint8), np.ones((HEIGHT, WIDTH), np.uint8))
    shares = []
    for progress in (0, 0.125, 0.25, 0.5, 0.75, 0.875, 1):
        shown = _render(tracked, Style("wipe", opacity=1.0), progress)
        row = (shown[HEIGHT // 2] == color_of(1)).all(axis=1)
        shares.append(row.mean())
        assert row[: row.sum()].sum() >= row.sum() - 3, "the overlay is on the left"
        assert (shown[HEIGHT // 2] == 255).all(axis=1).sum() <= 3, "a thin line"
    assert shares[0] == shares[-1] == 0 and shares[3] > 0.95
    assert 0 < shares[1] < shares[2] < shares[3] and shares[1:3] == pytest.approx(shares[5:3:-1], abs=0.01)
    assert np.array_equal(_render(tracked, Style("wipe"), 0.0), tracked.frame.image)


@pytest.mark.parametrize(
    "values",
    [
        {"kind": "sepia"},
        {"opacity": 1.1},
        {"opacity": float("nan")},
        {"strength": -0.1},
        {"strength": "0.5"},
        {"strength": True},
        {"background": "green"},
        {"background": "#12345"},
        {"background": None},
        {"image": 5},
    ],
)
def test_style_values_that_make_no_sense_are_input_errors(values):
    with pytest.raises(InputError):
        Style(**values)


def test_a_background_image_must_be_there_and_readable(tmp_path):
    text = tmp_path / "notes.png"
    text.write_text("no image")
    for image in (None, str(tmp_path / "missing.png"), str(text), str(tmp_path)):
        with pytest.raises(InputError):
            StyleRenderer(Style("cutout_image", image=image), WIDTH, HEIGHT, {})


def test_a_frame_of_another_size_is_an_error():
    with pytest.raises(ValueError):
        StyleRenderer(Style(), WIDTH + 2, HEIGHT, {}).render(_scene(), 0.0)
