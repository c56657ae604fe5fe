"""The object is clicked: selected, corrected and tracked without a brush, by the network that comes along."""

import pytest

from tests.browser.test_page import at, go, keys, painted, press, run, says, settled, shows, still, trimming
from xmem.resources import SAMPLE_VIDEO

pytestmark = pytest.mark.browser

BUNNY, ROCK, EAR = (209, 207), (107, 203), (275, 110)


@pytest.fixture
def bunny(page):
    """The sample's video with nothing painted, trimmed to its first frames."""
    page.set_input_files("#video input[type=file]", str(SAMPLE_VIDEO))
    shows(page, 0)
    trimming(page)
    page.fill("#trim-last input[type=number]", "4")
    page.keyboard.press("Tab")
    says(page, "#trim-note", "Frames 1 to 4")
    page.wait_for_function("document.querySelector('.p-range').max === '3'")  # the canvas has it, too
    still(page, ".p-view")
    return page


def red(page) -> float:
    return painted(page).get("red", [0])[0]


def proposed(page) -> float:
    """Pixels of what a click would take, once the pointer rests."""
    page.wait_for_selector(".p-proposal[data-pixels='1'][data-look='closer']", state="attached")
    return page.evaluate(
        """() => { const c = document.querySelector(".p-proposal");
        const { data } = c.getContext("2d").getImageData(0, 0, c.width, c.height);
        return data.filter((value, i) => i % 4 === 3 && value).length; }"""
    )


def test_an_object_is_selected_corrected_and_tracked_by_clicks_alone(bunny):
    page = bunny
    page.mouse.move(*at(page, *ROCK))
    page.mouse.move(*at(page, *BUNNY))
    shown = proposed(page)
    assert painted(page) == {}, "what is proposed is not painted"
    page.mouse.click(*at(page, *BUNNY))
    first = red(page)
    assert first == shown, "a click takes what was shown"
    assert 8_000 < first < 50_000, "one click takes about the object"
    page.mouse.click(*at(page, *EAR))
    second = red(page)
    assert second != first and page.locator(".p-click").count() == 2
    page.keyboard.press("Control+z")
    settled(page)
    assert red(page) == first and page.locator(".p-click").count() == 1, "each click is undone by itself"

    run(page)
    go(page, 3)
    before = red(page)
    page.mouse.click(*at(page, *ROCK), button="right")
    settled(page)
    keys(page, 0, 3)
    assert red(page) != before, "the predicted mask is corrected"


def test_marks_of_clicks_stay_with_their_frame_while_others_are_passed_over(bunny):
    page = bunny
    page.mouse.click(*at(page, *BUNNY))
    settled(page)
    assert page.locator(".p-click").is_visible()
    plot = page.locator(".t-plot").bounding_box()
    page.mouse.move(plot["x"] + plot["width"] - 2, plot["y"] + 8)
    page.mouse.down()
    page.wait_for_selector(".p-reel:not([hidden])")
    assert not page.locator(".p-click").is_visible()
    page.mouse.up()
    shows(page, 3)
    assert page.locator(".p-click").count() == 0


def test_a_finger_that_comes_down_is_answered_before_it_is_lifted(bunny):
    """A finger does not rest on the object beforehand: the time that a tap takes is used."""
    page, asked = bunny, []
    touch = page.context.new_cdp_session(page)
    page.on("request", lambda request: asked.append(request) if '"propose"' in (request.post_data or "") else None)
    x, y = at(page, *BUNNY)
    with page.expect_response(lambda response: '"propose"' in (response.request.post_data or "")):
        touch.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [{"x": x, "y": y}]})
    assert painted(page) == {}, "it may still become a box"
    sent = page.get_attribute(".p-root", "data-token")
    page.fill("#trim-last input[type=number]", "3")  # what was asked for earlier may be answered meanwhile
    page.keyboard.press("Tab")
    page.wait_for_function("(sent) => document.querySelector('.p-root').dataset.token !== sent", arg=sent)
    touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    page.wait_for_selector(".p-click", state="attached")
    settled(page)
    assert 8_000 < red(page) < 50_000
    assert len(asked) == 1, "the tap takes the answer that it has"
    touch.detach()


def test_enter_begins_another_object_and_a_box_is_dragged(bunny):
    page = bunny
    page.mouse.click(*at(page, *BUNNY))
    assert red(page) > 8_000
    page.keyboard.press("Enter")
    left, top = at(page, 400, 130)
    page.mouse.move(left, top)
    page.mouse.down()
    page.mouse.move(*at(page, 630, 225), steps=4)
    page.mouse.up()
    settled(page)
    assert page.locator(".p-object").count() == 2 and "blue" in painted(page)
    assert red(page) > 8_000


def test_words_make_a_first_mask_that_is_undone_like_a_click(bunny):
    pytest.importorskip("transformers")
    page = bunny
    page.fill(".p-words input", "a red disc")
    page.press(".p-words input", "Enter")
    page.wait_for_selector(".p-object")
    settled(page)
    assert red(page) > 0
    page.mouse.click(*at(page, *ROCK))
    assert painted(page) != {} and page.locator(".p-click").count() == 1, "a click goes on from what was found"
    page.keyboard.press("Control+z")
    page.keyboard.press("Control+z")
    settled(page)
    assert painted(page) == {}


def test_a_dot_of_paint_says_that_one_may_click(bunny):
    page = bunny
    press(page, "[data-tool=brush]")
    page.mouse.click(*at(page, *BUNNY))
    settled(page)
    assert "one click takes the whole object" in page.inner_text(".p-hint"), "also once the server has the dot"
    page.mouse.down()
    page.mouse.move(*at(page, *EAR), steps=3)
    page.mouse.up()
    settled(page)
    assert page.inner_text(".p-hint") == "", "a stroke is no dot"
    page.mouse.click(*at(page, *BUNNY))
    settled(page)
    assert page.inner_text(".p-hint") == "", "nor is a touch to what is painted"
