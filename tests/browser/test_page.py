"""The page as a visitor meets it: a real server, a real browser, a real mouse."""

import io
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from demo.events import SAMPLE_MASK
from xmem.video import probe

pytestmark = pytest.mark.browser

MARKERS = {(640, 360): ((180, 120), (450, 250)), (360, 640): ((100, 170), (260, 450))}


def press(page, selector: str) -> None:
    """A click that does not wait for the page to hold still, which it does not while it works."""
    page.evaluate("(selector) => document.querySelector(selector).click()", selector)


def upload(page, path: Path) -> None:
    page.set_input_files("#video input[type=file]", str(path))
    page.wait_for_selector("#canvas canvas")
    page.wait_for_function("document.querySelector('#video-note').innerText.includes('frames')")
    page.evaluate("document.querySelector('#canvas').scrollIntoView({block: 'center'})")


def markers_on_screen(page) -> list[tuple[float, float]]:
    """Centres of the two magenta squares of the first frame as it is shown, top one first, once it stands still."""
    end, last = time.monotonic() + 40, None
    while time.monotonic() < end:
        page.wait_for_timeout(700)
        box = page.locator("#canvas .pixi-target canvas").bounding_box()
        image = np.array(Image.open(io.BytesIO(page.screenshot(clip=box))).convert("RGB")).astype(int)
        ys, xs = np.nonzero((image[..., 0] > 180) & (image[..., 1] < 90) & (image[..., 2] > 180))
        if len(ys) > 20:
            top = ys < (ys.min() + ys.max()) / 2
            centres = [(box["x"] + xs[half].mean() + 0.5, box["y"] + ys[half].mean() + 0.5) for half in (top, ~top)]
            if centres == last:
                return centres
            last = centres
    raise AssertionError("the first frame did not appear on the canvas")


def dab(page, x: float, y: float) -> None:
    """A short symmetric stroke centred at (x, y)."""
    page.mouse.move(x - 5, y)
    page.mouse.down()
    page.mouse.move(x + 5, y, steps=3)
    page.mouse.up()


def understood(page, text: str) -> None:
    page.wait_for_function("(text) => document.querySelector('#understood')?.innerText.includes(text)", arg=text)


def run(page) -> None:
    press(page, "#run")
    page.wait_for_selector("#download-masks", timeout=120_000)


def downloads(page) -> tuple[str, list[np.ndarray], str, Path]:
    """(name of the ZIP, its masks, name of the video, the video)."""
    with page.expect_download() as masks:
        press(page, "#download-masks")
    with page.expect_download() as video:
        press(page, "#download-video")
    with zipfile.ZipFile(masks.value.path()) as archive:
        images = [np.array(Image.open(io.BytesIO(archive.read(name)))) for name in sorted(archive.namelist())]
    return masks.value.suggested_filename, images, video.value.suggested_filename, Path(video.value.path())


@pytest.mark.parametrize("size", [(640, 360), (360, 640)])
def test_what_the_mouse_paints_is_where_it_was_painted(page, clips, size):
    """Centroids of painted objects are exact to a pixel; both files carry the video's name."""
    upload(page, clips[size])
    first, second = markers_on_screen(page)
    dab(page, *first)
    understood(page, "1 object: red")
    press(page, ".swatch[aria-label='Paint with blue']")
    page.wait_for_timeout(600)
    dab(page, *second)
    understood(page, "2 objects: red")
    run(page)
    masks_name, masks, video_name, video = downloads(page)
    assert masks_name == f"marked-{size[0]}x{size[1]}-masks.zip"
    assert video_name == f"marked-{size[0]}x{size[1]}-overlay.mp4"
    assert len(masks) == 6 and masks[0].shape == (size[1], size[0])
    assert probe(video).frame_count == 6
    for index, (x, y) in enumerate(MARKERS[size], start=1):
        ys, xs = np.nonzero(masks[0] == index)
        assert abs(xs.mean() - x) <= 1 and abs(ys.mean() - y) <= 1


def test_the_sample_runs_with_two_clicks_and_stop_keeps_what_is_done(page):
    press(page, "#sample")
    understood(page, "1 object: red")
    page.wait_for_timeout(3000)
    press(page, "#run")
    page.wait_for_selector("#panel img", timeout=90_000)
    panel = page.inner_text("#panel")
    assert "of 90" in panel and "frames/s" in panel and "left" in panel
    press(page, "#stop")
    page.wait_for_selector("#download-masks", timeout=60_000)
    assert "Stopped after" in page.inner_text("#panel") and "of 90 frames" in page.inner_text("#panel")
    _, masks, video_name, video = downloads(page)
    assert video_name == "big-buck-bunny-overlay.mp4"
    assert 1 <= len(masks) < 90 and probe(video).frame_count == len(masks)
    np.testing.assert_array_equal(masks[0], np.array(Image.open(SAMPLE_MASK)))
    playable = "(async () => { const v = document.querySelector('#result-video video'); return v.error === null; })()"
    assert page.evaluate(playable)


def test_undo_takes_a_stroke_back_and_clear_takes_all_but_the_frame(page, clips):
    upload(page, clips[640, 360])
    first, second = markers_on_screen(page)
    dab(page, *first)
    understood(page, "1 object")
    press(page, "#canvas button[aria-label=Undo]")
    understood(page, "Nothing is painted yet")
    dab(page, *second)
    understood(page, "1 object")
    press(page, "#clear")
    understood(page, "Nothing is painted yet")
    assert len(markers_on_screen(page)) == 2, "the frame is still there"
    dab(page, *markers_on_screen(page)[0])
    understood(page, "1 object")


def test_an_uploaded_mask_is_on_the_canvas_in_its_place(page, clips, tmp_path):
    index = np.zeros((360, 640), np.uint8)
    index[100:180, 60:200], index[200:300, 400:600] = 1, 2
    index[120:140, 80:100] = 0
    mask = Image.fromarray(index, "P")
    mask.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0])
    mask.save(tmp_path / "mask.png")
    upload(page, clips[640, 360])
    markers_on_screen(page)
    page.set_input_files("input[data-testid='Upload a mask-upload-button']", str(tmp_path / "mask.png"))
    understood(page, "2 objects: red 4.7 %, blue 8.7 %")
    run(page)
    np.testing.assert_array_equal(downloads(page)[1][0], index)


def test_what_is_missing_or_bad_is_said_and_nothing_is_lost(page, clips, tmp_path):
    press(page, "#run")
    page.wait_for_selector("#panel [role=alert]:has-text('There is no video yet')")
    page.wait_for_selector("#run")

    (tmp_path / "text.mp4").write_text("not a video at all")
    page.set_input_files("#video input[type=file]", str(tmp_path / "text.mp4"))
    page.wait_for_selector("#video-note [role=alert]")
    page.reload()
    page.wait_for_selector("#run")

    upload(page, clips[640, 360])
    first, _ = markers_on_screen(page)
    press(page, "#run")
    page.wait_for_selector("#panel [role=alert]:has-text('Nothing is painted yet')")
    dab(page, *first)
    understood(page, "1 object")

    Image.new("L", (50, 50), 255).save(tmp_path / "square.png")
    page.set_input_files("input[data-testid='Upload a mask-upload-button']", str(tmp_path / "square.png"))
    page.wait_for_selector("#mask-note [role=alert]:has-text('another shape')")
    understood(page, "1 object")
    run(page)
    assert "Done: 6 frames" in page.inner_text("#panel")
