"""What a click would take: asked by the canvas, and by a program; what the server keeps for it."""

import threading

import gradio as gr
import numpy as np
import pytest

import xmem
from demo import api
from demo.runs import helpers, settings
from demo.stage import clicks, painter
from demo.visit import scene, studio
from xmem.checkpoints import FetchProgress
from xmem.click import pretrained
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
    monkeypatch.setattr(helpers, "clicker", lambda name: made)
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


# Helpers


class Hub:
    """What is fetched arrives when it is let; notes what is asked for."""

    def __init__(self):
        self.asked, self.go, self.error, self.here = [], threading.Event(), None, {"xmem-click"}

    def is_at_hand(self, name):
        return name in self.here

    def fetch(self, name):
        self.asked.append(name)
        yield FetchProgress(12_000_000, 603_000_000)
        assert self.go.wait(20)
        if self.error:
            raise self.error
        self.here.add(name)


@pytest.fixture
def hub(monkeypatch):
    made = Hub()
    monkeypatch.setattr(helpers.checkpoints, "is_at_hand", made.is_at_hand)
    monkeypatch.setattr(helpers.checkpoints, "fetch", made.fetch)
    monkeypatch.setattr(helpers, "FETCHES", helpers.Fetches())
    monkeypatch.setattr(helpers, "is_installed", lambda: True)
    yield made
    made.go.set()
    for thread in threading.enumerate():
        if thread.name.startswith("fetch "):
            thread.join()


class Finding:
    """Words for which the left half is meant. Notes what it is asked."""

    def __init__(self):
        self.asked = []

    def mask(self, held, words):
        self.asked.append(words)
        mask = np.zeros(held.size, bool)
        mask[:, : held.size[1] // 2] = True
        return mask


def test_words_are_found_once_for_a_picture_and_are_what_clicks_correct(session, clicker, monkeypatch):
    finding = Finding()
    monkeypatch.setattr(helpers, "words", lambda: finding)
    found = clicks.propose(asked(session, clicks=[], words=" a red car "))
    assert (found["left"], found["width"]) == (0, 160) and not clicker.asked
    clicks.propose(asked(session, words="a red car"))
    assert finding.asked == ["a red car"] and clicker.asked[0][2].sum() == 160 * 180
    for number in range(8):
        clicks.propose(asked(session, clicks=[], words=f"car {number}"))
    (kept,) = clicks.HELD._held.values()
    assert len(kept.said) == clicks.MOST_SAID


def test_each_network_holds_a_picture_of_its_own(session, clicker):
    for model in ("xmem-click", "sam2.1-tiny", "xmem-click"):
        clicks.propose(asked(session, model=model))
    assert clicker.images == 2


def test_while_a_helper_is_fetched_it_is_said_how_far_that_is_and_nobody_waits(session, hub, monkeypatch):
    made = []
    monkeypatch.setattr(helpers, "_clicker", lambda name: made.append(name) or Answering())
    said = {clicks.propose(asked(session, model="sam2.1-tiny"))["later"] for _ in range(3)}
    assert all("sam2.1-tiny is being fetched, once: " in each for each in said)
    hub.go.set()
    until(
        lambda: (
            "sam2.1-tiny" in hub.here and "fetch sam2.1-tiny" not in [thread.name for thread in threading.enumerate()]
        )
    )
    assert clicks.propose(asked(session, model="sam2.1-tiny"))["width"] == 20
    assert made == hub.asked == ["sam2.1-tiny"]


def test_a_fetch_that_fails_is_told_to_all_who_wait_and_begun_anew_later(session, clicker, hub, monkeypatch):
    hub.error = InputError("clipseg cannot be fetched, because the Hub cannot be reached.")
    assert "later" in clicks.propose(asked(session, words="a car"))
    hub.go.set()
    until(lambda: helpers.FETCHES._failed)
    for _ in range(2):
        assert clicks.propose(asked(session, words="a car"))["refused"] == str(hub.error)
    monkeypatch.setattr(helpers, "FORGET_SECONDS", 0.0)
    assert "later" in clicks.propose(asked(session, words="a car"))
    until(lambda: hub.asked == ["clipseg", "clipseg"])


def until(holds) -> None:
    for _ in range(2000):
        if holds():
            return
        threading.Event().wait(0.01)
    raise AssertionError("it never came")


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ({"model": "mine.safetensors"}, "There is no network of that name for clicks here"),
        ({"words": "x" * 201}, "no click on the canvas"),
    ],
)
def test_a_visitor_names_only_what_is_listed(session, hub, more, sentence):
    assert sentence in clicks.propose(asked(session, **more))["refused"] and not hub.asked


def test_without_the_extra_the_page_offers_its_own_network_and_says_how_to_get_more(session, clicker, monkeypatch):
    monkeypatch.setattr(helpers, "is_installed", lambda: False)
    monkeypatch.setattr(pretrained, "is_installed", lambda: False)
    assert helpers.clickers() == [("xmem-click · comes with the page", "xmem-click")]
    assert "p-words" not in str(painter.painter("one").html_template)
    monkeypatch.setattr(helpers, "_words", xmem.Words)
    refused = clicks.propose(asked(session, words="a car"))["refused"]
    assert "needs the library transformers" in refused and "'.[helpers]'" in refused
    with gr.Blocks() as page:
        settings.build()
    shown = [block.value for block in page.blocks.values() if getattr(block, "elem_id", "") == "clicker-note"]
    assert len(shown) == 1 and "pip install" in shown[0]
    monkeypatch.setattr(helpers, "is_installed", lambda: True)
    with gr.Blocks() as page:
        settings.build()
        canvas = painter.painter("two")
    (choice,) = [block for block in page.blocks.values() if getattr(block, "elem_id", "") == "clicker"]
    assert [name for _, name in choice.choices] == ["xmem-click", "sam2.1-tiny", "sam2.1-small"]
    assert "p-words" in str(canvas.html_template)


def test_a_program_names_network_and_words(session, visitor, clicker, monkeypatch):
    monkeypatch.setattr(helpers, "words", Finding)
    api.click(0, 1, [], visitor, words="a car", model="sam2.1-tiny")
    assert studio.session_of(visitor).mask(0).sum() == 160 * 180
