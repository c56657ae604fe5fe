"""The overlay colours objects and nothing else."""

import numpy as np
import pytest

from xmem.render.overlay import tint
from xmem.render.palette import color_of


def _scene() -> tuple[np.ndarray, np.ndarray]:
    frame = np.random.default_rng(0).integers(0, 255, (120, 160, 3), np.uint8)
    index = np.zeros((120, 160), np.uint8)
    index[20:80, 20:70], index[40:110, 90:150] = 1, 3
    return frame, index


def test_inside_is_mixed_with_the_objects_colour():
    frame, index = _scene()
    before = frame.copy()
    shown = tint(frame, index, 0.5)
    assert np.array_equal(frame, before), "the frame given is not touched"
    for object_id, (y, x) in ((1, (50, 45)), (3, (75, 120))):
        expected = (frame[y, x].astype(float) + color_of(object_id)) / 2
        assert np.abs(shown[y, x] - expected).max() <= 1


def test_colours_can_be_chosen_per_object():
    frame, index = _scene()
    shown = tint(frame, index, 1.0, {3: (1, 2, 3)})
    assert tuple(shown[75, 120]) == (1, 2, 3) and tuple(shown[50, 45]) == color_of(1)
    same = {i: color_of(i) for i in (1, 3)}
    assert np.array_equal(tint(frame, index, 0.4, same), tint(frame, index, 0.4))


def test_background_away_from_the_line_is_untouched():
    frame, index = _scene()
    shown = tint(frame, index)
    assert np.array_equal(shown[:, :15], frame[:, :15])
    assert np.array_equal(shown[:, 75:85], frame[:, 75:85])


def test_opacity_zero_leaves_only_the_line():
    frame, index = _scene()
    changed = (tint(frame, index, 0.0) != frame).any(axis=2)
    assert 0 < changed.mean() < 0.08
    assert changed[20, 30:60].all() and not changed[30:70, 30:60].any()


def test_no_object_changes_nothing():
    frame, index = _scene()
    assert np.array_equal(tint(frame, np.zeros_like(index)), frame)


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (48, 64)])
def test_a_mask_of_the_whole_frame_works_at_any_size(size):
    frame = np.zeros((*size, 3), np.uint8)
    assert tint(frame, np.ones(size, np.uint8), 1.0).shape == frame.shape


def test_the_line_grows_with_the_frame():
    def line_width(scale: int) -> int:
        index = np.zeros((270 * scale, 480 * scale), np.uint8)
        index[60 * scale : 200 * scale, 100 * scale : 300 * scale] = 1
        shown = tint(np.zeros((*index.shape, 3), np.uint8), index, 0.0)
        return int(shown[130 * scale, : 200 * scale].any(axis=1).sum())

    assert line_width(1) < line_width(8)


def test_wrong_sizes_and_opacities_are_errors():
    frame, index = _scene()
    with pytest.raises(ValueError):
        tint(frame, index[:50])
    with pytest.raises(ValueError):
        tint(frame, index, 1.5)
