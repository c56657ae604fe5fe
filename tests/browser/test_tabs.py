"""What is taken away from a result, as a visitor does it: a look, files, scores, a comparison."""

import csv
import io
import zipfile
from pathlib import Path

import av
import numpy as np
import pytest

from tests.browser.conftest import visiting
from tests.browser.test_page import dab, markers_on_screen, press, run, says, settled, upload
from xmem.video import FrameReader, probe

pytestmark = pytest.mark.browser

FRAMES = 12


@pytest.fixture(scope="module")
def visit(server, window, clips):
    """A visitor who painted one object and ran; what a test leaves on the page is there for the next one."""
    with visiting(window, server):
        upload(window, clips[640, 360])
        dab(window, *markers_on_screen(window)[0])
        settled(window)
        run(window)
        yield window


def tab(page, name: str) -> None:
    if page.locator("#research button.label-wrap:not(.open)").count():
        press(page, "#research button.label-wrap")
    page.get_by_role("tab", name=name, exact=True).evaluate("(button) => button.click()")


def files(page, *names: str) -> dict[str, Path]:
    """Download the files that the list offers, once it offers these."""
    page.wait_for_function(
        "(count) => document.querySelectorAll('#export-files a[download]').length === count", arg=len(names)
    )
    found = {}
    for link in page.query_selector_all("#export-files a[download]"):
        with page.expect_download() as download:
            link.evaluate("(link) => link.click()")
        found[download.value.suggested_filename] = Path(download.value.path())
    assert set(found) == set(names)
    return found


def choose_kinds(page, *kinds: str) -> None:
    for box in page.query_selector_all("#export-kinds input"):
        if box.is_checked() != (box.get_attribute("name") in kinds):
            box.evaluate("(box) => box.click()")


def test_a_look_is_chosen_with_the_keyboard_from_own_pictures_and_changes_the_video(visit):
    page = visit
    tab(page, "Video")
    page.wait_for_selector("#looks-pictures style", state="attached")
    assert (
        page.evaluate("getComputedStyle(document.querySelector('#looks-kind label'), '::before').backgroundImage")[:8]
        == 'url("dat'
    )
    plain = page.get_attribute("#looks-preview img", "src")
    page.focus("#looks-kind input:checked")
    for _ in range(9):
        page.keyboard.press("ArrowRight")
    page.wait_for_function("(plain) => document.querySelector('#looks-preview img').src !== plain", arg=plain)
    page.wait_for_selector("#looks-preview img[alt*='Cut-out on a colour']")
    page.wait_for_selector("#looks-background")
    press(page, "#looks-apply")
    says(page, "#looks-panel", "12 frames")
    page.wait_for_selector("#result-video video")
    page.wait_for_selector("#download-video:visible")
    with page.expect_download() as download:
        press(page, "#download-video")
    assert download.value.suggested_filename == "marked-640x360-overlay.mp4"
    with FrameReader(download.value.path()) as reader:
        corner = next(iter(reader)).image[:20, :20].reshape(-1, 3).mean(axis=0)
    assert np.abs(corner - (0, 177, 64)).max() < 12, "green lies behind the cut-out"


def test_chosen_files_are_made_and_can_be_read(visit):
    page = visit
    tab(page, "Files")
    choose_kinds(page, "webm_alpha", "csv")
    press(page, "#export-run")
    says(page, "#export-panel", "2 files ready")
    found = files(page, "marked-640x360-cutout.webm", "marked-640x360-objects.csv")
    with av.open(str(found["marked-640x360-cutout.webm"])) as video:
        assert sum(1 for _ in video.decode(video=0)) == FRAMES
    with found["marked-640x360-objects.csv"].open(newline="", encoding="utf-8") as table:
        assert len(list(csv.DictReader(table))) == FRAMES


def test_masks_scored_against_themselves_are_perfect_and_others_are_shown_where_they_differ(visit, tmp_path):
    page = visit
    tab(page, "Files")
    choose_kinds(page, "index_png")
    press(page, "#export-run")
    says(page, "#export-panel", "1 file ready")
    (masks,) = files(page, "marked-640x360-masks.zip").values()
    tab(page, "Quality")
    (tmp_path / "known.zip").write_bytes(masks.read_bytes())
    page.set_input_files("#quality-truth input[type=file]", str(tmp_path / "known.zip"))
    says(page, "#quality-report", "perfect")
    assert page.locator("#quality-report dd").all_inner_texts() == ["100.0", "100.0", "100.0", str(FRAMES - 1)]
    assert page.locator("#quality-report .plot [role=img]").get_attribute("aria-label").startswith("J and F by frame")

    press(page, "#quality-truth button[aria-label='Clear']")
    page.wait_for_function("!document.querySelector('#quality-report dd')")
    with zipfile.ZipFile(tmp_path / "shifted.zip", "w") as shifted, zipfile.ZipFile(masks) as archive:
        for name in archive.namelist():
            data = archive.read(name)
            shifted.writestr(name, moved(data) if name.endswith("00007.png") else data)
    page.set_input_files("#quality-truth input[type=file]", str(tmp_path / "shifted.zip"))
    page.wait_for_selector("#quality-report img[alt^='Frame 8: outline']")
    press(page, "#quality-report [data-frame='7']")
    page.wait_for_selector(".p-root[data-frame='7']", state="attached")


def moved(png: bytes) -> bytes:
    """The mask, moved by a third of its width."""
    from PIL import Image

    with Image.open(io.BytesIO(png)) as image:
        index = np.array(image)
        index[:, : index.shape[1] // 3] = 0
        changed = Image.fromarray(index, "P")
        changed.putpalette(image.getpalette())
    data = io.BytesIO()
    changed.save(data, "PNG")
    return data.getvalue()


def test_two_memories_are_set_side_by_side(visit):
    page = visit
    tab(page, "Compare")
    press(page, "#compare-run")
    page.wait_for_selector("#compare-report table", timeout=90_000)
    assert page.locator("#compare-report tbody tr").count() == 2
    assert page.inner_text("#compare-report .verdict").startswith("Long-term memory keeps a summary")
    page.wait_for_selector("#compare-video video")
    page.wait_for_selector("#compare-file:visible")  # it comes after the video
    with page.expect_download() as download:
        press(page, "#compare-file")
    assert download.value.suggested_filename == "marked-640x360-comparison.mp4"
    info = probe(download.value.path())
    assert info.frame_count == FRAMES and info.width > 1200


def test_every_tab_fits_a_phone(visit):
    page = visit
    page.set_viewport_size({"width": 390, "height": 800})
    for name in ("Video", "Files", "Quality", "Compare"):
        tab(page, name)
        page.wait_for_timeout(300)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, name
