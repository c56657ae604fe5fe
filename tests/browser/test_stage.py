"""The stage by its numbers: what the first screen holds, what scrubbing draws, what a phone's fingers do."""

from pathlib import Path

import pytest

from tests.browser.conftest import visiting, write_plain_clip
from tests.browser.test_page import at, dab, go, painted, press, says, shows, still

pytestmark = pytest.mark.browser

WIDE, TALL = (1280, 720, 300), (360, 640, 40)
SCREEN = {"width": 1280, "height": 800}
MAIN_LINE = (".p-bar", ".p-view", ".p-frames", "#overview", ".p-side", "#run")
# An element's left, top, right, bottom on the screen.
BOX = (
    "(s) => { const b = document.querySelector(s).getBoundingClientRect(); return [b.left, b.top, b.right, b.bottom]; }"
)
# Frames that the reel drew, in their order, noted from now on.
NOTE_DRAWS = """() => {
  window.drawn = [];
  new MutationObserver(() => window.drawn.push(Number(document.querySelector('.p-reel').dataset.frame)))
    .observe(document.querySelector('.p-reel'), { attributes: true, attributeFilter: ['data-draws'] });
}"""

# When a picture was asked for last; before any script of the page.
NOTE_ASKED = """(() => {
  const draw = window.requestAnimationFrame;
  window.requestAnimationFrame = (work) => { window.lastAsked = performance.now(); return draw.call(window, work); };
})()"""


@pytest.fixture(scope="module")
def wide(server, window, tmp_path_factory):
    """A visit with a clip of 300 frames whose small pictures have all come."""
    path = write_plain_clip(tmp_path_factory.mktemp("wide") / "wide.mp4", *WIDE)
    with visiting(window, server):
        window.set_viewport_size(SCREEN)
        opened(window, path)
        window.wait_for_function("window.xmemStage.isComplete()", timeout=120_000)
        yield window


def opened(page, path: Path) -> None:
    page.set_input_files("#video input[type=file]", str(path))
    shows(page, 0)
    still(page, ".p-view")


def test_the_first_screen_holds_the_main_line(wide):
    page = wide
    boxes = {name: page.evaluate(BOX, name) for name in MAIN_LINE}
    for name, (left, top, right, bottom) in boxes.items():
        assert left >= 0 and top >= 0 and right <= SCREEN["width"] and bottom <= SCREEN["height"], (name, boxes[name])
    left, top, right, bottom = boxes[".p-view"]
    assert (right - left) * (bottom - top) > 0.36 * SCREEN["width"] * SCREEN["height"], "the picture is large"
    assert boxes[".p-side"][0] >= right, "objects are beside it"
    assert boxes["#overview"][1] >= boxes[".p-frames"][1] >= bottom, "frames and timeline are below it"


def test_scrubbing_draws_every_place_without_asking_the_server(wide):
    page, asked = wide, []

    def note(request) -> None:
        is_news = "component_server" in request.url and "news" in (request.post_data or "")
        if request.method == "POST" and not is_news:
            asked.append(request.url)

    says(page, "#estimate", "of memory")  # the last thing to arrive: from here on only the news are asked for
    page.wait_for_function("!document.querySelector('.p-root').classList.contains('is-busy')")
    page.on("request", note)
    page.evaluate(NOTE_DRAWS)
    left, top, right, _ = page.evaluate(BOX, ".t-plot")
    places = [left + (right - left) * (3 + 4 * i) / (WIDE[2] - 1) for i in range(60)]
    page.mouse.move(places[0], top + 8)
    page.mouse.down()
    for x in places[1:]:
        page.mouse.move(x, top + 8)
    page.wait_for_function("(frame) => window.drawn.at(-1) === frame", arg=3 + 4 * 59)
    during = list(asked)
    page.remove_listener("request", note)
    page.mouse.up()
    shows(page, 3 + 4 * 59)
    drawn = page.evaluate("window.drawn")
    assert len(set(drawn)) >= 55, "of 60 places"
    assert drawn == sorted(drawn), "none is overtaken by an earlier one"
    assert during == [], "nothing is asked for"


def test_space_plays_and_the_masks_go_with_it(wide):
    page = wide
    go(page, 0)
    page.evaluate(NOTE_DRAWS)
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press(" ")
    page.wait_for_function("new Set(window.drawn).size >= 12")
    page.keyboard.press(" ")
    page.wait_for_selector(".p-root:not(.is-playing)")
    page.wait_for_function("document.querySelector('.p-reel').hidden")
    assert page.evaluate("Number(document.querySelector('.p-number').value)") >= 12


def test_keys_work_on_the_whole_page_but_where_text_is_typed(wide):
    page = wide
    go(page, 10)
    page.focus("#another")
    page.keyboard.press("ArrowRight")
    shows(page, 11)
    page.fill(".p-number", "21")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    shows(page, 20)
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("?")
    page.wait_for_selector(".p-help[open]")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Escape")
    page.wait_for_selector(".p-help:not([open])", state="attached")
    shows(page, 20)


def test_a_portrait_clip_fits_and_two_fingers_zoom_without_paint(page, tmp_path):
    opened(page, write_plain_clip(tmp_path / "tall.mp4", *TALL))
    page.set_viewport_size({"width": 390, "height": 844})
    still(page, ".p-view")
    for name in (".p-view", ".p-frames", ".p-bar"):
        left, top, right, bottom = page.evaluate(BOX, name)
        assert left >= 0 and right <= 390 and top >= 0 and bottom <= 844, name
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    fingers(page, [(150, 200)], "pointerdown")
    fingers(page, [(160, 210)], "pointermove")
    fingers(page, [(160, 210), (230, 300)], "pointerdown", only=1)
    fingers(page, [(120, 160), (270, 350)], "pointermove")
    fingers(page, [(120, 160), (270, 350)], "pointerup")
    assert painted(page) == {}, "the first finger's stroke is taken back"
    assert (
        page.evaluate("document.querySelector('.p-stage').offsetWidth / document.querySelector('.p-view').clientWidth")
        > 1.4
    )
    dab(page, *at(page, 150, 300))
    assert painted(page), "one finger, or a mouse, still paints"
    press(page, ".p-out")


def fingers(page, places, kind: str, only: int | None = None) -> None:
    """Touch events of fingers at places of the screen, those of one finger alone where `only` names it."""
    for number, (x, y) in enumerate(places):
        if only in (None, number):
            page.evaluate(
                """([kind, id, x, y]) => {
                  const target = document.elementFromPoint(x, y) ?? document.querySelector('.p-paper');
                  target.setPointerCapture = () => {};
                  target.dispatchEvent(new PointerEvent(kind, {
                    pointerId: 50 + id, pointerType: 'touch', isPrimary: id === 0, clientX: x, clientY: y,
                    bubbles: true, cancelable: true, button: 0, buttons: 1 }));
                }""",
                [kind, number, x, y],
            )


def test_a_page_on_which_nothing_happens_draws_nothing(page, clips):
    page.add_init_script(NOTE_ASKED)
    page.reload()
    opened(page, clips[320, 180])
    says(page, "#estimate", "of memory")
    page.wait_for_function("performance.now() - window.lastAsked > 600", polling=100)
