"""J and F against values worked out by hand."""

import numpy as np
import pytest

from xmem.scoring.metrics import boundary, boundary_accuracy, region_similarity


def square(top: int, left: int, side: int, shape: tuple[int, int] = (60, 80)) -> np.ndarray:
    mask = np.zeros(shape, bool)
    mask[top : top + side, left : left + side] = True
    return mask


def test_region_similarity_is_intersection_over_union():
    # two 10x10 squares, 5 columns apart: 50 in both, 150 in either
    assert region_similarity(square(10, 10, 10), square(10, 15, 10)) == pytest.approx(1 / 3)


@pytest.mark.parametrize("metric", [region_similarity, boundary_accuracy])
def test_two_empty_masks_agree_and_one_empty_mask_scores_nothing(metric):
    empty = np.zeros((60, 80), bool)
    assert metric(empty, empty) == 1
    assert metric(square(10, 10, 10), empty) == metric(empty, square(10, 10, 10)) == 0


@pytest.mark.parametrize("metric", [region_similarity, boundary_accuracy])
def test_equal_masks_score_one_also_at_the_edge(metric):
    for mask in (square(10, 10, 10), square(0, 0, 30), square(40, 60, 20)):
        assert metric(mask, mask) == 1


def test_boundary_is_one_pixel_wide_and_lies_above_and_left_as_davis_draws_it():
    #  a 2x2 square at (2, 2): pixels whose right, lower or lower right neighbour differs
    expected = np.array(
        [
            [0, 0, 0, 0, 0, 0],
            [0, 1, 1, 1, 0, 0],
            [0, 1, 0, 1, 0, 0],
            [0, 1, 1, 1, 0, 0],
            [0, 0, 0, 0, 0, 0],
        ],
        bool,
    )
    assert np.array_equal(boundary(square(2, 2, 2, (5, 6))), expected)


def test_a_mask_has_no_boundary_along_the_image_edge():
    full = np.ones((5, 6), bool)
    assert not boundary(full).any()
    half = full.copy()
    half[:, 3:] = False
    assert np.array_equal(np.argwhere(boundary(half)), [[y, 2] for y in range(5)])


@pytest.mark.parametrize("shift, expected", [(1, 1.0), (2, 0.0)])
def test_a_boundary_within_the_tolerance_counts_in_full_and_beyond_it_not_at_all(shift, expected):
    # 60x80: diagonal 100, 0.8 % of it rounds up to 1 pixel; a vertical edge through the image, moved sideways
    left = np.zeros((60, 80), bool)
    left[:, :40] = True
    assert boundary_accuracy(np.roll(left, shift, axis=1) | left, left) == expected


def test_the_tolerance_grows_with_the_diagonal():
    # 600x800: diagonal 1000, tolerance 8 pixels
    left = np.zeros((600, 800), bool)
    left[:, :400] = True
    moved = {shift: np.arange(800)[None] < np.full((600, 1), 400 + shift) for shift in (8, 9)}
    assert boundary_accuracy(moved[8], left) == 1
    assert boundary_accuracy(moved[9], left) == 0


def test_boundary_accuracy_is_the_harmonic_mean_of_precision_and_recall():
    # the truth is found in full (recall 1); a second, equal square far away halves the precision: F = 2/3
    truth = square(10, 10, 10)
    assert boundary_accuracy(truth | square(40, 60, 10), truth) == pytest.approx(2 / 3)


def test_the_tolerance_is_a_disk_not_a_square():
    # tolerance 1; boundaries {19, 20}^2 and {20, 21}^2: only the far corners, sqrt(2) away, are missed
    pred, truth = np.zeros((60, 80), bool), np.zeros((60, 80), bool)
    pred[20, 20] = truth[21, 21] = True
    assert boundary_accuracy(pred, truth) == pytest.approx(0.75)


def test_masks_of_different_sizes_are_an_error():
    with pytest.raises(ValueError, match="one size"):
        region_similarity(np.zeros((3, 4), bool), np.zeros((4, 3), bool))
