"""The page as a visitor meets it: a real server, a real browser, a real mouse and keyboard."""

import io
import math
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from demo.stage.video import SAMPLE_MASK, SAMPLE_VIDEO
from tests.browser.conftest import MOST_FRAMES, write_plain_clip
from xmem import Session

pytestmark = pytest.mark.browser

MARKERS = {(640, 360): ((180, 120), (450, 250)), (360, 640): ((100, 170), (260, 450))}
SMALL = (320, 180)  # runs are quick
FRAMES = 12
LEAST_BRUSH = 5

# The painted pixels of the canvas, in pixels of the video: {id of a colour: [count, mean x, mean y]}.
PAINTED = """() => {
  const paper = document.querySelector('.p-paper'), { width, height } = paper;
  const data = paper.getContext('2d').getImageData(0, 0, width, height).data, found = {};
  for (let i = 0; i < width * height; i++) {
    if (!data[4 * i + 3]) continue;
    const name = data[4 * i] > 200 && data[4 * i + 2] < 120 ? 'red' : data[4 * i + 2] > 200 ? 'blue' : 'other';
    const sums = found[name] ??= [0, 0, 0];
    sums[0]++; sums[1] += i % width; sums[2] += Math.floor(i / width);
  }
  for (const sums of Object.values(found)) { sums[1] /= sums[0]; sums[2] /= sums[0]; }
  return found;
}"""

BRUSH_FOR_CLICKS = """() => {
  if (document.querySelector('.p-root').dataset.tool === 'click') document.querySelector('[data-tool=brush]').click();
}"""

# Resolves once an element has not moved for ten pictures in a row.
STILL = """(selector) => new Promise((done) => {
  const element = document.querySelector(selector);
  let before = "", count = 0;
  const look = () => {
    const box = element.getBoundingClientRect(), now = [box.x, box.y, box.width, box.height].join();
    count = now === before ? count + 1 : 0;
    before = now;
    count < 10 ? requestAnimationFrame(look) : done();
  };
  look();
})"""


def press(page, selector: str) -> None:
    """A click that does not wait for the page to hold still, which it does not while it works."""
    page.evaluate("(selector) => document.querySelector(selector).click()", selector)


def upload(page, path: Path) -> None:
    page.set_input_files("#video input[type=file]", str(path))
    page.wait_for_selector(".p-root[data-frame='0']", state="attached")
    press(page, "[data-tool=brush]")
    still(page, ".p-view")


def still(page, selector: str) -> None:
    """Wait until the element has been where it is for some pictures on the screen."""
    page.evaluate(STILL, selector)


def markers_on_screen(page) -> list[tuple[float, float]]:
    """Centres of the two magenta squares as the page shows them, top one first."""
    end = time.monotonic() + 20
    while time.monotonic() < end:
        found = page.locator(".p-view").bounding_box()  # which may begin within a pixel
        left, top = math.floor(found["x"]), math.floor(found["y"])
        width, height = math.ceil(found["width"]), math.ceil(found["height"])
        box = {"x": left, "y": top, "width": width, "height": height}
        image = np.array(Image.open(io.BytesIO(page.screenshot(clip=box))).convert("RGB")).astype(int)
        ys, xs = np.nonzero((image[..., 0] > 180) & (image[..., 1] < 90) & (image[..., 2] > 180))
        if len(ys) > 20:
            top = ys < (ys.min() + ys.max()) / 2
            return [(box["x"] + xs[half].mean() + 0.5, box["y"] + ys[half].mean() + 0.5) for half in (top, ~top)]
        page.wait_for_timeout(200)
    raise AssertionError("the frame did not appear on the canvas")


def at(page, x: float, y: float) -> tuple[float, float]:
    """A point on the screen from one of the video."""
    box = page.locator(".p-paper").bounding_box()
    width, height = page.evaluate("() => { const p = document.querySelector('.p-paper'); return [p.width, p.height]; }")
    return box["x"] + x * box["width"] / width, box["y"] + y * box["height"] / height


def dab(page, x: float, y: float) -> None:
    """A short symmetric stroke centred at (x, y) of the screen, by the brush where clicks were chosen."""
    page.evaluate(BRUSH_FOR_CLICKS)
    page.mouse.move(x - 5, y)
    page.mouse.down()
    page.mouse.move(x + 5, y, steps=3)
    page.mouse.up()


def settled(page) -> None:
    page.evaluate("window.xmemSettled()")


def painted(page) -> dict[str, list[float]]:
    settled(page)
    return page.evaluate(PAINTED)


def go(page, frame: int) -> None:
    page.evaluate("(frame) => window.xmemGo(frame)", frame)
    shows(page, frame)


def shows(page, frame: int) -> None:
    page.wait_for_selector(f".p-root[data-frame='{frame}']", state="attached")
    settled(page)


def keys(page, *frames: int) -> None:
    """Wait until exactly these are the key frames."""
    page.wait_for_function(
        "(frames) => JSON.stringify([...document.querySelectorAll('.k-go')].map((k) => +k.dataset.go)) === frames",
        arg=str(list(frames)).replace(" ", ""),
    )


def trimming(page) -> None:
    """Open the trim, and wait until its sliders have what they begin with: what is typed before that is lost."""
    press(page, "#trim button")
    page.wait_for_function("document.querySelector('#trim-last input[type=number]')?.value > 2")
    still(page, "#trim-last")  # the page hands an opened part its values a picture after it is there


def says(page, selector: str, text: str) -> None:
    page.wait_for_function(
        "([selector, text]) => document.querySelector(selector)?.innerText.includes(text)", arg=[selector, text]
    )


def run(page) -> None:
    """Run, and wait for the result."""
    press(page, "#run")
    page.wait_for_selector("#stop:visible")
    page.wait_for_selector("#run:visible", timeout=120_000)
    page.wait_for_selector("#panel .run.done")


@pytest.fixture(scope="module")
def sample(tmp_path_factory) -> Path:
    """A bundle of 90 frames, painted on the first one."""
    folder = tmp_path_factory.mktemp("sample")
    session = Session.create(SAMPLE_VIDEO, folder / "session")
    session.set_key_frame(0, (np.array(Image.open(SAMPLE_MASK)) > 0).astype(np.uint8))
    session.update_object(1, name="Bunny")
    return session.save_bundle(folder / "big-buck-bunny.zip")


@pytest.mark.parametrize("size", [(640, 360), (360, 640)])
def test_what_the_mouse_paints_is_where_it_was_painted_and_comes_back_in_place(page, clips, size):
    """Centroids are exact to a pixel, on a later frame too, and the same after leaving the frame and coming back."""
    upload(page, clips[size])
    says(page, "#estimate", "of memory")  # the last thing to arrive: from here on the page stands still
    go(page, 7)
    still(page, ".p-view")
    first, second = markers_on_screen(page)
    dab(page, *first)
    press(page, ".p-dot[data-color='1']")
    dab(page, *second)
    before = painted(page)
    for (x, y), color in zip(MARKERS[size], ("red", "blue"), strict=True):
        assert abs(before[color][1] - x) <= 1 and abs(before[color][2] - y) <= 1
    go(page, 2)
    assert painted(page) == {}
    go(page, 7)
    assert painted(page) == before
    keys(page, 7)


def test_how_often_is_remembered_is_left_to_the_network_until_a_number_is_asked_for(page, clips):
    """And again after "Defaults"; the other numbers stay numbers."""
    upload(page, clips[320, 180])
    press(page, "#settings button")
    page.wait_for_selector("#memory button:visible")
    press(page, "#memory button")
    page.wait_for_selector("#m-mem_every-none:visible")
    assert page.is_checked("#m-mem_every-none") and page.is_hidden("#m-mem_every")
    page.uncheck("#m-mem_every-none")
    assert page.input_value("#m-mem_every:visible") == "5"
    page.fill("#m-mem_every", "")
    page.press("#m-mem_every", "Tab")
    assert page.input_value("#m-mem_every") == "5", "a field that is emptied has what it began with"
    page.fill("#m-top_k", "9")
    page.press("#m-top_k", "Tab")
    press(page, ".m-reset")
    page.wait_for_function("document.querySelector('#m-mem_every-none').checked")
    assert page.is_hidden("#m-mem_every") and page.input_value("#m-top_k") == "30"


@pytest.mark.parametrize(("width", "size"), [(1280, (640, 360)), (660, (360, 640)), (390, (360, 640))])
def test_the_canvas_stays_in_place_when_the_estimate_arrives(page, clips, width, size):
    """Its text comes seconds after the frame is there to be painted on, and would move it under the brush."""
    page.set_viewport_size({"width": width, "height": 760})
    page.set_input_files("#video input[type=file]", str(clips[size]))
    shows(page, 0)
    top = "() => document.querySelector('.p-view').getBoundingClientRect().top + scrollY"
    before = page.evaluate(top)
    says(page, "#estimate", "of memory")
    assert abs(page.evaluate(top) - before) <= 0.5
    assert page.evaluate("document.querySelector('.t-plot').getBoundingClientRect().width") >= 340


def test_a_stroke_while_the_frame_changes_stays_on_its_own_frame(page, clips):
    upload(page, clips[640, 360])
    page.evaluate("() => { window.xmemGo(3); }")
    dab(page, *at(page, 300, 200))  # before the next frame has arrived, or just after
    page.evaluate("() => { window.xmemGo(9); }")
    shows(page, 9)
    assert painted(page) == {}
    frames = page.eval_on_selector_all(".k-go", "keys => keys.map((key) => +key.dataset.go)")
    assert all(frame in (0, 3) for frame in frames)


def test_a_correction_computes_only_its_spans_and_undo_brings_the_result_back(page, clips):
    upload(page, clips[SMALL])
    dab(page, *at(page, 90, 60))
    says(page, "#pending", "12 frames to compute.")
    run(page)
    says(page, "#panel", "Done: 12 frames")
    says(page, "#pending", "Everything is up to date.")
    assert page.locator("#check").is_visible() and page.locator("#take").is_visible()
    go(page, 6)
    press(page, ".p-clear")
    dab(page, *at(page, 225, 125))
    keys(page, 0, 6)
    says(page, "#old-take", "The masks were made before your last change: run again.")
    run(page)
    page.wait_for_function("document.querySelector('#old-take').innerText === ''")
    go(page, 9)
    press(page, ".p-clear")
    dab(page, *at(page, 150, 100))
    says(page, "#pending", "1 of 3 spans is up to date; 6 frames to compute.")
    run(page)
    says(page, "#pending", "Everything is up to date.")
    page.keyboard.press("Control+z")
    page.keyboard.press("Control+z")
    keys(page, 0, 6)
    says(page, "#pending", "Everything is up to date.")
    press(page, "[data-remove='6']")
    keys(page, 0)


def test_a_right_mask_is_accepted_and_a_correction_goes_no_further_than_is_chosen(page, clips):
    upload(page, clips[SMALL])
    dab(page, *at(page, 90, 60))
    run(page)
    says(page, "#pending", "Everything is up to date.")
    assert not page.locator("#scope").is_visible()
    go(page, 5)
    page.wait_for_selector(".p-right:visible")
    press(page, ".p-right")
    keys(page, 0, 5)
    page.wait_for_selector(".p-key:visible")
    says(page, "#pending", "Everything is up to date.")
    go(page, 8)
    press(page, "[data-tool=erase]")  # the tiny network's mask may be everywhere
    dab(page, *at(page, 225, 125))
    keys(page, 0, 5, 8)
    page.wait_for_selector("#scope:visible")
    page.locator("#scope label", has_text="This frame only").click()
    press(page, "#run")
    says(page, "#panel", "The other frames stay as they were")
    says(page, "#pending", "Everything is up to date.")


def test_the_timeline_leads_to_frames(page, clips):
    upload(page, clips[SMALL])
    dab(page, *at(page, 90, 60))
    run(page)
    page.wait_for_selector(".t-plot")
    page.evaluate("document.querySelector('.t-plot').scrollIntoView({block: 'center'})")
    still(page, ".t-plot")
    box = page.locator(".t-plot").bounding_box()
    page.mouse.click(box["x"] + box["width"] * 8 / (FRAMES - 1), box["y"] + box["height"] / 2)
    shows(page, 8)
    page.focus(".t-key")
    page.keyboard.press("Enter")
    shows(page, 0)
    page.set_viewport_size({"width": 390, "height": 844})
    page.wait_for_timeout(500)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390, "a phone needs no sideways scrolling"


def test_what_grows_above_the_canvas_does_not_bend_a_stroke(page, clips):
    upload(page, clips[640, 360])
    page.mouse.move(*at(page, 100, 200))
    page.mouse.down()
    there = at(page, 120, 200)  # the hand knows nothing of what grows: the canvas comes back under it
    page.evaluate("document.querySelector('#video-note').style.paddingTop = '60px'")
    page.mouse.move(*there)
    box = page.locator(".p-paper").bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.7, box["y"] + box["height"] * 200 / 360, steps=4)
    page.mouse.up()
    assert abs(painted(page)["red"][2] - 200) < 12


def test_undo_and_redo_by_keyboard_but_not_while_typing(page, clips):
    upload(page, clips[640, 360])
    dab(page, *at(page, 180, 120))
    dab(page, *at(page, 450, 250))
    both = painted(page)["red"][0]
    page.keyboard.press("Control+z")
    one = painted(page)["red"][0]
    assert one < both
    page.keyboard.press("Control+Shift+Z")
    assert painted(page)["red"][0] == both
    page.fill(".p-name", "Goose")
    page.keyboard.press("Control+z")
    assert painted(page)["red"][0] == both
    page.keyboard.press("Enter")


def test_objects_are_named_hidden_coloured_and_deleted(page, clips):
    upload(page, clips[640, 360])
    dab(page, *at(page, 180, 120))
    settled(page)
    page.fill(".p-name", "Goose")
    page.keyboard.press("Enter")
    settled(page)
    page.wait_for_selector("[aria-label='Paint Goose']")
    press(page, "[aria-label='Hide Goose']")
    assert painted(page) == {}
    press(page, "[aria-label='Show Goose']")
    assert set(painted(page)) == {"red"}
    press(page, "[aria-label='Colour of Goose: red']")
    press(page, ".p-palette [aria-label=blue]")
    assert set(painted(page)) == {"blue"}
    press(page, "[aria-label='Delete Goose']")
    assert painted(page) == {}
    keys(page)


def test_frames_are_reached_by_keyboard(page, clips):
    upload(page, clips[640, 360])
    page.focus(".p-view")
    page.keyboard.press("ArrowRight")
    shows(page, 1)
    page.keyboard.press("Shift+ArrowRight")
    shows(page, 11)
    page.keyboard.press("ArrowLeft")
    shows(page, 10)
    page.keyboard.press("e")
    assert page.get_attribute("button[data-tool=erase]", "aria-pressed") == "true"
    page.keyboard.press("b")
    assert page.get_attribute("button[data-tool=brush]", "aria-pressed") == "true"


def test_eraser_outline_and_polygon(page, clips):
    upload(page, clips[640, 360])
    x, y = 300, 180
    corners = [(x - 60, y - 40), (x + 60, y - 40), (x + 60, y + 40), (x - 60, y + 40)]
    page.mouse.move(*at(page, *corners[-1]))
    page.mouse.down()
    for corner in corners:
        page.mouse.move(*at(page, *corner), steps=6)
    page.mouse.up()
    assert "dot" not in page.inner_text(".p-hint")
    outline = painted(page)["red"]
    assert outline[0] > 120 * 80, "a closed stroke is filled"
    page.keyboard.press("e")
    dab(page, *at(page, x, y))
    erased = painted(page)["red"][0]
    assert 50 < outline[0] - erased < 1000, "what is erased inside stays erased"
    press(page, ".p-clear")
    page.keyboard.press("p")
    for corner in [*corners, corners[0]]:
        page.mouse.click(*at(page, *corner))
    area, mean_x, mean_y = painted(page)["red"]
    assert abs(area - 120 * 80) < 500 and abs(mean_x - x) < 2 and abs(mean_y - y) < 2
    page.keyboard.press("Control+z")
    assert painted(page) == {}


def test_refined_edges_can_be_undone(page, clips):
    upload(page, clips[640, 360])
    dab(page, *at(page, *MARKERS[640, 360][0]))
    sketch = painted(page)
    press(page, ".p-refine")
    settled(page)
    says(page, ".p-note", "edges")
    page.keyboard.press("Control+z") if painted(page) != sketch else None
    assert painted(page) == sketch


def test_the_trim_limits_frames(page, clips):
    upload(page, clips[640, 360])
    trimming(page)
    page.fill("#trim-first input[type=number]", "5")
    page.keyboard.press("Tab")
    says(page, "#trim-note", "Frames 5 to 12")
    shows(page, 4)
    page.focus(".p-view")
    page.keyboard.press("Shift+ArrowLeft")
    page.wait_for_timeout(300)
    shows(page, 4)
    dab(page, *at(page, 180, 120))
    says(page, "#pending", "8 frames to compute.")


def test_the_trim_answers_to_arrow_keys_and_to_enter(page, clips):
    upload(page, clips[640, 360])
    trimming(page)
    page.focus("#trim-last input[type=range]")
    page.keyboard.press("ArrowLeft")
    says(page, "#trim-note", "Frames 1 to 11")
    for _ in range(4):  # quicker than they are answered
        page.keyboard.press("ArrowLeft")
    says(page, "#trim-note", "Frames 1 to 7")
    page.fill("#trim-first input[type=number]", "3")
    page.keyboard.press("Enter")
    says(page, "#trim-note", "Frames 3 to 7")
    page.fill("#trim-first input[type=number]", "99")
    page.keyboard.press("Enter")
    says(page, "#trim-note", "Frames 7 to 12")
    assert [page.input_value(f"#trim-{end} input[type=number]") for end in ("first", "last")] == ["7", "12"]


def test_what_is_painted_while_the_trim_is_answered_stays(page, clips):
    """The trim's answer shows the frame as it was before the stroke that is still on its way."""
    upload(page, clips[640, 360])
    trimming(page)
    held = []

    def hold(route):
        first_stroke = not held and '"colors"' in route.request.post_data
        held.append(route) if first_stroke else route.continue_()

    page.route("**/queue/join*", hold)
    page.fill("#trim-last input[type=number]", "6")
    page.keyboard.press("Tab")
    dab(page, *at(page, 180, 120))
    says(page, "#trim-note", "Frames 1 to 6")
    page.wait_for_function("document.querySelector('.p-range').max === '5'")
    assert page.evaluate(PAINTED).keys() == {"red"}
    held[0].continue_()
    before = painted(page)["red"]
    dab(page, *at(page, 450, 250))
    assert painted(page)["red"][0] > 1.5 * before[0], "the next stroke takes nothing away"
    page.unroute_all()


def test_stop_keeps_what_is_done_and_it_is_gone_on_with(page, sample):
    page.set_input_files("#video input[type=file]", str(sample))
    page.wait_for_selector("[aria-label='Paint Bunny']")
    press(page, "#run")
    page.wait_for_selector("#panel .run:has-text('left')", timeout=90_000)
    panel = page.inner_text("#panel")
    assert "of 90" in panel and "frames/s" in panel and "left" in panel
    press(page, "#stop")
    says(page, "#panel", "Stopped after")
    says(page, "#pending", "90 frames to compute, ")
    says(page, "#run", "Continue from frame")
    press(page, "#start-over")
    page.wait_for_selector("#stop:visible")
    assert not page.is_visible("#start-over")
    late = "document.querySelector('#run-row').insertAdjacentHTML('beforeend', '<button id=start-over>Late</button>')"
    page.evaluate(late)
    assert not page.is_visible("#start-over"), "what was asked for before the run and is answered during it"
    page.evaluate("document.querySelector('#start-over:last-child').remove()")
    page.wait_for_selector("#panel .run:has-text('left')", timeout=90_000)
    press(page, "#stop")
    says(page, "#panel", "Stopped after")
    assert page.inner_text("#old-take") == "", "nothing was changed"


def test_a_bundle_is_resumed(page, clips, tmp_path):
    session = Session.create(clips[640, 360], tmp_path / "session")
    index = np.zeros((360, 640), np.uint8)
    index[100:140, 160:200] = 1
    session.set_key_frame(4, index)
    session.update_object(1, name="Marker")
    bundle = session.save_bundle(tmp_path / "work.zip")
    page.set_input_files("#video input[type=file]", str(bundle))
    shows(page, 4)
    keys(page, 4)
    page.wait_for_selector("[aria-label='Paint Marker']")
    area, x, y = painted(page)["red"]
    assert (area, x, y) == (1600, 179.5, 119.5)


def test_of_a_clip_that_is_too_long_the_beginning_is_taken_by_a_click(page, tmp_path):
    path = write_plain_clip(tmp_path / "long.mp4", 320, 180, MOST_FRAMES + 20)
    page.set_input_files("#video input[type=file]", str(path))
    says(page, "#video-note", f"more than the {MOST_FRAMES} frames")
    assert page.is_visible("#video"), "another clip can be chosen as well"
    for width, height in ((390, 844), (1000, 760)):
        page.set_viewport_size({"width": width, "height": height})
        left, _, right, _ = page.evaluate(
            "(b => [b.left, b.top, b.right, b.bottom])(document.querySelector('.offer').getBoundingClientRect())"
        )
        assert 0 <= left < right <= width, "the sentence and its offer are seen on a phone as well"
    page.click(f"button:has-text('Take its first {MOST_FRAMES} frames')")
    shows(page, 0)
    says(page, "#video-note", f"Its first {MOST_FRAMES} frames were taken.")
    assert not page.is_visible(".offer")


def test_a_clip_whose_frames_are_too_large_is_made_smaller_by_a_click(page, tmp_path):
    path = write_plain_clip(tmp_path / "large.mp4", 1920, 1080, 8)
    page.set_input_files("#video input[type=file]", str(path))
    says(page, "#video-note", "megapixels that are read here")
    page.click("button:has-text('Make it smaller (1280x720)')")
    shows(page, 0)
    assert page.evaluate("(p => [p.width, p.height])(document.querySelector('.p-paper'))") == [1280, 720]
    assert not page.is_visible(".offer")


def test_an_uploaded_mask_is_on_the_canvas_in_its_place(page, clips, tmp_path):
    index = np.zeros((360, 640), np.uint8)
    index[100:180, 60:200], index[200:300, 400:600] = 1, 2
    index[120:140, 80:100] = 0
    mask = Image.fromarray(index, "P")
    mask.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0])
    mask.save(tmp_path / "mask.png")
    upload(page, clips[640, 360])
    go(page, 3)
    page.set_input_files("input[data-testid='Upload a mask-upload-button']", str(tmp_path / "mask.png"))
    keys(page, 3)
    shown = painted(page)
    assert shown["red"][0] == (index == 1).sum() and shown["blue"][0] == (index == 2).sum()


def test_what_is_missing_or_bad_is_said_and_nothing_is_lost(page, clips, tmp_path):
    press(page, "#run")
    page.wait_for_selector("#panel [role=alert]:has-text('There is no video yet')", state="attached")

    (tmp_path / "text.mp4").write_text("not a video at all")
    page.set_input_files("#video input[type=file]", str(tmp_path / "text.mp4"))
    page.wait_for_selector("#video-note [role=alert]")

    upload(page, clips[640, 360])
    press(page, "#run")
    page.wait_for_selector("#panel [role=alert]:has-text('Nothing is painted yet')")
    page.wait_for_selector("#run:visible")
    dab(page, *at(page, 180, 120))
    before = painted(page)
    assert before

    Image.new("L", (50, 50), 255).save(tmp_path / "square.png")
    page.set_input_files("input[data-testid='Upload a mask-upload-button']", str(tmp_path / "square.png"))
    page.wait_for_selector(".p-note.bad:has-text('another shape')")
    assert painted(page) == before


def test_another_video_begins_anew(page, clips):
    upload(page, clips[640, 360])
    dab(page, *at(page, 180, 120))
    settled(page)
    press(page, "#another")
    page.wait_for_selector("#video:visible")
    upload(page, clips[360, 640])
    assert painted(page) == {}
    dab(page, *at(page, 100, 170))
    assert abs(painted(page)["red"][1] - 100) <= 1
    page.keyboard.press("Control+z")
    assert painted(page) == {}


def key_of(page) -> str:
    """The key in the page's address, once it is there."""
    page.wait_for_function("new URLSearchParams(location.search).has('session')")
    return page.evaluate("new URLSearchParams(location.search).get('session')")


def test_reload_back_and_another_page_come_back_to_the_work(page, clips, sample, server):
    page.evaluate("localStorage.clear()")  # of other visits in this window
    upload(page, clips[640, 360])
    dab(page, *at(page, 180, 120))
    before, key = painted(page), key_of(page)
    page.reload()
    shows(page, 0)
    assert painted(page) == before
    says(page, "#video-note", "as you left it: 1 key frame.")

    press(page, "#another")
    page.wait_for_selector("#recent li:has-text('marked-640x360')")
    assert "session=" not in page.url
    page.go_back()
    shows(page, 0)
    assert painted(page) == before and key_of(page) == key

    page.set_input_files("#video input[type=file]", str(sample))
    page.wait_for_selector("[aria-label='Paint Bunny']")
    page.wait_for_function("(key) => !location.search.includes(key) && location.search", arg=key)
    page.click("#recent a:has-text('Back to marked-640x360')")
    page.wait_for_selector("[aria-label='Paint Object 1']")
    assert painted(page) == before and key_of(page) == key

    page.goto(server)
    page.wait_for_selector("#recent li:has-text('big-buck-bunny')")
    page.click("[aria-label='Forget big-buck-bunny']")
    assert page.locator("#recent li:has-text('big-buck-bunny')").count() == 0
    page.click("#recent a:has-text('marked-640x360')")
    shows(page, 0)
    assert painted(page) == before


def test_a_page_that_is_loaded_again_and_a_second_tab_join_the_run(page, sample):
    """However soon the run ends: nothing here waits for a state that may have passed."""
    page.set_input_files("#video input[type=file]", str(sample))
    page.wait_for_selector("[aria-label='Paint Bunny']")
    key = key_of(page)
    other = page.context.new_page()
    other.goto(page.url)
    other.wait_for_selector("[aria-label='Paint Bunny']")
    press(page, "#run")
    page.wait_for_selector("#panel .run .figures span", state="attached", timeout=90_000)
    page.reload()
    shows(page, 0)
    page.wait_for_selector("#stop:visible, #panel .run.done")
    go(page, 80)
    dab(page, *at(page, 300, 200))  # painting goes on, and is there in the other tab
    for each in (page, other):
        keys(each, 0, 80)
        each.wait_for_selector("#panel:has-text('Done: 90 frames')", timeout=120_000)
        each.wait_for_selector("#take")
        says(each, "#pending", "90 frames to compute.")
    assert key_of(other) == key
    other.close()


def test_a_stored_session_opens_in_one_click_with_its_masks_and_nothing_to_compute(page, server):
    page.goto(server)
    page.click("#gallery a:has-text('Two that touch')")
    page.wait_for_selector("[aria-label='Paint Hand']")
    page.wait_for_function("() => location.search.includes('session=')")
    says(page, "#pending", "Everything is up to date.")
    shows(page, 110)
    assert {"red", "blue"} <= painted(page).keys()


def test_an_address_of_a_session_that_is_over_says_so_and_is_an_empty_page(page, sample, server):
    page.goto(f"{server}/?session=over")
    says(page, "#video-note", "The work of this address is over or was never here: begin with a video.")
    page.wait_for_function("location.search === ''")
    page.set_input_files("#video input[type=file]", str(sample))
    page.wait_for_selector("[aria-label='Paint Bunny']")
