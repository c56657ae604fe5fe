"""Post-processing changes the object it is meant for, and nothing else."""

import numpy as np
import pytest

from xmem.errors import InputError
from xmem.render.post import PostProcessing, grow, object_ids, post_process


def _disc(height: int, width: int, centre: tuple[int, int], radius: float) -> np.ndarray:
    """bool [H, W]; centre is (y, x)."""
    y, x = np.ogrid[:height, :width]
    return (y - centre[0]) ** 2 + (x - centre[1]) ** 2 <= radius**2


def _two_objects() -> np.ndarray:
    index = np.zeros((120, 200), np.uint8)
    index[_disc(120, 200, (60, 50), 30)] = 2
    index[_disc(120, 200, (60, 130), 30)] = 7
    return index


def test_nothing_to_do_gives_the_input_itself():
    index = _two_objects()
    assert post_process(index, PostProcessing()) is index
    empty = np.zeros((20, 30), np.uint8)
    assert post_process(empty, PostProcessing(grow=5, fill_holes=True, drop_specks=True)) is empty


def test_the_input_keeps_its_values():
    index = _two_objects()
    before = index.copy()
    post_process(index, PostProcessing(grow=3, fill_holes=True, drop_specks=True))
    post_process(index, PostProcessing(grow=-3))
    assert np.array_equal(index, before)


def test_growing_adds_the_pixels_within_reach():
    index = np.zeros((100, 100), np.uint8)
    index[_disc(100, 100, (50, 50), 20)] = 4
    grown = post_process(index, PostProcessing(grow=6))
    assert object_ids(grown) == [4]
    assert (grown[_disc(100, 100, (50, 50), 25)] == 4).all()
    assert not grown[~_disc(100, 100, (50, 50), 27)].any()


def test_growing_never_takes_pixels_of_another_object_and_meets_it_halfway():
    index = _two_objects()  # 20 pixels between the two discs, from x = 81 to 99
    grown = post_process(index, PostProcessing(grow=40))
    assert (grown[index > 0] == index[index > 0]).all()
    assert (grown[60, 80:89] == 2).all() and (grown[60, 92:100] == 7).all()


def test_shrinking_is_from_the_objects_edge_and_not_from_the_frames():
    index = np.zeros((80, 100), np.uint8)
    index[30:80, 20:60] = 1  # stands on the lower edge of the frame
    shrunk = post_process(index, PostProcessing(grow=-5))
    expected = np.zeros_like(index)
    expected[35:80, 25:55] = 1
    assert np.array_equal(shrunk, expected)


def test_a_mask_of_the_whole_frame_neither_grows_nor_shrinks():
    for size in ((20, 30), (1, 1)):
        index = np.ones(size, np.uint8)
        for pixels in (5, -5):
            assert np.array_equal(post_process(index, PostProcessing(grow=pixels)), index)


def test_holes_become_the_object_and_objects_within_stay():
    index = np.zeros((120, 120), np.uint8)
    ring = _disc(120, 120, (60, 60), 50) & ~_disc(120, 120, (60, 60), 30)
    index[ring] = 3
    island = _disc(120, 120, (60, 60), 10)
    index[island] = 5
    filled = post_process(index, PostProcessing(fill_holes=True))
    assert (filled[island] == 5).all()
    assert (filled[_disc(120, 120, (60, 60), 50) & ~island] == 3).all()
    assert not filled[~_disc(120, 120, (60, 60), 50)].any()


def test_a_bay_open_to_the_frames_edge_is_no_hole():
    index = np.zeros((60, 60), np.uint8)
    index[20:60, 10:50] = 1
    index[40:60, 25:35] = 0
    assert np.array_equal(post_process(index, PostProcessing(fill_holes=True)), index)


def test_specks_go_and_real_parts_stay():
    index = np.zeros((200, 200), np.uint8)
    index[_disc(200, 200, (100, 60), 40)] = 1
    index[_disc(200, 200, (100, 150), 20)] = 1  # a quarter of the largest piece
    speck = _disc(200, 200, (20, 180), 3)
    expected = index.copy()
    index[speck] = 1
    small = _disc(200, 200, (180, 180), 3)  # as small, but an object of its own
    index[small] = expected[small] = 2
    assert np.array_equal(post_process(index, PostProcessing(drop_specks=True)), expected)


def test_specks_are_dropped_before_holes_are_filled_and_objects_grown():
    index = np.zeros((120, 120), np.uint8)
    index[_disc(120, 120, (60, 60), 50) & ~_disc(120, 120, (60, 60), 30)] = 3
    index[_disc(120, 120, (60, 60), 3)] = 8
    index[80:120, 80:120][~_disc(120, 120, (60, 60), 50)[80:120, 80:120]] = 8  # the piece of object 8 that stays
    result = post_process(index, PostProcessing(grow=2, fill_holes=True, drop_specks=True))
    assert result[60, 60] == 3
    assert object_ids(result) == [3, 8]


def test_one_object_is_grown_alone():
    index = _two_objects()
    grown, shrunk = grow(index, 2, 4), grow(index, 2, -4)
    for result in (grown, shrunk):
        assert np.array_equal(result == 7, index == 7)
    assert (grown == 2).sum() > (index == 2).sum() > (shrunk == 2).sum() > 0
    assert np.array_equal(grow(index, 9, 4), index), "an object that is not there has nothing to grow"


@pytest.mark.parametrize(
    "values", [{"grow": 1.5}, {"grow": 201}, {"grow": "3"}, {"grow": True}, {"fill_holes": 1}, {"drop_specks": None}]
)
def test_nonsense_is_an_input_error(values):
    with pytest.raises(InputError):
        PostProcessing(**values)
