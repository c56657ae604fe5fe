"""What the stage's script asks for: small pictures and masks in chunks, and what is new."""

import base64
import io

import cv2
import numpy as np
import orjson
import pytest
from demo_clips import SIZE, index_of
from PIL import Image

from demo.runs import track
from demo.stage import feed, paint
from demo.visit import reel, studio

FIRST = (1, 60, 90, 40, 120)


def labels(runs: str, count: int) -> np.ndarray:
    """What runs in base64 stand for, read one by one."""
    data, found, place = base64.b64decode(runs), np.zeros(count, np.uint8), 0
    i = 0
    while i < len(data):
        label, length, shift = data[i], 0, 0
        while True:
            i += 1
            length |= (data[i] & 127) << shift
            shift += 7
            if not data[i] & 128:
                break
        found[place : place + length] = label
        place += length
        i += 1
    assert place == count
    return found


@pytest.fixture
def asked(session, visitor):
    """asked(**more): what a script sends about the visitor's session."""
    token = reel.about(session)["token"]
    return lambda **more: {"token": token, **more}


@pytest.mark.parametrize("seed", range(4))
def test_runs_stand_for_the_mask(seed):
    rng = np.random.default_rng(seed)
    mask = (rng.random((37, 211)) > (0.5, 0.9, 0.999, 2)[seed]).astype(np.uint8) * 255
    assert (labels(base64.b64encode(reel.runs(mask)).decode(), mask.size).reshape(mask.shape) == mask).all()


def test_pictures_come_in_chunks_and_are_made_once(asked, session, monkeypatch):
    monkeypatch.setattr(reel, "CHUNK", 5)
    monkeypatch.setattr(reel, "SIDE", 160)
    first, second, last = (feed.small_pictures(asked(chunk=chunk))["frames"] for chunk in range(3))
    assert [len(first), len(second), len(last)] == [5, 5, 2]
    small = np.array(Image.open(io.BytesIO(base64.b64decode(second[2]))))
    expected = cv2.resize(session.image(7), (160, 90), interpolation=cv2.INTER_AREA)
    assert np.abs(small.astype(int) - expected).mean() < 4
    monkeypatch.setattr(type(session), "access", None)  # nobody reads the video again
    assert feed.small_pictures(asked(chunk=1))["frames"] == second


def test_masks_come_once_and_again_when_they_have_changed(asked, act, session, visitor, painted, chosen):
    assert feed.small_masks(asked(chunk=0, known={})) == {"masks": {}, "gone": list(range(12))}
    act(paint.stroke, frame=3, mask=painted(FIRST), colors={})
    before = feed.news(asked())
    list(track.run(visitor, "neighbours", *chosen))
    news = feed.news(asked())
    orjson.dumps([news, feed.small_masks(asked(chunk=0, known={})), feed.small_pictures(asked(chunk=0))])  # as Gradio
    assert not news["running"] and news["chunks"] != before["chunks"] and news["edit"] != before["edit"]
    found = feed.small_masks(asked(chunk=0, known={}))
    assert sorted(map(int, found["masks"])) == list(range(12)) and found["gone"] == []
    _, runs = found["masks"]["3"]
    np.testing.assert_array_equal(labels(runs, SIZE[0] * SIZE[1]).reshape(SIZE), index_of(FIRST))
    known = {frame: version for frame, (version, _) in found["masks"].items()}
    assert feed.small_masks(asked(chunk=0, known=known))["masks"] == {}
    act(paint.stroke, frame=3, mask=painted((1, 60, 90, 40, 100)), colors={})
    assert list(feed.small_masks(asked(chunk=0, known=known))["masks"]) == ["3"]


def test_a_run_and_a_change_from_elsewhere_are_news(asked, session, visitor):
    before = feed.news(asked())
    with studio.running(studio.workspace_of(visitor)):
        assert feed.news(asked())["running"]
    with studio.editing(visitor) as other:
        other.set_trim(2, 9)
    assert feed.news(asked())["edit"] != before["edit"]


@pytest.mark.parametrize("token", [None, "", "../../etc", "0" * 32, 5, ["a"]])
def test_without_a_sessions_token_there_is_nothing(session, token):
    for function in feed.FUNCTIONS:
        assert "no such session" in function({"token": token, "chunk": 0, "known": {}})["error"]
    assert "error" in feed.news(token)


@pytest.mark.parametrize(
    "more", [{"chunk": -1}, {"chunk": 1}, {"chunk": None}, {"chunk": "0"}, {"chunk": 0, "known": 3}]
)
def test_odd_questions_are_answered_in_a_sentence(asked, more):
    assert feed.small_masks(asked(**more))["error"].endswith(".")
