"""What befalls the whole picture of training clips."""

import numpy as np

from xmem.training import trouble


def test_smoke_has_no_seams_where_it_drifts_in():
    steepest = []
    for seed in range(20):
        frames = np.zeros((5, 120, 160, 3), np.float32)
        trouble.veil(np.random.default_rng(seed), frames)
        steepest += [np.abs(np.diff(frames[..., 0], axis=axis)).max() for axis in (1, 2)]
    assert np.median(steepest) < 60  # levels between neighbours; the finest spray has up to 80


def test_a_camera_that_follows_an_object_blurs_all_but_the_object():
    rng = np.random.default_rng(2)
    frames, labels = rng.uniform(0, 255, (3, 96, 96, 3)).astype(np.float32), np.zeros((3, 96, 96), np.uint8)
    labels[:, 30:60, 30:60] = 1
    frames[labels == 1] = 200
    before = frames.copy()
    trouble.pan(rng, frames, labels)
    np.testing.assert_allclose(frames[:, 33:57, 33:57], before[:, 33:57, 33:57], atol=1e-3)
    away = np.s_[:, 70:]
    assert frames[away].std() < 0.75 * before[away].std()
    assert abs(frames[away].mean() - before[away].mean()) < 5  # neither paler nor darker


def test_the_light_changes_within_a_clip():
    changed = []
    for seed in range(20):
        frames = np.full((5, 60, 80, 3), 100, np.float32)
        trouble.relight(np.random.default_rng(seed), frames)
        changed.append(np.ptp(frames.mean((1, 2, 3))))
        assert np.isfinite(frames).all() and frames.min() >= 0
    assert np.median(changed) > 10


def test_leaves_and_stalks_stand_before_an_object_and_leave_parts_of_it_open():
    """What they cover is not the object's; in most clips that hide something of it, parts are hidden and parts seen."""
    open_share = []
    for seed in range(30):
        frames, labels = np.full((4, 120, 160, 3), 100, np.float32), np.ones((4, 120, 160), np.uint8)
        trouble.screen(np.random.default_rng(seed), frames, labels)
        clear = np.abs(frames - 100).max(-1) < 1
        assert labels[clear].all()
        open_share.append(labels.mean((1, 2)))
    open_share = np.array(open_share)
    assert 0.4 < np.median(open_share) < 0.98
    assert (open_share.min(1) > 0.3).mean() > 0.8
    assert np.mean(open_share.max(1) < 0.999) > 0.8


def test_dusk_takes_contrast_and_keeps_the_order_of_levels():
    ramp = np.tile(np.linspace(0, 255, 64, dtype=np.float32)[:, None], (2, 64, 1, 3))
    trouble.dim(np.random.default_rng(3), ramp)
    levels = ramp.mean((0, 1, 3))
    assert 30 < np.ptp(levels) < 200 and np.all(np.diff(levels[::8]) > 0)
