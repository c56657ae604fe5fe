"""Films the README's loop on a running page: an object is lost, seen in the timeline, corrected once, and taken away.

    python docs/film.py http://127.0.0.1:7860 docs/correct.webp

It works the page with mouse and clicks as a visitor does, takes pictures on the way, and leaves out the waiting.
"""

import io
import os
import shutil
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

SAMPLE = Path(__file__).parents[1] / "demo" / "samples" / "big-buck-bunny.mp4"
VIEW = {"width": 1080, "height": 720}
WIDTH = 864  # pixels of the film
SIZE = "288 pixels"
# Outlines of the rabbit's arm, in pixels of the sample: stretched on the first frame, hanging on the corrected one.
ARM = [
    (80, 128),
    (92, 127),
    (105, 130),
    (118, 134),
    (126, 140),
    (122, 150),
    (112, 158),
    (100, 163),
    (88, 158),
    (80, 146),
]
ARM_DOWN = [
    (170, 158),
    (182, 156),
    (190, 168),
    (192, 186),
    (188, 204),
    (184, 220),
    (178, 234),
    (168, 236),
    (160, 226),
    (160, 208),
    (164, 190),
    (166, 172),
]
HELPERS = """() => {
  const style = document.createElement('style');
  style.textContent = `
    #film-cursor { position: fixed; z-index: 9999; width: 22px; height: 22px; margin: -3px 0 0 -4px;
      pointer-events: none; }
    #film-words { position: fixed; z-index: 9998; left: 50%; bottom: 26px; transform: translateX(-50%);
      padding: 11px 20px; border-radius: 99px; background: rgba(20, 20, 20, .86); color: #fff;
      font: 600 19px system-ui, sans-serif; white-space: nowrap; }
    html { scroll-behavior: auto !important; }
    footer { visibility: hidden; }`;
  document.head.append(style);
  document.body.insertAdjacentHTML('beforeend', `
    <svg id="film-cursor" viewBox="0 0 24 24">
      <path d="M4 3l14 9-6.5 1.2L8 19z" fill="#111" stroke="#fff" stroke-width="1.5"/>
    </svg>
    <div id="film-words" hidden></div>`);
  const cursor = document.querySelector('#film-cursor');
  addEventListener('mousemove', (event) => {
    cursor.style.left = event.clientX + 'px';
    cursor.style.top = event.clientY + 'px';
  }, true);
}"""


class Film:
    """Pictures of the page and how long each is shown (milliseconds)."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.pictures: list[Image.Image] = []
        self.durations: list[int] = []

    def show(self, milliseconds: int) -> None:
        image = Image.open(io.BytesIO(self.page.screenshot())).convert("RGB")
        height = round(image.height * WIDTH / image.width)
        self.pictures.append(image.resize((WIDTH, height), Image.Resampling.LANCZOS))
        self.durations.append(milliseconds)

    def say(self, words: str) -> None:
        self.page.evaluate(
            "(words) => { const e = document.querySelector('#film-words'); e.textContent = words; e.hidden = !words; }",
            words,
        )

    def look_at(self, selector: str, block: str = "center") -> None:
        self.page.evaluate(
            "([s, block]) => document.querySelector(s).scrollIntoView({ block, behavior: 'instant' })",
            [selector, block],
        )
        self.page.wait_for_timeout(500)

    def point(self, selector: str) -> None:
        box = self.page.locator(selector).first.bounding_box()
        self.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2, steps=4)
        self.show(500)

    def press(self, selector: str) -> None:
        self.point(selector)
        self.page.locator(selector).first.click()

    def draw(self, outline: list[tuple[int, int]]) -> None:
        """A closed stroke of the brush around an object; its inside is filled."""
        box = self.page.locator(".p-paper").bounding_box()
        scale = box["width"] / 640
        places = [(box["x"] + x * scale, box["y"] + y * scale) for x, y in [*outline, outline[0]]]
        self.page.mouse.move(*places[0])
        self.show(400)
        self.page.mouse.down()
        for place in places[1:]:
            self.page.mouse.move(*place, steps=4)
            self.show(90)
        self.page.mouse.up()
        self.page.evaluate("window.xmemSettled()")
        self.page.wait_for_timeout(600)
        self.show(1100)

    def run(self) -> None:
        self.press("#run")
        self.page.wait_for_selector("#stop:visible")
        self.page.wait_for_selector("#panel .run .bar", timeout=120_000)
        while self.page.locator("#stop").is_visible():
            self.show(160)
            self.page.wait_for_timeout(900)
        self.page.wait_for_selector("#panel .run.done", timeout=240_000)
        self.page.wait_for_timeout(1500)

    def save(self, path: Path) -> None:
        first, *others = self.pictures
        first.save(path, save_all=True, append_images=others, duration=self.durations, loop=0, quality=62, method=6)


def story(film: Film) -> None:
    page = film.page
    film.look_at("#stage", "start")
    film.say("Paint the rabbit's arm on one frame")
    film.draw(ARM)
    film.say("Run")
    film.run()
    film.look_at("#overview")
    film.say("The timeline shows where the arm is lost")
    film.show(2000)
    film.press(".worth button")
    page.wait_for_timeout(2500)
    page.evaluate("window.xmemSettled()")
    film.look_at("#stage", "start")
    film.say("One correction there")
    film.show(900)
    film.draw(ARM_DOWN)
    film.say("Run again: both ways between the two painted frames")
    film.show(1500)
    film.run()
    film.look_at("#overview")
    film.say("Followed to the end")
    film.show(2200)
    take_away(film)


def take_away(film: Film) -> None:
    page = film.page
    film.look_at("#take-tabs", "start")
    page.get_by_role("tab", name="Files").click()
    page.wait_for_timeout(800)
    film.say("Take away a transparent video and a table")
    for box in page.locator("#export-kinds input[type=checkbox]").all():
        if box.is_checked():
            box.uncheck()
    for label in ("Transparent video (WebM)", "Table (CSV)"):
        page.locator("#export-kinds label").filter(has_text=label).first.click()
        page.wait_for_timeout(300)
        film.show(600)
    film.press("#export-run")
    page.wait_for_selector("#export-files a[download]", timeout=120_000)
    film.look_at("#export-files")
    film.show(3000)


def main(address: str, path: Path) -> None:
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport=VIEW)
        page.set_default_timeout(120_000)
        page.goto(address)
        page.set_input_files("#video input[type=file]", str(SAMPLE))
        page.wait_for_selector(".p-root[data-frame='0']")
        page.locator("#settings button").first.click()
        page.locator("#size input").click()
        page.get_by_role("option", name=SIZE).click()
        page.locator("#settings button").first.click()
        page.evaluate(HELPERS)
        page.wait_for_timeout(12_000)  # until the new size is timed
        film = Film(page)
        try:
            story(film)
        finally:  # a story that broke off shows where
            film.show(1000)
            film.save(path)
        browser.close()
    print(
        f"{path}: {len(film.pictures)} pictures, {sum(film.durations) / 1000:.0f} s, {path.stat().st_size / 1e6:.1f} MB"
    )


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
