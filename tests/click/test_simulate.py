"""Where people are taken to click: in the middle of what is wrong."""

import numpy as np

from xmem.click.simulate import next_click, rough_box, spoilt


def block(top: int, left: int, height: int, width: int, size: tuple[int, int] = (60, 80)) -> np.ndarray:
    mask = np.zeros(size, bool)
    mask[top : top + height, left : left + width] = True
    return mask


def test_the_first_click_is_in_the_middle_of_the_object():
    x, y, kind = next_click(block(10, 20, 21, 21), np.zeros((60, 80), bool))
    assert abs(x - 30) <= 1 and abs(y - 20) <= 1 and kind == 1


def test_the_next_click_is_on_the_larger_error_and_says_which_kind_it_is():
    truth = block(10, 10, 20, 20)
    wrong = truth | block(10, 45, 30, 30)
    x, _, kind = next_click(truth, wrong)
    assert 45 <= x < 75 and kind == 0
    missed = truth & ~block(10, 10, 20, 15)
    assert next_click(truth, missed)[2] == 1


def test_no_click_is_needed_where_nothing_is_wrong():
    truth = block(10, 10, 20, 20)
    assert next_click(truth, truth) is None


def test_an_object_at_the_border_is_not_clicked_on_its_edge():
    x, y, _ = next_click(block(0, 0, 30, 30), np.zeros((60, 80), bool))
    assert x > 8 and y > 8


def test_a_random_click_is_inside_and_follows_its_seed():
    truth = block(10, 20, 30, 30)
    clicks = [next_click(truth, np.zeros_like(truth), np.random.default_rng(seed)) for seed in range(20)]
    assert all(truth[int(y), int(x)] for x, y, _ in clicks) and len(set(clicks)) > 5
    assert clicks[3] == next_click(truth, np.zeros_like(truth), np.random.default_rng(3))


def test_a_rough_box_is_near_the_object_and_a_spoilt_mask_is_still_of_it():
    truth = block(10, 20, 30, 30)
    for seed in range(10):
        rng = np.random.default_rng(seed)
        assert np.abs(np.array(rough_box(truth, rng)) - (20, 10, 50, 40)).max() <= 4
        mask = spoilt(truth, block(45, 60, 10, 10), rng)
        assert mask.dtype == bool and (mask & truth).sum() > 0.3 * truth.sum()
