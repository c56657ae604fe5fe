"""Shot cuts: found between real clips, not within them; the gate that keeps other scenes out of the memories."""

import itertools
from pathlib import Path

import cv2
import numpy as np
import pytest

from xmem.video.cuts import CutDetector, MemoryGate

CLIPS = Path(__file__).parents[3] / "shared/data/davis2016-train/frames"
needs_clips = pytest.mark.skipif(not CLIPS.is_dir(), reason="needs the DAVIS clips")


def cuts_in(images) -> list[int]:
    detector = CutDetector()
    return [n for n, image in enumerate(images) if detector.is_cut(image)]


@pytest.fixture(scope="module")
def clips() -> dict[str, list[np.ndarray]]:
    """Every frame of the clips, reduced by four."""
    return {folder.name: [read(path) for path in sorted(folder.iterdir())] for folder in sorted(CLIPS.iterdir())}


def read(path: Path) -> np.ndarray:
    return cv2.cvtColor(cv2.imread(str(path), cv2.IMREAD_REDUCED_COLOR_4), cv2.COLOR_BGR2RGB)


def brighter(image: np.ndarray, gain: float, white: float = 0.0) -> np.ndarray:
    """image times gain, then mixed with white."""
    return np.clip((image * gain) * (1 - white) + 255 * white, 0, 255).astype(np.uint8)


@needs_clips
def test_no_cut_is_seen_within_any_clip(clips):
    assert {name: found for name, images in clips.items() if (found := cuts_in(images))} == {}


@needs_clips
def test_cuts_between_clips_are_found_with_nothing_beside_them(clips):
    found = right = pairs = 0
    for first, second in itertools.islice(itertools.permutations(clips, 2), 0, None, 8):
        places = cuts_in(clips[first][-8:] + clips[second][:8])
        found += len(places)
        right += 8 in places
        pairs += 1
    assert right / pairs > 0.98  # recall; 701 of all 702 pairs
    assert right / found > 0.99  # precision; nothing beside the cuts in all of them


@needs_clips
def test_a_flash_is_no_cut_neither_when_it_comes_nor_when_it_goes(clips):
    wrong = flashes = 0
    for images in list(clips.values())[::2]:
        for flash, frames in itertools.product([(1.6, 0.0), (1.0, 0.7), (1.0, 1.0), (0.4, 0.0)], (1, 3)):
            lit = [brighter(image, *flash) for image in images[10 : 10 + frames]]
            wrong += bool(cuts_in(images[4:10] + lit + images[10 + frames : 20]))
            flashes += 1
    assert wrong / flashes < 0.06


@needs_clips
def test_fading_to_black_and_back_is_no_cut_but_up_to_another_scene_is_one(clips):
    ramp = np.linspace(1, 0, 11)[1:]
    back = other = 0
    for (_, images), (_, others) in itertools.pairwise(clips.items()):
        down = [brighter(image, gain) for image, gain in zip(images[:10], ramp, strict=True)] + [images[0] * 0] * 3
        up = [brighter(image, gain) for image, gain in zip(images[10:20], ramp[::-1], strict=True)]
        up_other = [brighter(image, gain) for image, gain in zip(others[:10], ramp[::-1], strict=True)]
        back += bool(cuts_in(down + up))
        other += bool(cuts_in(down + up_other))
    assert back / (len(clips) - 1) < 0.1
    assert other / (len(clips) - 1) > 0.8


@needs_clips
def test_a_dissolve_is_no_cut(clips):
    for (_, images), (_, others) in itertools.pairwise(clips.items()):
        mixed = [
            (image * (1 - part) + later * part).astype(np.uint8)
            for image, later, part in zip(images[8:20], others[:12], np.linspace(0, 1, 12), strict=True)
        ]
        assert cuts_in(images[:8] + mixed + others[12:20]) == []


def test_the_first_frame_and_a_still_are_no_cuts():
    image = np.random.default_rng(0).integers(0, 255, (90, 160, 3), np.uint8)
    assert cuts_in([image] * 10) == []


def pattern(seed: int, shape=(90, 160)) -> np.ndarray:
    """Blobs of a scene of its own, uint8 [H, W, 3]."""
    noise = np.random.default_rng(seed).random((6, 8, 3)).astype(np.float32)
    return (cv2.resize(noise, shape[::-1], interpolation=cv2.INTER_CUBIC).clip(0, 1) * 255).astype(np.uint8)


@pytest.mark.parametrize("shape", [(1080, 1920), (1920, 1080), (48, 64), (20, 200)])
def test_any_size_of_frame_will_do(shape):
    assert cuts_in([pattern(1, shape)] * 3 + [pattern(2, shape)] * 3) == [3]


def test_a_cut_back_within_a_few_frames_is_told_once():
    """As for a flash: what comes back was seen a moment ago."""
    assert cuts_in([pattern(1)] * 5 + [pattern(2)] * 3 + [pattern(1)] * 5) == [5]


def test_nothing_is_remembered_after_a_cut_until_the_objects_are_certain_again():
    gate = MemoryGate()
    assert all(gate.allows(False, 0.9) for _ in range(10))
    assert not gate.allows(True, 0.9)
    assert not any(gate.allows(False, certainty) for certainty in (0.0, 0.6, 0.78))
    assert gate.allows(False, 0.83)
    assert gate.allows(False, 0.7)  # open again: less certainty alone shuts nothing


def test_a_given_mask_opens_the_gate():
    """Its frame is certain, whatever was usual before."""
    gate = MemoryGate()
    for _ in range(10):
        gate.allows(False, 0.97)
    gate.allows(True, 0.97)
    assert gate.allows(False, 1.0)


def test_objects_lost_before_the_cut_do_not_open_the_gate_by_staying_lost():
    gate = MemoryGate()
    for _ in range(10):
        gate.allows(False, 0.0)
    gate.allows(True, 0.0)
    assert not gate.allows(False, 0.0)


def test_a_cut_right_at_the_start_shuts_the_gate_too():
    gate = MemoryGate()
    assert not gate.allows(True, 1.0)
    assert gate.allows(False, 0.95)
