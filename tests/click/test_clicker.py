"""Clicks on an image: what they mean, at the image's size, and what is kept between them."""

import numpy as np
import pytest
from PIL import Image

from tests.click.conftest import picture
from xmem.click import Clicker
from xmem.click.held import without_specks
from xmem.click.looks import MOST_VIEWS
from xmem.click.simulate import next_click
from xmem.errors import InputError
from xmem.resources import SAMPLE_VIDEO
from xmem.scoring.metrics import region_similarity
from xmem.video import FrameReader


@pytest.fixture(scope="module")
def shipped():
    return Clicker(device="cpu", precision="float32")


def test_a_click_takes_the_object_and_further_ones_mend_it(shipped):
    image = next(iter(FrameReader(SAMPLE_VIDEO))).image
    truth = np.array(Image.open(SAMPLE_VIDEO.with_suffix(".png"))) > 0
    held, mask, clicks, ious = shipped.image(image), np.zeros_like(truth), [], []
    for _ in range(3):
        x, y, of = next_click(truth, mask)
        clicks.append((x, y, of > 0))
        mask = held.mask(clicks)
        ious.append(region_similarity(mask, truth))
    assert ious[0] > 0.5 and ious[-1] > 0.7
    assert region_similarity(held.mask([clicks[0]], previous=truth), truth) > ious[0]


@pytest.mark.parametrize("size", [(50, 41), (640, 33), (33, 200)])
def test_the_mask_has_the_size_of_the_image_whatever_it_is(random_clicker, size):
    image = np.zeros((*size, 3), np.uint8)
    mask = random_clicker.image(image).mask([(1, 1, True)])
    assert mask.shape == size and mask.dtype == bool


def test_the_same_clicks_give_the_same_mask_after_others_and_in_another_hold(random_clicker):
    image = picture()[0]
    held = random_clicker.image(image)
    clicks = [(40, 70, True), (150, 70, False)]
    first = held.mask(clicks)
    held.mask([*clicks, (20, 20, True)])
    assert np.array_equal(held.mask(clicks), first)
    assert np.array_equal(random_clicker.image(image).mask(clicks), first)


def test_what_is_kept_of_an_image_is_bounded(random_clicker, monkeypatch):
    monkeypatch.setattr("xmem.click.held.MOST_ANSWERS", 3)
    held = random_clicker.image(picture()[0])
    for x in range(8):
        held.mask([(10 + x, 30, True)])
    assert len(held._answers) == 3 and len(held._views) <= MOST_VIEWS


def test_a_small_object_is_looked_at_closer_once_and_no_more_than_it_must(random_clicker, monkeypatch):
    held = random_clicker.image(np.zeros((400, 600, 3), np.uint8))
    looks = []
    look = held._look
    monkeypatch.setattr(held, "_look", lambda *place: looks.append(place) or look(*place))
    view = held._closer((100.0, 100.0, 200.0, 180.0))
    assert view.size[1] > 1.5 * 100 and len(looks) == 1
    assert held._closer((105.0, 104.0, 198.0, 178.0)) is view and len(looks) == 1
    held._closer((400.0, 100.0, 500.0, 180.0))
    assert len(looks) == 2


def test_a_quick_answer_makes_no_closer_look_and_goes_on_from_what_was_taken(shipped, monkeypatch):
    held, click = shipped.image(picture(400, 280)[0]), (100, 140, True)
    assert held.mask([click], quick=True).any() and not held._views
    held.mask([click])
    before = held._answers[(click,), None, None, False]
    seen = []
    decide = held._decide
    monkeypatch.setattr(held, "_decide", lambda *given: seen.append(given[3]) or decide(*given))
    held.mask([click, (104, 140, True)], quick=True)
    assert len(seen) == 1 and seen[0] is before and len(held._views) == 1


def test_a_further_click_is_answered_in_the_look_before_unless_that_ends_too_near(random_clicker, monkeypatch):
    held = random_clicker.image(np.zeros((400, 600, 3), np.uint8))
    looks, blob = [], [260, 160, 340, 240]

    def decode(view, clicks, box, previous):
        looks.append(view)
        logits = np.full((view.size[0] // 2, view.size[1] // 2), -5, np.float32)
        left, top = (round(v / 2) for v in view.place(blob[0], blob[1]))
        right, bottom = (round(v / 2) for v in view.place(blob[2], blob[3]))
        logits[max(0, top) : bottom, max(0, left) : right] = 5
        return logits

    monkeypatch.setattr(held, "_decode", decode)
    first, second = (300, 200, True), (310, 210, True)
    held.mask([first])
    whole, closer = looks
    held.mask([first, second])
    assert looks[2:] == [closer], "no more than one answer of the network"
    held.mask([first, second, (590, 390, False)])
    assert looks[3] is whole and len(looks) == 5, "it lies outside of the look"
    blob[2] = closer.left + closer.width
    held.mask([first, (305, 205, True)])
    assert looks[5:7] == [closer, whole] and looks[7] is not closer, "the object goes on outside of the look"


def test_specks_are_dropped_but_where_somebody_clicked_on_them():
    mask = np.zeros((60, 80), bool)
    mask[10:40, 10:50], mask[50:53, 60:63], mask[50:53, 70:73] = True, True, True
    kept = without_specks(mask, [(61, 51, True), (71, 51, False)])
    assert kept[20, 20] and kept[51, 61] and not kept[51, 71]
    assert not without_specks(np.zeros((4, 4), bool), []).any()


def test_all_of_the_image_is_looked_at_closer_where_the_object_fills_it_and_nothing_where_there_is_none(random_clicker):
    held = random_clicker.image(np.zeros((300, 400, 3), np.uint8))
    everywhere, nowhere = np.ones((96, 128), np.float32), np.zeros((96, 128), np.float32)
    assert held._around((everywhere, held._whole), [(5, 5, True)], None) == (0, 0, 400, 300)
    assert held._around((nowhere, held._whole), [(5, 5, True)], None) is None


def test_a_mask_is_not_cut_where_a_closer_look_ends(random_clicker, monkeypatch):
    """The first look finds a part of the object alone; a closer one finds more, as far as it shows it."""
    held = random_clicker.image(np.zeros((400, 600, 3), np.uint8))
    looks = []

    def decode(view, clicks, box, previous):
        looks.append(view)
        right = 320 if view is held._whole else 365
        logits = np.full((view.size[0] // 2, view.size[1] // 2), -5, np.float32)
        (left, top), (right, bottom) = (view.place(*corner) for corner in ((260, 160), (right, 240)))
        logits[max(0, round(top / 2)) : round(bottom / 2), max(0, round(left / 2)) : round(right / 2)] = 5
        return logits

    monkeypatch.setattr(held, "_decode", decode)
    mask = held.mask([(300, 200, True)])
    assert len(looks) == 3 and looks[1].left + looks[1].width < 365 < looks[2].left + looks[2].width
    rows, columns = np.nonzero(mask)
    assert abs(columns.max() - 365) <= 3 and abs(rows.max() - 240) <= 3
    held.mask([(300, 200, True), (310, 210, True)])
    assert looks[3:] == [looks[2]], "further clicks are answered in the wider look"


@pytest.mark.parametrize("kind", [np.int64, np.float64, np.float32, float])
def test_places_may_be_any_numbers(random_clicker, kind):
    image = picture()[0]
    plain = random_clicker.image(image).mask([(40, 70, True)], box=(20, 20, 90, 120))
    box = tuple(kind(side) for side in (20, 20, 90, 120))
    assert np.array_equal(random_clicker.image(image).mask([(kind(40), kind(70), True)], box=box), plain)


@pytest.mark.parametrize(
    ("clicks", "box", "previous", "words"),
    [
        ([], None, None, "click on it, or give a box"),
        ([(200, 5, True)], None, None, "outside the image of 200 x 140"),
        ([(-1, 5, True)], None, None, "outside the image"),
        ([(float("nan"), 5, True)], None, None, "outside the image"),
        ([(5, 5, True)], (9, 9, 9, 20), None, "left before right"),
        ([(5, 5, True)], None, np.zeros((4, 4), bool), "The earlier mask is 4 x 4"),
    ],
)
def test_what_cannot_be_meant_is_said_in_a_sentence(random_clicker, clicks, box, previous, words):
    with pytest.raises(InputError, match=words):
        random_clicker.image(picture()[0]).mask(clicks, box, previous)


def test_an_image_of_another_kind_is_refused(random_clicker):
    with pytest.raises(InputError, match="RGB, 8 bits"):
        random_clicker.image(np.zeros((4, 4), np.uint8))


def test_a_file_of_another_network_is_refused(tmp_path):
    from safetensors.numpy import save_file

    save_file({"weight": np.zeros(3, np.float32)}, tmp_path / "other.safetensors")
    with pytest.raises(InputError, match="not a complete click network checkpoint"):
        Clicker(tmp_path / "other.safetensors", "cpu")


def test_the_network_is_no_tracker(random_weights):
    from xmem.checkpoints import REGISTRY, load_model, own_files

    assert "xmem-click" not in REGISTRY and "xmem-click" not in [path.stem for path in own_files()]
    with pytest.raises(InputError, match="none of the networks"):
        load_model(random_weights, "cpu")
