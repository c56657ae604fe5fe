"""The sketch is read exactly: one colour per object, soft edges, outlines, masks of every kind."""

import cv2
import numpy as np
import pytest
from PIL import Image

from demo.visit import canvas
from xmem import InputError

WIDTH, HEIGHT = 160, 90


def layer_of(index: np.ndarray) -> np.ndarray:
    """RGBA [H, W, 4] as an editor makes it."""
    layer = np.zeros((*index.shape, 4), np.uint8)
    layer[index > 0, :3] = canvas.COLOURS[index[index > 0].astype(int) - 1]
    layer[index > 0, 3] = 255
    return layer


def sketch(*layers: np.ndarray) -> dict:
    return {"background": np.zeros((HEIGHT, WIDTH, 4), np.uint8), "layers": list(layers), "composite": None}


def disc(center: tuple[int, int], radius: int, index: int = 1, thickness: int = -1) -> np.ndarray:
    return cv2.circle(np.zeros((HEIGHT, WIDTH), np.uint8), center, radius, index, thickness)


@pytest.mark.parametrize("index", range(1, canvas.MAX_OBJECTS + 1))
def test_every_brush_colour_comes_back_as_its_own_object(index):
    painted = disc((60, 40), 20, index)
    np.testing.assert_array_equal(canvas.of_painting(sketch(layer_of(painted)), WIDTH, HEIGHT), painted)


def test_an_untouched_canvas_is_an_empty_mask():
    assert not canvas.of_painting(sketch(), WIDTH, HEIGHT).any()
    assert not canvas.of_painting(None, WIDTH, HEIGHT).any()


def test_blended_edges_between_two_colours_make_no_third_object():
    """Every mixture of two colours, at every alpha from half on, belongs to one of the two."""
    for first in range(1, 9):
        for second in range(first + 1, 9):
            painted = np.zeros((HEIGHT, WIDTH), np.uint8)
            painted[20:70, 20:80], painted[20:70, 80:140] = first, second
            layer = layer_of(painted).astype(np.float32)
            layer[20:70, 78:82, :3] = cv2.GaussianBlur(layer, (0, 0), 1.2)[20:70, 78:82, :3]
            read = canvas.of_painting(sketch(layer.round().astype(np.uint8)), WIDTH, HEIGHT)
            assert set(np.unique(read)) == {0, first, second}
            assert (read != painted).mean() < 0.01


def test_half_transparent_paint_counts_from_half_on():
    layer = layer_of(disc((60, 40), 20))
    faint, strong = layer.copy(), layer.copy()
    faint[..., 3] = layer[..., 3] // 255 * 127
    strong[..., 3] = layer[..., 3] // 255 * 128
    assert not canvas.of_painting(sketch(faint), WIDTH, HEIGHT).any()
    assert canvas.of_painting(sketch(strong), WIDTH, HEIGHT).any()


def test_a_painting_of_another_size_is_refused_in_words():
    with pytest.raises(InputError, match="160x90 pixels but the video 320x180"):
        canvas.of_painting(sketch(layer_of(disc((60, 40), 20))), 320, 180)


def test_a_closed_stroke_becomes_its_inside_and_an_open_one_stays():
    ring = disc((60, 40), 20, 2, thickness=3)
    filled = canvas.fill_outlines(ring)
    assert filled[40, 60] == 2 and filled.sum() > ring.sum() * 2
    arc = cv2.ellipse(np.zeros_like(ring), (60, 40), (20, 20), 0, 0, 300, 2, 3)
    np.testing.assert_array_equal(canvas.fill_outlines(arc), arc)


def test_an_outline_inside_another_keeps_its_own_inside():
    nested = disc((80, 45), 40, 1, thickness=3)
    nested[disc((80, 45), 15, 1, thickness=3) > 0] = 2
    filled = canvas.fill_outlines(nested)
    assert filled[45, 80] == 2 and filled[45, 80 + 28] == 1


def test_paint_inside_an_outline_stays_what_it_is():
    painted = disc((80, 45), 40, 1, thickness=3)
    painted[disc((80, 45), 6) > 0] = 4
    filled = canvas.fill_outlines(painted)
    assert filled[45, 80] == 4 and filled[45, 80 + 20] == 1


def test_an_opaque_layer_is_read_as_a_mask_image_as_api_clients_send_it(tmp_path):
    mask = disc((60, 40), 20) * 255
    rgba = np.dstack([mask, mask, mask, np.full_like(mask, 255)])
    np.testing.assert_array_equal(canvas.of_painting(sketch(rgba), WIDTH, HEIGHT), mask // 255)


def test_mask_files_land_on_the_canvas_and_come_back_the_same(tmp_path):
    index = disc((60, 40), 20, 3) + disc((120, 60), 10, 5)
    path = tmp_path / "mask.png"
    image = Image.fromarray(index, "P")
    image.putpalette([value for i in range(256) for value in (i, 255 - i, 40)])
    image.save(path)
    read, note = canvas.of_mask(str(path), WIDTH, HEIGHT)
    np.testing.assert_array_equal(read, index)
    assert note == ""
    np.testing.assert_array_equal(canvas.of_painting(sketch(layer_of(read)), WIDTH, HEIGHT), index)


def test_ids_beyond_the_brush_colours_are_counted_anew():
    index = disc((60, 40), 20, 40) + disc((120, 60), 10, 90)
    read, _ = canvas.of_mask(index, WIDTH, HEIGHT)
    assert read[40, 60] == 1 and read[60, 120] == 2


def test_more_objects_than_colours_are_refused_in_words():
    index = np.zeros((HEIGHT, WIDTH), np.uint8)
    for i in range(1, 12):
        index[10:20, 10 * i : 10 * i + 8] = i
    with pytest.raises(InputError, match="11 objects"):
        canvas.of_mask(index, WIDTH, HEIGHT)
