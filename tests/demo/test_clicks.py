"""What a click would take: asked by the canvas, and by a program; what the server keeps for it."""

import numpy as np
import pytest

from demo import api
from demo.stage import clicks
from demo.visit import studio
from xmem.errors import InputError


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


def test_a_picture_is_held_for_a_session_and_frame_and_few_are(session, clicker):
    for frame in (0, 0, 1, 0):
        clicks.answer(session, frame, [(50, 40, True)])
    assert clicker.images == 2
    clicks.answer(session, 2, [(50, 40, True)])
    clicks.answer(session, 1, [(50, 40, True)])
    assert clicker.images == 4 and len(clicks.HELD._held) == 2


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
