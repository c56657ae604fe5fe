"""For everybody: WCAG AA by axe-core, the order of Tab, a phone's width, and who asked for less motion."""

import pytest
from axe_playwright_python.sync_playwright import Axe

from tests.browser.test_page import still

pytestmark = pytest.mark.browser

AA = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
RULES = {"light": AA, "dark": ["color-contrast"]}  # all but colours is the same in both
PHONE = {"width": 390, "height": 844}
FILM = "document.querySelector('.showcase video')"
# Light or dark, at once: colours that change slowly are there.
COLOURS = """async (isDark) => {
  document.body.classList.toggle('dark', isDark);
  await new Promise(requestAnimationFrame);
  for (const each of document.getAnimations()) if (each.effect.getComputedTiming().endTime < Infinity) each.finish();
}"""
# Where the focus is: the nearest thing with a name, and whose part of the page it is.
FOCUS = """() => {
  const at = document.activeElement;
  const own = ['another', 'run'].includes(at.id) ? '#' + at.id : at.classList[0] && '.' + at.classList[0];
  return [own, '.p-view .p-bar .p-frames .p-objects .p-free'.split(' ').find((part) => at.closest(part))];
}"""


def violations(page, look: str) -> list[str]:
    """What breaks a rule in light or dark."""
    page.evaluate(COLOURS, look == "dark")
    options = {"runOnly": RULES[look], "resultTypes": ["violations"], "preload": False}
    found = Axe().run(page, options=options).response["violations"]
    return [f"{look}: {rule['id']} {node['target']} {node['html'][:200]}" for rule in found for node in rule["nodes"]]


def overflow(page) -> int:
    """Pixels by which a phone's page would scroll sideways."""
    page.set_viewport_size(PHONE)
    still(page, "#masthead")
    return page.evaluate("document.documentElement.scrollWidth - innerWidth")


def test_the_first_stored_clip_plays_on_the_empty_page_which_everybody_can_read(page):
    page.wait_for_selector(".showcase video")
    page.wait_for_function(f"{FILM}.currentTime > 0.2 && {FILM}.muted && {FILM}.loop")
    page.click(".showcase button[aria-label=Pause]")
    page.wait_for_function(f"{FILM}.paused")
    assert violations(page, "light") == []
    assert violations(page, "dark") == []
    assert page.inner_text("#allowed").startswith("Up to ")
    assert overflow(page) <= 0


def test_who_asked_for_less_motion_sees_a_picture_that_plays_when_told(page):
    page.emulate_media(reduced_motion="reduce")
    try:
        page.reload()
        page.wait_for_selector(".showcase button[aria-label=Play]")
        page.evaluate(
            f"new Promise((done) => new IntersectionObserver(() => requestAnimationFrame(done)).observe({FILM}))"
        )
        assert page.evaluate(f"{FILM}.paused && !{FILM}.src")
        page.click(".showcase button")
        page.wait_for_function(f"{FILM}.currentTime > 0")
    finally:
        page.emulate_media(reduced_motion="no-preference")


def test_an_open_clip_is_read_and_worked_by_everybody(page, server):
    page.goto(f"{server}/?gallery=chair")
    page.wait_for_selector("#take >> visible=true")
    page.wait_for_selector(".p-right:visible")
    stops = []
    while len(stops) < 20 and "#run" not in [own for own, _ in stops]:
        page.keyboard.press("Tab")
        stops.append(page.evaluate(FOCUS))
    assert stops[-1][0] == "#run" and len(stops) <= 12, stops
    parts = [part for part in dict.fromkeys(part for _, part in stops) if part]
    assert parts == [".p-view", ".p-bar", ".p-frames", ".p-objects", ".p-free"], "the order of the work"

    page.focus(".p-dot")
    for _ in range(2):  # and back again
        page.evaluate("document.querySelector('.p-eye').click()")
        assert page.evaluate("document.activeElement.className") == "p-dot", "what is drawn anew keeps the focus"

    page.focus(".p-view")
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.dataset.tool") == "brush", "arrow keys go between tools"
    assert page.get_attribute(".p-root", "data-frame") == "23", "and not between frames"

    page.evaluate("document.querySelector('#settings button').click()")
    page.wait_for_selector("#settings label:visible")
    assert violations(page, "light") == []
    assert violations(page, "dark") == []
    assert overflow(page) <= 0
    line = page.evaluate("document.querySelector('.facts').getBoundingClientRect().height")
    assert line < 30, "what the clip is takes one line of a phone"
