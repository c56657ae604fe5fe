"""Clicks are counted as the field counts them."""

import numpy as np
import pytest

from xmem.scoring.clicks import ClickScores, click_through, grabcut_answer
from xmem.scoring.metrics import region_similarity


def test_a_perfect_answer_needs_one_click_and_a_useless_one_all():
    truth = np.zeros((40, 60), bool)
    truth[10:30, 10:40] = True
    perfect = click_through(truth, lambda clicks: truth, most=5)
    useless = click_through(truth, lambda clicks: np.zeros_like(truth), most=5)
    assert perfect.tolist() == [1] * 5 and useless.tolist() == [0] * 5
    scores = ClickScores(np.stack([perfect, useless]))
    assert scores.needed(0.9) == 3 and scores.failed(0.9) == 1 and scores.median(1) == pytest.approx(0.5)


def test_clicks_stop_where_the_mask_is_good_enough_but_not_before_three():
    truth = np.zeros((40, 60), bool)
    truth[10:30, 10:40] = True
    nearly = truth.copy()
    nearly[10, 10:40] = False
    seen = []
    ious = click_through(truth, lambda clicks: seen.append(len(clicks)) or nearly, most=20)
    assert seen == [1, 2, 3] and len(ious) == 20 and ious[-1] == pytest.approx(0.95)


def test_grabcut_answers_from_dots():
    image = np.full((160, 200, 3), 110, np.uint8)
    image[40:120, 60:140] = (220, 30, 30)
    image = image + np.random.default_rng(0).integers(0, 8, image.shape, dtype=np.uint8)
    truth = np.zeros((160, 200), bool)
    truth[40:120, 60:140] = True
    answer = grabcut_answer(image)
    assert region_similarity(answer([(100, 80, True)]), truth) > 0.9
    assert not answer([(100, 80, True), (70, 60, False)])[60, 70]
