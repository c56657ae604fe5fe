"""Training clips: reproducible, labelled as drawn, with the number of objects that was asked for."""

from dataclasses import replace

import numpy as np
import pytest

from xmem.training import augment
from xmem.training.clips import BatchShape, ClipSource, crop_clip, move_still, pick_frames
from xmem.training.footage import Cutouts, Footage, Stills
from xmem.training.trouble import Trouble


@pytest.fixture(scope="module")
def source(world, tmp_path_factory):
    cache = tmp_path_factory.mktemp("cache")
    footage, cutouts = Footage.build([world / "data"], cache), Cutouts.build([world / "cutouts"], cache)
    return ClipSource(footage, cutouts, stills=Stills.build([world / "stills"], cache))


def test_a_batch_depends_on_its_seed_alone(source):
    shape = BatchShape(64, 80, 3, 2, 2)
    first, again, other = (source.batch(shape, seed, max_gap=2) for seed in ((0, 5), (0, 5), (0, 6)))
    np.testing.assert_array_equal(first[0], again[0])
    np.testing.assert_array_equal(first[1], again[1])
    assert (first[0] != other[0]).mean() > 0.5
    assert first[0].shape == (2, 3, 64, 80, 3) and first[1].shape == (2, 3, 64, 80)
    assert (first[0][0] != first[0][1]).mean() > 0.5  # the clips of a batch differ


def test_thin_drawn_objects_are_pasted_as_often_as_asked(source):
    shape = BatchShape(64, 64, 2, 1, 1)
    composites = replace(source, real_share=0.0)
    for share in (0.0, 1.0):
        drawn = replace(composites, thin_share=share)._random_sprite(np.random.default_rng(0), np.zeros((2, 64, 64, 3)))
        assert (len(drawn) == 2 and max(drawn[0].shape) > 60) == bool(share)  # the world's own objects are smaller
    frames, labels = replace(composites, thin_share=1.0).clip(np.random.default_rng(1), shape, 1)
    assert set(np.unique(labels)) == {0, 1} and frames.shape == (2, 64, 64, 3)


def test_an_animated_cutout_is_shown_as_a_loop_at_one_pace_and_a_still_one_as_it_is(source):
    strip = np.full((5, 8, 8, 4), 255, np.uint8)
    strip[..., :3] = 40 * np.arange(1, 6)[:, None, None, None]
    for seed in range(8):
        pictures = source._cutout(np.random.default_rng(seed), strip, 6)
        levels, places = np.unique([picture[0, 0, 1] for picture in pictures], return_inverse=True)
        assert len(levels) == 5 and len(set(np.diff(places) % 5)) == 1 and pictures[0] is pictures[5]
    still = source._cutout(np.random.default_rng(0), strip[:1], 3)
    assert still[0] is still[2]


def test_labels_follow_the_objects_through_crop_and_rotation(source):
    """The world's object 1 is red and nothing else is: labels must cover the red pixels and no others."""
    agreements = []
    for seed in range(12):
        frames, labels = crop_clip(np.random.default_rng(seed), source.footage[0], np.arange(4), (64, 64))
        red = frames[..., 0].astype(int) - frames[..., 1] > 80
        overlap, union = (red & (labels == 1)).sum(), (red | (labels == 1)).sum()
        agreements.append(overlap / union if union else 1.0)
    assert min(agreements) > 0.8


def test_labels_follow_the_objects_of_a_still_in_motion(source):
    agreements, changes = [], []
    for seed in range(12):
        frames, labels = move_still(np.random.default_rng(seed), source.stills[0], 4, (64, 64))
        red = frames[..., 0].astype(int) - frames[..., 1] > 80
        overlap, union = (red & (labels == 1)).sum(), (red | (labels == 1)).sum()
        agreements.append(overlap / union if union else 1.0)
        changes.append((labels[0] != labels[-1]).mean())
    assert min(agreements) > 0.8
    assert np.mean(changes) > 0.02  # they do move


def test_the_thin_plate_bends_through_its_knots_and_keeps_planes():
    line = np.linspace(0, 1, 4)
    x, y = np.meshgrid(line, line)
    plane = np.stack([0.1 + 0.2 * x - 0.3 * y, 0.05 * x], axis=-1)
    side = np.linspace(0.5 / 96, 1 - 0.5 / 96, 96)
    field = augment.thin_plate_field(plane, (96, 96))
    wide, tall = np.meshgrid(side, side)
    expected = np.stack([0.1 + 0.2 * wide - 0.3 * tall, 0.05 * wide], axis=-1)
    np.testing.assert_allclose(field[4:-4, 4:-4], expected[4:-4, 4:-4], atol=0.003)
    bend = np.zeros((4, 4, 2))
    bend[1, 2] = 0.2, -0.1
    np.testing.assert_allclose(augment.thin_plate_field(bend, (96, 96))[32, 64], (0.2, -0.1), atol=0.02)


@pytest.mark.parametrize("kind", ["crossing", "near"])
def test_something_that_passes_over_an_object_hides_it_in_between_only(source, kind):
    """It covers part of the object in the middle of most clips, and next to nothing of it at both ends."""
    source = replace(source, trouble=Trouble(**{kind: 1.0}))
    hidden = []
    for seed in range(10):
        frames, labels = np.full((9, 96, 96, 3), 100, np.float32), np.zeros((9, 96, 96), np.uint8)
        labels[:, 38:58, 38:58] = 1
        source._trouble(np.random.default_rng(seed), frames, labels)
        hidden.append(1 - (labels == 1).sum((1, 2)) / 400)
    hidden = np.array(hidden)
    assert np.median(hidden.max(1)) > 0.5
    assert hidden.max(1).mean() > 3 * hidden[:, [0, -1]].mean()


def test_a_neighbour_touches_the_object_in_the_first_frame_and_is_no_object(source):
    source = replace(source, trouble=Trouble(neighbour=1.0))
    drawn = 0
    for seed in range(10):
        frames, labels = np.full((3, 96, 96, 3), 100, np.float32), np.zeros((3, 96, 96), np.uint8)
        labels[:, 38:58, 38:58] = 1
        source._trouble(np.random.default_rng(seed), frames, labels)
        around = frames[0, 28:68, 28:68] != 100
        drawn += around.any()
        assert labels.max() == 1
    assert drawn >= 9


@pytest.mark.parametrize("kind", ["veil", "light", "shake", "dim"])
def test_smoke_light_blur_and_dusk_change_the_picture_and_leave_the_labels(source, kind):
    source = replace(source, trouble=Trouble(**{kind: 1.0}))
    rng = np.random.default_rng(1)
    frames, labels = rng.uniform(0, 255, (4, 96, 256, 3)).astype(np.float32), np.ones((4, 96, 256), np.uint8)
    before = frames.copy()
    source._trouble(rng, frames, labels)
    assert (frames != before).mean() > 0.1 and labels.min() == 1
    assert frames.min() >= -1 and frames.max() <= 280


def test_a_camouflaged_object_comes_near_to_the_colours_where_it_starts():
    rng = np.random.default_rng(0)
    picture = np.zeros((20, 20, 4), np.uint8)
    picture[5:15, 5:15] = 230, 40, 60, 255
    picture[8:12, 8:12, :3] = 180, 20, 90
    ground = rng.normal((60, 90, 70), 10, (400, 3)).astype(np.float32)
    path = augment.SpritePath.random(rng, 3, moving_picture=False)
    hidden = augment.camouflage(rng, [picture] * 3, ground)
    assert hidden[0] is hidden[2]  # a still object stays one
    np.testing.assert_array_equal(hidden[0][..., 3], picture[..., 3])
    inside = picture[..., 3] > 127
    away = [np.abs(p[inside][:, :3].mean(0) - ground.mean(0)).max() for p in (picture, hidden[0])]
    assert away[1] < 0.45 * away[0]
    frame = np.zeros((90, 120, 3), np.float32)
    column, row = np.round(path.centre[0] * (120, 90)).astype(int)
    frame[max(0, row - 3) : row + 3, max(0, column - 3) : column + 3] = 9
    assert path.surroundings(frame).max() == 9


def test_what_is_close_to_the_camera_has_a_soft_outline_and_is_not_paler():
    picture = np.full((160, 160, 4), (200, 100, 150, 255), np.uint8)
    for seed in range(8):
        first, second = augment.defocus(np.random.default_rng(seed), [picture, picture])
        assert first is second  # one picture, blurred once
        assert first.shape[0] > 160 and first[..., 3].max() > 230
        assert not first[0].any() or first[0, :, 3].max() < 60  # the blur is not cut off
        soft = (first[..., 3] > 30) & (first[..., 3] < 225)
        assert soft.any()
        ratio = first[soft][:, :3].astype(float) / (200, 100, 150)
        assert ratio.max() < 1.1 and np.ptp(ratio, axis=1).max() < 0.1  # darker or as it was, nowhere with another tint


def test_sprites_are_camouflaged_as_often_as_asked_and_copies_never(source, monkeypatch):
    hidden = []
    monkeypatch.setattr(augment, "camouflage", lambda rng, pictures, ground: hidden.append(ground) or pictures)
    source = replace(source, trouble=Trouble(camouflage=1.0))
    for pictures in (None, [np.full((8, 8, 4), 255, np.uint8)] * 2):
        source._add(
            np.random.default_rng(0), np.zeros((2, 64, 64, 3), np.float32), np.zeros((2, 64, 64), np.uint8), 1,
            pictures, behind=False,
        )  # fmt: skip
    assert len(hidden) == 1


@pytest.mark.parametrize("objects", [1, 2, 3])
@pytest.mark.parametrize("shares", [(0.0, 0.0), (1.0, 0.0), (0.0, 1.0)])
def test_first_frame_holds_the_wanted_objects_and_no_others(source, objects, shares):
    source = replace(source, real_share=shares[0], still_share=shares[1])
    complete = 0
    for seed in range(8):
        _, labels = source.clip(np.random.default_rng(seed), BatchShape(64, 64, 3, 1, objects), max_gap=2)
        assert labels.max() <= objects
        complete += set(np.unique(labels[0])) - {0} == set(range(1, objects + 1))
    assert complete >= 7  # a clip is given up after several attempts


def test_a_sprite_behind_does_not_cover_the_objects_that_are_there():
    label = np.zeros((20, 20), np.uint8)
    label[:, :10] = 1
    layer = np.full((20, 20, 4), 255, np.float32)
    for behind, left in ((True, 1), (False, 2)):
        frame, result = np.zeros((20, 20, 3), np.float32), label.copy()
        augment.paste(frame, result, layer, 2, behind=behind)
        assert np.all(result[:, :10] == left) and np.all(result[:, 10:] == 2)
        assert frame[5, 5, 0] == (0 if behind else 255) and frame[5, 15, 0] == 255


def test_frames_of_a_clip_are_in_order_within_reach_and_within_the_video():
    for seed in range(50):
        rng = np.random.default_rng(seed)
        indices = pick_frames(rng, available=12, wanted=5, max_gap=6)
        steps = np.diff(indices)
        assert indices.min() >= 0 and indices.max() < 12
        assert np.all(steps >= 0) or np.all(steps <= 0)
        assert np.abs(steps).max() <= 6


def test_a_video_shorter_than_the_clip_repeats_frames():
    assert set(pick_frames(np.random.default_rng(0), available=2, wanted=5, max_gap=3)) == {0, 1}


def test_motion_blur_spreads_along_the_movement_only():
    image = np.zeros((41, 41), np.float32)
    image[20, 20] = 1
    blurred = augment.motion_blur(image, np.array([12.0, 0.0]))
    assert blurred.sum() == pytest.approx(1, abs=1e-4)
    assert (blurred[20] > 0.05).sum() >= 10 and np.delete(blurred, 20, axis=0).max() < 1e-6
