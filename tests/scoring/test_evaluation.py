"""Evaluation: which sequences and frames are scored, how means are taken, and what counts as a known mask."""

from typing import ClassVar

import numpy as np
import pytest
import torch
from PIL import Image

from tests.tiny_model import tiny_state
from xmem.engine.propagator import Propagator
from xmem.errors import InputError
from xmem.networks.xmem import load_state
from xmem.render.masks import write_index_mask
from xmem.scoring import evaluation
from xmem.scoring.evaluation import (
    Evaluation,
    ObjectScore,
    SequenceScore,
    evaluate,
    find_sequences,
    read_truth,
    score_sequence,
)

SHAPE = (48, 64)


def index_mask(left: int, ids=(1,)) -> np.ndarray:
    """Squares of 10 pixels below each other, one per id, `left` pixels from the edge."""
    mask = np.zeros(SHAPE, np.uint8)
    for row, i in enumerate(ids):
        mask[2 + 15 * row : 12 + 15 * row, left : left + 10] = i
    return mask


def write_sequence(images, masks, truths, first=0):
    """One image per truth; None writes no mask."""
    images.mkdir(parents=True)
    masks.mkdir(parents=True)
    for i, truth in enumerate(truths, first):
        Image.fromarray(np.full((*SHAPE, 3), 10 * i, np.uint8)).save(images / f"{i:05d}.jpg")
        if truth is not None:
            write_index_mask(masks / f"{i:05d}.png", truth)


class RecordedEngine:
    """Stands for the propagator: answers what it is told, frame by frame, and notes what it is given."""

    answers: ClassVar[list] = []
    given: ClassVar[list] = []
    frames_ahead = 0
    run = Propagator.run

    def __init__(self, *_args, **_settings):
        self.objects, self.frame = [], -1

    def step(self, _frame, mask=None, **_named):
        self.frame += 1
        RecordedEngine.given.append(mask)
        if mask is not None:
            self.objects = [int(i) for i in np.unique(mask) if i]
        answer = torch.from_numpy(RecordedEngine.answers[self.frame].astype(np.int64))
        return torch.stack([(answer == i).float() for i in [0, *self.objects]])


@pytest.fixture
def engine(monkeypatch):
    monkeypatch.setattr(evaluation, "Propagator", RecordedEngine)
    RecordedEngine.answers, RecordedEngine.given = [], []
    return RecordedEngine


@pytest.fixture(scope="module")
def model():
    return load_state(tiny_state())


def run(root, engine, answers):
    engine.answers = answers
    (sequence,) = find_sequences(root)
    return score_sequence(sequence, model=None)


def test_the_first_and_the_last_frame_are_left_out(tmp_path, engine):
    truth = index_mask(10)
    write_sequence(tmp_path / "frames" / "a", tmp_path / "masks" / "a", [truth] * 5)
    empty = np.zeros_like(truth)
    score = run(tmp_path, engine, [empty, truth, truth, truth, empty])
    assert (score.j, score.f, score.scored_frames, score.frames) == (1, 1, 3, 5)
    assert engine.given[0] is not None and engine.given[1:] == [None] * 4


def test_a_frame_s_score_is_its_j_and_f_averaged_over_frames(tmp_path, engine):
    truth = index_mask(10)
    write_sequence(tmp_path / "frames" / "a", tmp_path / "masks" / "a", [truth] * 4)
    score = run(tmp_path, engine, [truth, index_mask(15), truth, truth])
    assert score.j == pytest.approx((1 / 3 + 1) / 2)  # 50 of 150 pixels, then all
    assert score.jf == pytest.approx((score.j + score.f) / 2)


def test_objects_are_scored_one_by_one_and_averaged(tmp_path, engine):
    truth = index_mask(10, ids=(3, 7))
    write_sequence(tmp_path / "frames" / "a", tmp_path / "masks" / "a", [truth] * 3)
    score = run(tmp_path, engine, [truth, np.where(truth == 7, 0, truth), truth])
    assert score.objects == (ObjectScore(3, 1.0, 1.0), ObjectScore(7, 0.0, 0.0))
    assert score.j == score.f == 0.5


def test_the_run_starts_at_the_first_mask_that_has_an_object(tmp_path, engine):
    truth, empty = index_mask(10), np.zeros(SHAPE, np.uint8)
    write_sequence(tmp_path / "frames" / "a", tmp_path / "masks" / "a", [None, empty, truth, truth, truth])
    score = run(tmp_path, engine, [truth] * 3)
    assert (score.frames, score.scored_frames) == (3, 1)


def test_frames_without_a_mask_are_run_and_not_scored(tmp_path, engine):
    truth = index_mask(10)
    write_sequence(tmp_path / "frames" / "a", tmp_path / "masks" / "a", [truth, None, truth, None, truth])
    score = run(tmp_path, engine, [truth] * 5)
    assert (score.frames, score.scored_frames) == (5, 1)


def test_objects_that_the_first_mask_lacks_are_not_scored(tmp_path, engine):
    truth = index_mask(10)
    later = index_mask(10, ids=(1, 2))
    write_sequence(tmp_path / "frames" / "a", tmp_path / "masks" / "a", [truth, later, later])
    score = run(tmp_path, engine, [truth] * 3)
    assert score.objects == (ObjectScore(1, 1.0, 1.0),)


def test_a_sequence_too_short_to_score_is_refused(tmp_path, engine):
    truth = index_mask(10)
    write_sequence(tmp_path / "frames" / "a", tmp_path / "masks" / "a", [truth] * 2)
    with pytest.raises(InputError, match="nothing to score"):
        run(tmp_path, engine, [truth] * 2)


def test_a_mask_of_another_size_than_its_image_is_refused(tmp_path, engine):
    write_sequence(tmp_path / "frames" / "a", tmp_path / "masks" / "a", [index_mask(10)[:40]] * 3)
    with pytest.raises(InputError, match="64x40 and its image 64x48"):
        run(tmp_path, engine, [])


def test_the_overall_score_is_the_mean_over_objects_as_davis_counts():
    a = SequenceScore("a", (ObjectScore(1, 1.0, 0.8),), 10, 8, seconds=1.0)
    b = SequenceScore("b", (ObjectScore(1, 0.4, 0.2), ObjectScore(2, 0.1, 0.2)), 20, 18, seconds=4.0)
    result = Evaluation((a, b), None)
    assert result.j == pytest.approx(0.5)
    assert result.f == pytest.approx(0.4)
    assert result.jf == pytest.approx(0.45)
    assert result.fps == pytest.approx(6.0)


@pytest.mark.parametrize(
    "images, masks",
    [("frames", "masks"), ("JPEGImages/480p", "Annotations/480p"), ("JPEGImages/1080p", "Annotations/1080p")],
)
def test_both_layouts_are_found(tmp_path, images, masks):
    for name in ("bear", "camel"):
        write_sequence(tmp_path / images / name, tmp_path / masks / name, [index_mask(10)] * 2)
    found = find_sequences(tmp_path)
    assert [sequence.name for sequence in found] == ["bear", "camel"]
    assert sorted(found[0].masks) == ["00000", "00001"]
    assert found[0].images == tmp_path / images / "bear"


def test_480p_is_preferred_among_davis_s_resolutions(tmp_path):
    for resolution in ("1080p", "480p", "Full-Resolution"):
        images, masks = (tmp_path / kind / resolution / "bear" for kind in ("JPEGImages", "Annotations"))
        write_sequence(images, masks, [index_mask(10)])
    assert find_sequences(tmp_path)[0].images.parent.name == "480p"


def test_images_right_under_frames_are_one_sequence(tmp_path):
    write_sequence(tmp_path / "chair" / "frames", tmp_path / "chair" / "masks", [index_mask(10)] * 3)
    assert [sequence.name for sequence in find_sequences(tmp_path / "chair")] == ["chair"]


def test_only_the_named_sequences_are_taken_and_a_wrong_name_is_refused(tmp_path):
    for name in ("bear", "camel"):
        write_sequence(tmp_path / "frames" / name, tmp_path / "masks" / name, [index_mask(10)])
    assert [sequence.name for sequence in find_sequences(tmp_path, ["camel"])] == ["camel"]
    with pytest.raises(InputError, match=r"no sequence 'cow' .* bear, camel"):
        find_sequences(tmp_path, ["cow"])


@pytest.mark.parametrize("folders", [[], ["frames"], ["frames/a", "masks/b"]])
def test_a_folder_of_another_layout_is_refused(tmp_path, folders):
    for folder in folders:
        (tmp_path / folder).mkdir(parents=True)
    with pytest.raises(InputError, match="masks"):
        find_sequences(tmp_path)


def davis_2016(mask):
    return Image.fromarray(np.where(mask, 255, 0).astype(np.uint8))


def davis_2016_rgb(mask):
    return davis_2016(mask).convert("RGB")


def zero_one(mask):
    return Image.fromarray((mask > 0).astype(np.uint8))


def palette_255(mask):
    image = davis_2016(mask)
    image.putpalette(bytes(range(256)) * 3)
    return image


@pytest.mark.parametrize("form", [davis_2016, davis_2016_rgb, zero_one, palette_255])
def test_every_form_of_a_single_object_s_mask_is_object_1(tmp_path, form):
    truth = index_mask(10)
    form(truth).save(tmp_path / "mask.png")
    assert np.array_equal(read_truth(tmp_path / "mask.png", SHAPE), truth)


def test_void_beside_ids_belongs_to_no_object(tmp_path):
    truth = index_mask(10, ids=(1, 2))
    void = truth.copy()
    void[40:] = 255
    write_index_mask(tmp_path / "mask.png", void)
    assert np.array_equal(read_truth(tmp_path / "mask.png", SHAPE), truth)


def test_a_mask_that_is_no_image_is_refused(tmp_path):
    (tmp_path / "mask.png").write_text("no image")
    with pytest.raises(InputError, match="not a readable image"):
        read_truth(tmp_path / "mask.png", SHAPE)


def test_a_real_network_is_scored_from_end_to_end(tmp_path, model):
    write_sequence(tmp_path / "frames" / "a", tmp_path / "masks" / "a", [index_mask(10, ids=(1, 2))] * 4)
    result = evaluate(tmp_path, model, size=None)
    assert 0 <= result.jf <= 1
    assert [score.id for score in result.objects] == [1, 2]
    assert result.fps > 0
    assert result.peak_memory_bytes > 50e6  # torch alone takes more
