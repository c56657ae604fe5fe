"""Decoded footage: what is cached, and what never is."""

import pickle
from collections import Counter

import cv2
import numpy as np
import pytest
from PIL import Image

from xmem.errors import InputError
from xmem.training.footage import Cutouts, Footage, Stills


def test_held_back_sequences_are_not_among_the_footage(world, tmp_path):
    footage = Footage.build([world / "data"], tmp_path, exclude=("held",))
    assert [footage[i].name.split("-")[1] for i in range(len(footage))] == ["one", "two"]
    assert not list(tmp_path.glob("*held*"))


def test_frames_and_masks_are_shrunk_together(world, tmp_path):
    sequence = Footage.build([world / "data"], tmp_path, short_side=48, exclude=("held",))[0]
    assert sequence.frames.shape == (8, 48, 64, 3) and sequence.masks.shape == (8, 48, 64)
    red = sequence.frames[3][sequence.masks[3] == 1]
    assert np.median(red[:, 0]) > 180 and np.median(red[:, 1]) < 60


def test_a_copy_in_another_process_reads_the_same_frames(world, tmp_path):
    footage = Footage.build([world / "data"], tmp_path)
    copy = pickle.loads(pickle.dumps(footage))
    assert len(pickle.dumps(footage)) < 2000  # paths travel, not frames
    np.testing.assert_array_equal(copy[0].frames, footage[0].frames)


def test_nothing_left_to_train_on_is_the_users_error(world, tmp_path):
    with pytest.raises(InputError, match="No sequence to train on"):
        Footage.build([world / "data"], tmp_path, exclude=("one", "two", "held"))


def test_cutouts_are_cropped_to_their_object(world, tmp_path):
    cutouts = Cutouts.build([world / "cutouts"], tmp_path)
    assert len(cutouts) == 2
    assert cutouts[0].shape == (1, 49, 49, 4)  # a disc of radius 24 on an empty picture of 60 x 60
    assert tuple(cutouts[1][0, 24, 24]) == (250, 40, 20, 255)  # RGBA


def test_animated_cutouts_are_loops_cropped_alike_and_left_out_where_they_hardly_move(tmp_path):
    def disc(across: int) -> Image.Image:
        picture = np.zeros((60, 60, 4), np.uint8)
        cv2.circle(picture, (across, 30), 12, (250, 40, 20, 255), -1)
        return Image.fromarray(picture)

    (tmp_path / "set").mkdir()
    for name, step in (("moves", 1), ("rests", 0)):
        first, *more = [disc(15 + step * i) for i in range(30)]
        more[0].putpixel((0, 0), (0, 0, 1, 0))  # frames that are all the same would be stored as one
        first.save(tmp_path / "set" / f"{name}.webp", save_all=True, append_images=more, lossless=True)
    cutouts = Cutouts.build([tmp_path / "set"], tmp_path / "cache")
    assert len(cutouts) == 1 and cutouts[0].shape == (12, 25, 52, 4)  # 12 of 30 frames, up to the 28th
    solid = cutouts[0][..., 3] > 127
    assert np.all(np.diff([np.flatnonzero(frame.any(0))[0] for frame in solid]) > 0)


def test_a_still_is_a_sequence_of_one_frame_with_its_mask(world, tmp_path):
    stills = Stills.build([world / "stills"], tmp_path)
    assert [stills[i].frames.shape for i in range(3)] == [(1, 96, width, 3) for width in (128, 112, 96)]
    red = stills[2].frames[stills[2].masks == 1]
    assert np.median(red[:, 0]) > 180 and np.median(red[:, 1]) < 60


def test_pictures_in_the_cache_are_those_of_the_roots_asked_for(world, tmp_path):
    assert len(Stills.build([world / "stills"], tmp_path)) == 3
    assert len(Stills.build([], tmp_path)) == 0
    again = pickle.loads(pickle.dumps(Stills.build([world / "stills"], tmp_path, short_side=48)))
    assert again[0].frames.shape == (1, 48, 64, 3)


def test_large_and_long_sequences_are_picked_more_often(tmp_path):
    shapes = {"plain": (4, 8, 8), "large": (4, 16, 16), "long": (16, 8, 8)}
    for name, shape in shapes.items():
        np.save(tmp_path / f"{name}.frames.npy", np.zeros((*shape, 3), np.uint8))
        np.save(tmp_path / f"{name}.masks.npy", np.zeros(shape, np.uint8))
    footage, rng = Footage(tmp_path, shapes), np.random.default_rng(0)
    counts = Counter(footage.pick(rng).name for _ in range(700))
    assert [counts[name] / 100 for name in shapes] == pytest.approx([1, 4, 2], rel=0.2)
