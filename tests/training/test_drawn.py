"""Drawn objects: thin, whole, the same for the same seed, and near to their surroundings where that is asked for."""

import cv2
import numpy as np

from xmem.training.drawn import thin_object


def test_a_drawn_object_depends_on_its_seed_alone():
    first, again, other = (thin_object(np.random.default_rng(seed)) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert first.shape != other.shape or (first != other).any()


def test_most_of_what_is_drawn_is_thin_and_nothing_is_empty():
    """Thin: gone where a disc of a tenth of the drawing's square does not fit."""
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (25, 25))
    kept = []
    for seed in range(30):
        mask = (np.pad(thin_object(np.random.default_rng(seed))[..., 3], 30) > 127).astype(np.uint8)
        assert mask.sum() > 100
        kept.append(cv2.morphologyEx(mask, cv2.MORPH_OPEN, disc).sum() / mask.sum())
    assert np.median(kept) < 0.5


def test_a_drawn_object_hangs_together():
    """A click shows one thing: parts that lie apart would be several."""
    for seed in range(30):
        mask = (thin_object(np.random.default_rng(seed))[..., 3] > 127).astype(np.uint8)
        _, _, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
        assert stats[1:, cv2.CC_STAT_AREA].max() > 0.9 * mask.sum(), seed


def test_its_colours_come_from_its_surroundings_in_half_of_the_cases():
    surroundings = np.full((40, 40, 3), (40, 200, 90), np.uint8)
    near = []
    for seed in range(40):
        drawn = thin_object(np.random.default_rng(seed), surroundings)
        colour = np.median(drawn[drawn[..., 3] > 250][:, :3], axis=0)
        near.append(np.argsort(colour).tolist() == [0, 2, 1] and np.abs(colour - (40, 200, 90)).max() < 100)
    assert 0.35 < np.mean(near) < 0.75
