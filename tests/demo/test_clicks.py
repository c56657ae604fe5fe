"""What a click would take: asked by the canvas, and by a program; what the server keeps for it."""

import numpy as np
import pytest

from demo import api
from demo.stage import clicks
from demo.visit import scene, studio
from xmem.errors import InputError
from xmem.session import Session


class Answering:
    """A clicker whose masks are squares around the first click; without one, the box. Notes what it is asked."""

    def __init__(self):
        self.images, self.asked = 0, []

    def image(self, image):
        self.images += 1
        self.size = image.shape[:2]
        return self

    def mask(self, given, box, previous, quick):
        self.asked.append((list(given), box, previous, quick))
        mask = np.zeros(self.size, bool)
        if given:
            x, y = int(given[0][0]), int(given[0][1])
            mask[max(0, y - 10) : y + 10, max(0, x - 10) : x + 10] = True
        return mask


@pytest.fixture
def clicker(monkeypatch):
    made = Answering()
    monkeypatch.setattr(clicks, "clicker", lambda: made)
    monkeypatch.setattr(clicks, "HELD", clicks.HeldFrames(2))
    return made


def asked(session: Session, **more) -> dict:
    return {"token": session.folder.parent.name, "frame": 0, "clicks": [[50, 40, True]], **more}


def test_a_proposal_is_the_part_that_is_not_empty_and_changes_nothing(session, clicker):
    found = clicks.propose(asked(session, quick=True))
    assert [found[name] for name in ("left", "top", "width", "height")] == [40, 30, 20, 20]
    assert scene.read_painting(found["mask"], 20, 20).all() and clicker.asked[0][3]
    assert not session.key_frames
    assert clicks.propose(asked(session, clicks=[], box=[1, 2, 30, 40]))["width"] == 0
    assert clicker.asked[1][1] == (1, 2, 30, 40)


def test_the_mask_to_correct_goes_along(session, clicker, painted):
    clicks.propose(asked(session, previous=painted((255, 60, 90, 40, 120))))
    assert clicker.asked[0][2][70, 80] and clicker.asked[0][2].sum() == 30 * 80


def test_a_picture_is_held_for_a_session_and_frame_and_few_are(session, clicker):
    for frame in (0, 0, 1, 0):
        clicks.propose(asked(session, frame=frame))
    assert clicker.images == 2
    clicks.propose(asked(session, frame=2))
    clicks.propose(asked(session, frame=1))
    assert clicker.images == 4 and len(clicks.HELD._held) == 2


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"frame": 99}, "There is no frame 99"),
        ({"token": "0" * 32}, "no such session"),
        ({"clicks": [["a", 1, True]]}, "no click on the canvas"),
        ({"clicks": [[1, 1, True]] * 61}, "no click on the canvas"),
        ({"clicks": [[float("nan"), 1, True]]}, "no click on the canvas"),
        ({"previous": "nonsense"}, "cannot be read"),
    ],
)
def test_what_cannot_be_asked_is_refused_in_a_sentence(session, clicker, more, words):
    assert words in clicks.propose({**asked(session), **more})["refused"]
    assert "refused" in clicks.propose(None)


def test_a_program_clicks_and_corrects(session, visitor, clicker):
    told = api.click(0, 1, [[50, 40, 1]], visitor)
    assert told["objects"][0]["id"] == 1 and told["key_frames"] == [{"frame": 0, "objects": [1]}]
    assert studio.session_of(visitor).mask(0)[40, 50] == 1
    api.click(0, 1, [[90, 40, 1], [50, 40, 0]], visitor)
    mask = studio.session_of(visitor).mask(0)
    assert mask[40, 90] == 1 and mask[40, 50] == 0 and clicker.asked[1][2][40, 50]
    with pytest.raises(InputError, match="Nothing was found"):
        api.click(0, 1, [], visitor, [1, 1, 20, 20])
    with pytest.raises(InputError, match=r"Points are \[x, y, of\]"):
        api.click(0, 1, [[1, 2]], visitor)
