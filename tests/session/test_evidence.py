"""Evidence for and against masks, on moving squares."""

import numpy as np
import pytest

from xmem.session.evidence import NOTHING, View, Witness, disagreement

H, W = 160, 240


def picture(left: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A red textured square before a green textured ground, and its index mask."""
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 60, (H // 4, W // 4, 3)).repeat(4, 0).repeat(4, 1).astype(np.uint8)
    image[..., 1] += 120
    square = rng.integers(0, 60, (15, 15, 3)).repeat(4, 0).repeat(4, 1).astype(np.uint8)
    square[..., 0] += 180
    mask = np.zeros((H, W), np.uint8)
    image[50:110, left : left + 60] = square
    mask[50:110, left : left + 60] = 1
    return image, mask


def second(mask: np.ndarray | None = None, image: np.ndarray | None = None):
    """The evidence of the second of two frames between which the square moves by 6 pixels."""
    witness = Witness([1])
    before, given = picture(60)
    now, true = picture(66)
    witness.painted(0, before, given)
    view = View(now if image is None else image, true if mask is None else mask)
    (found,) = witness.look(view, View(before, given))
    return found


def test_a_mask_that_goes_along_with_the_motion_has_little_against_it():
    found = second()
    assert found.motion < 0.1 and found.colour < 0.2
    assert (found.loose, found.passes) == (0, None)
    assert max(found.lost, found.gained) < 0.05


def test_a_part_that_is_lost_shows_in_motion_and_in_what_lies_beside():
    mask = picture(66)[1]
    mask[50:80] = 0
    found = second(mask)
    assert found.motion > 0.4 and found.lost > 0.4 and found.gained < 0.05
    assert found.beside > second().beside + 0.1


def test_a_part_that_is_gained_has_other_colours():
    mask = picture(66)[1]
    mask[50:110, 126:200] = 1
    found = second(mask)
    assert found.gained > 0.4 and found.lost < 0.05
    assert found.colour > second().colour + 0.2


def test_a_mask_in_two_pieces_is_loose():
    mask = picture(66)[1]
    mask[:, 90:104] = 0
    assert second(mask).loose == pytest.approx(0.5, abs=0.1)


def test_what_cannot_be_told_is_not():
    witness = Witness([1, 2])
    image, mask = picture(60)
    one, two = witness.look(View(image, mask))  # no frame before, nothing painted, no object 2
    assert (one.motion, one.lost, one.colour, one.beside) == (None,) * 4
    assert two == NOTHING


def test_of_several_painted_frames_the_most_alike_counts():
    witness = Witness([1])
    image, mask = picture(60)
    witness.painted(9, np.ascontiguousarray(image[..., ::-1]), mask)
    far = witness.look(View(image, mask))[0].colour
    witness.painted(3, image, mask)
    assert witness.look(View(image, mask))[0].colour < far / 2


def test_passes_disagree_by_the_overlap_of_their_masks():
    first, second = np.zeros((2, 2, 8, 8), np.float32)
    first[0, :4], second[0, 2:6] = 0.9, 0.9
    assert disagreement(first, second, [3, 5]) == {3: pytest.approx(2 / 3), 5: 0.0}


@pytest.mark.parametrize("shape", [(4, 4), (9, 300), (2000, 6)])
def test_frames_of_any_size_are_looked_at(shape):
    witness = Witness([1])
    image, mask = np.zeros((*shape, 3), np.uint8), np.ones(shape, np.uint8)
    witness.painted(0, image, mask)
    witness.look(View(image, mask))
    assert len(witness.look(View(image, mask), View(image, mask))) == 1
