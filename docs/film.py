"""Films the README's stories on a running page, which has the networks that come along:

    python docs/film.py http://127.0.0.1:7860 docs/stage.webp
    python docs/film.py http://127.0.0.1:7860 docs/phone.webp --phone
    python docs/film.py http://127.0.0.1:7860 docs/click.webp --click SAMPLE.mp4 209,207 OWN.mp4 268,220

A stored session is opened, what was lost is clicked on one frame, the run is stopped, gone on with, and survives a page
that is loaded again; the result is taken away. Or clips are chosen from the disk, and each is tracked from one click at
a place in its pixels. It works the page with mouse and clicks as a visitor does, takes pictures on the way, and leaves
out the waiting.
"""

import argparse
import io
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from PIL import Image, ImageChops
from playwright.sync_api import Page, sync_playwright

from xmem.video.access import FrameAccess

FRAME = 80  # counted from 0: both ears are in sight, and neither is in the mask
EARS = ((182, 50), (217, 40))  # (x, y) in pixels of the clip
SIZE = "384 pixels"
CLIP = (640, 90)  # its width in pixels, its frames


@dataclass(frozen=True)
class Format:
    """view: of the browser, in its pixels; width: of the film; type: pixels of what is said over it."""

    view: tuple[int, int]
    width: int
    type: int
    quality: int


WIDE = Format((1280, 800), 800, 21, 40)
PHONE = Format((390, 844), 300, 17, 50)
SMALL = Format((1100, 700), 640, 21, 40)

HELPERS = """(size) => {
  const style = document.createElement('style');
  style.textContent = `
    #film-cursor { position: fixed; z-index: 9999; width: 26px; height: 26px; margin: -3px 0 0 -4px;
      pointer-events: none; }
    #film-words { position: fixed; z-index: 9998; left: 50%; top: 8px; transform: translateX(-50%);
      padding: 11px 20px; border-radius: 22px; background: rgba(20, 20, 20, .9); color: #fff; text-align: center;
      font: 600 ${size}px/1.3 system-ui, sans-serif; width: max-content; max-width: 88vw; }
    html { scroll-behavior: auto !important; }
    footer { visibility: hidden; }`;
  document.head.append(style);
  document.body.insertAdjacentHTML('beforeend', `
    <svg id="film-cursor" viewBox="0 0 24 24">
      <path d="M4 3l14 9-6.5 1.2L8 19z" fill="#111" stroke="#fff" stroke-width="1.5"/>
    </svg>
    <div id="film-words" hidden></div>`);
  const cursor = document.querySelector('#film-cursor');
  addEventListener('pointermove', (event) => {
    cursor.style.left = event.clientX + 'px';
    cursor.style.top = event.clientY + 'px';
  }, true);
}"""


class Film:
    """Pictures of the page and how long each is shown (milliseconds)."""

    def __init__(self, page: Page, form: Format) -> None:
        self.page, self.form = page, form
        self.clip = CLIP
        self.words = ""
        self.pictures: list[Image.Image] = []
        self.durations: list[int] = []

    def ready(self) -> None:
        """Cursor and words, on a page that was just loaded."""
        self.page.evaluate(HELPERS, self.form.type)
        self.say(self.words)

    def show(self, milliseconds: int) -> None:
        image = Image.open(io.BytesIO(self.page.screenshot())).convert("RGB")
        height = round(image.height * self.form.width / image.width)
        image = image.resize((self.form.width, height), Image.Resampling.LANCZOS)
        if self.pictures and not ImageChops.difference(image, self.pictures[-1]).getbbox():
            self.durations[-1] += milliseconds
            return
        self.pictures.append(image)
        self.durations.append(milliseconds)

    def say(self, words: str) -> None:
        self.words = words
        self.page.evaluate(
            "(words) => { const e = document.querySelector('#film-words'); e.textContent = words; e.hidden = !words; }",
            words,
        )

    def look_at(self, selector: str, block: str = "center") -> None:
        self.page.evaluate(
            "([s, block]) => document.querySelector(s).scrollIntoView({ block, behavior: 'instant' })",
            [selector, block],
        )
        self.page.wait_for_timeout(400)

    def point(self, selector: str) -> None:
        box = self.page.locator(selector).first.bounding_box()
        self.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2, steps=4)
        self.show(450)

    def press(self, selector: str) -> None:
        self.page.locator(selector).first.scroll_into_view_if_needed()
        self.point(selector)
        self.page.locator(selector).first.click()

    def scrub(self, first: int, last: int, pictures: int) -> None:
        """Drag along the timeline between two frames."""
        box = self.page.locator(".t-plot").bounding_box()
        for i in range(pictures):
            frame = first + (last - first) * i / (pictures - 1)
            self.page.mouse.move(box["x"] + box["width"] * frame / (self.clip[1] - 1), box["y"] + box["height"] / 2)
            if i == 0:
                self.page.mouse.down()
            self.page.wait_for_timeout(250)
            self.show(160)
        self.page.mouse.up()
        self.page.mouse.move(box["x"] + box["width"] * last / (self.clip[1] - 1), box["y"] - 60)
        self.page.wait_for_selector(f".p-root[data-frame='{last}']")
        self.page.evaluate("window.xmemSettled()")
        self.page.wait_for_timeout(500)

    def click_clip(self, x: float, y: float) -> None:
        """A click on the picture, once what it would take is shown."""
        box = self.page.locator(".p-paper").bounding_box()
        scale = box["width"] / self.clip[0]
        self.page.mouse.move(box["x"] + x * scale, box["y"] + y * scale, steps=3)
        self.page.wait_for_timeout(3000)
        self.show(900)
        self.page.mouse.click(box["x"] + x * scale, box["y"] + y * scale)
        self.page.wait_for_timeout(1500)
        self.page.evaluate("window.xmemSettled()")
        self.page.wait_for_timeout(400)
        self.show(900)

    def save(self, path: Path) -> None:
        first, *others = self.pictures
        options = {"duration": self.durations, "loop": 0, "quality": self.form.quality, "method": 4}
        first.save(path, save_all=True, append_images=others, **options)


def to_the_stage(film: Film) -> None:
    if film.form is PHONE:
        film.look_at(".p-view", "start")
        film.page.evaluate("scrollBy(0, -70)")
    else:
        film.page.evaluate("scrollTo(0, 0)")
    film.page.wait_for_timeout(400)


def story(film: Film) -> None:
    page = film.page
    film.say("Stored sessions open in one click")
    for _ in range(4):
        film.show(300)
    film.press(".showcase a")
    page.wait_for_selector("#take >> visible=true")
    film.ready()
    page.wait_for_function("window.xmemStage.isComplete()")
    page.wait_for_timeout(2000)
    choose_size(page)
    to_the_stage(film)
    film.say("Scrub: the ears are lost on the way")
    film.show(900)
    film.scrub(4, FRAME, 10)
    film.show(1000)
    film.say("Two clicks put them right")
    for ear in EARS:
        film.click_clip(*ear)
    run(film)
    to_the_stage(film)
    film.say("The frames beside it follow")
    film.scrub(CLIP[1] - 3, 66, 7)
    film.show(1600)
    take_away(film)


def from_one_click(film: Film, clicked: Sequence[tuple[Path, tuple[float, float]]]) -> None:
    """Each clip is tracked from one click; the first of them is the sample."""
    for number, (clip, place) in enumerate(clicked):
        one_click(film, "A clip of your own" if number else "The sample", clip, place)


def one_click(film: Film, title: str, clip: Path, place: tuple[float, float]) -> None:
    """A clip from the disk is chosen, its object clicked once on the first frame, and followed to the end."""
    page = film.page
    film.clip = size_of(clip)
    page.set_input_files("#video input[type=file]", str(clip))
    page.wait_for_selector(".p-root:not(.is-empty)")
    page.wait_for_timeout(4000)
    to_the_stage(film)
    film.say(f"{title}: one click on what is to be followed")
    film.show(1500)
    film.click_clip(*place)
    film.show(800)
    film.say("Run")
    begin(film)
    film.show(700)
    to_the_end(film, 150, 4000)
    to_the_stage(film)
    film.say("followed through all frames")
    film.scrub(0, film.clip[1] - 1, 12)
    film.show(1500)


def size_of(clip: Path) -> tuple[int, int]:
    """Width in pixels, and frames."""
    with FrameAccess(clip) as access:
        return access.info.width, access.frame_count


def choose_size(page: Page) -> None:
    """A larger one than that of the stored session; while nobody looks."""
    page.evaluate("document.querySelector('#settings button').click()")
    page.locator("#size input").click()
    page.get_by_role("option", name=SIZE).click()
    page.evaluate("document.querySelector('#settings button').click()")
    page.wait_for_timeout(1000)


def run(film: Film) -> None:
    """Run, stop, go on, load the page anew in the middle, and wait for the end."""
    page = film.page
    film.say("Run: only what the correction reaches")
    begin(film)
    film.show(700)
    film.say("Stop keeps what is done")
    film.press("#stop")
    page.wait_for_selector("#run:has-text('Continue')")
    film.show(900)
    film.say("and Continue goes on there")
    begin(film)
    film.say("Load the page again in the middle: nothing is lost")
    film.show(1500)
    page.reload()
    film.ready()
    film.show(300)
    page.wait_for_selector(".p-root:not(.is-empty)")
    page.wait_for_selector("#stop:visible, #panel .run.done")
    if film.form is PHONE:
        film.look_at("#run-box")
    film.show(900)
    to_the_end(film, 200, 7000)
    film.show(1200)


def begin(film: Film) -> None:
    """Press Run, and wait until the page tells how long it will take."""
    film.press("#run")
    film.page.wait_for_selector("#panel .run:has-text('left')")


def to_the_end(film: Film, shown: int, apart: int) -> None:
    """Pictures of a run until it is done: how long each is shown, and how far apart they are taken, in milliseconds."""
    while film.page.locator("#stop").is_visible():
        film.show(shown)
        film.page.wait_for_timeout(apart)
    film.page.wait_for_selector("#panel .run.done")


def take_away(film: Film) -> None:
    page = film.page
    film.say("Take it away: twelve looks, files for your next tool")
    film.look_at("#take", "start")
    page.wait_for_timeout(2500)
    film.show(1200)
    film.press("#looks-kind label:has-text('Spotlight, background grey')")
    page.wait_for_timeout(3000)
    film.look_at("#looks-preview")
    film.show(1500)
    film.press("button:has-text('Make the video')")
    page.wait_for_selector("#result-video video")
    film.look_at("#result-video")
    page.wait_for_timeout(2000)
    film.show(2500)


def main(address: str, path: Path, form: Format, tell: Callable[[Film], None]) -> None:
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": form.view[0], "height": form.view[1]})
        page.set_default_timeout(300_000)
        page.goto(address)
        page.wait_for_selector(".showcase video")
        page.wait_for_function("document.querySelector('.showcase video').currentTime > 0.1")
        film = Film(page, form)
        film.ready()
        try:
            tell(film)
        finally:  # a story that broke off shows where
            film.show(1000)
            film.save(path)
        browser.close()
    print(
        f"{path}: {len(film.pictures)} pictures, {sum(film.durations) / 1000:.0f} s, {path.stat().st_size / 1e6:.2f} MB"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("address")
    parser.add_argument("path", type=Path)
    parser.add_argument("--phone", action="store_true")
    parser.add_argument("--click", nargs="+", default=[], metavar="CLIP X,Y", help="clips to track from one click each")
    asked = parser.parse_args()
    places = [tuple(map(float, place.split(","))) for place in asked.click[1::2]]
    clicked = list(zip(map(Path, asked.click[::2]), places, strict=True))
    if clicked:
        main(asked.address, asked.path, SMALL, partial(from_one_click, clicked=clicked))
    else:
        main(asked.address, asked.path, PHONE if asked.phone else WIDE, story)
