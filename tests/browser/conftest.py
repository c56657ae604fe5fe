"""The real server on a free port with a tiny network."""

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from importlib.util import find_spec
from pathlib import Path

import av
import numpy as np
import pytest
from playwright.sync_api import Page

from xmem.checkpoints.catalogue import WORDS

PROJECT = Path(__file__).parents[2]
sys.path.insert(0, str(PROJECT / "tests"))

MARKERS = {  # (x, y) by video size
    (640, 360): ((180, 120), (450, 250)),
    (360, 640): ((100, 170), (260, 450)),
    (320, 180): ((90, 60), (225, 125)),
}
MARKER_COLOR = (255, 0, 255)
START_SECONDS = 400
MOST_FRAMES, MOST_PIXELS = 400, 1280 * 720  # of a video, and of each frame
VIEWPORT = {"width": 1000, "height": 760}


@pytest.fixture(scope="session")
def server(tmp_path_factory) -> Iterator[str]:
    """The address of the page, served as `python app.py` does."""
    from tiny_model import write_tiny_model

    folder = tmp_path_factory.mktemp("server")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    # TMPDIR: what the server leaves behind can be looked at. no_proxy: the page is on this machine
    temporary = folder / "tmp"
    temporary.mkdir()
    model = write_tiny_model(folder / "tiny.safetensors")
    own = {"XMEM_MODEL": str(model), "TMPDIR": str(temporary), "XMEM_SESSIONS": str(folder / "kept")}
    own["XMEM_CHECKPOINTS"] = str(folder / "checkpoints")
    if find_spec("transformers"):  # the helper that finds what words name, of random weights
        from tests.click.tiny_helpers import write_clipseg

        write_clipseg(folder / "checkpoints" / WORDS)
    own["XMEM_LIMIT_FRAMES"] = str(MOST_FRAMES)
    own["XMEM_LIMIT_FRAME_PIXELS"] = str(MOST_PIXELS)
    own["XMEM_LIMIT_INFERENCE_PIXELS"] = "110000"  # 240 pixels are the largest choice: runs are quick
    environment = {**os.environ, **own, "no_proxy": "127.0.0.1"}
    environment.pop("GRADIO_TEMP_DIR", None)
    with open(folder / "log", "w") as log:
        process = subprocess.Popen(
            [sys.executable, "app.py", "--port", str(port), "--host", "127.0.0.1"],
            cwd=PROJECT,
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    address = f"http://127.0.0.1:{port}"
    try:
        _wait_for(address, process, folder / "log")
        yield address
    finally:
        process.terminate()
        process.wait(20)
        assert not list(temporary.glob("xmem-demo-*")), (
            "a server that is ended leaves sessions behind, and nothing else"
        )


def _wait_for(address: str, process: subprocess.Popen, log: Path) -> None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end and process.poll() is None:
        try:
            opener.open(address, timeout=5).close()
            return
        except OSError:
            time.sleep(0.3)
    pytest.fail(f"The server did not start:\n{log.read_text()}")


@pytest.fixture(scope="session")
def window(browser) -> Iterator[Page]:
    """One window for all visits: what the page is made of is fetched and compiled once. Its scripts must not fail."""
    context = browser.new_context(viewport=VIEWPORT, accept_downloads=True)
    opened = context.new_page()
    opened.set_default_timeout(60_000)
    yield opened
    context.close()


@pytest.fixture
def page(server, window) -> Iterator[Page]:
    """A fresh visit of the page, in the same window as those before."""
    with visiting(window, server):
        yield window


@contextmanager
def visiting(window: Page, server: str) -> Iterator[None]:
    """A visit: each time the page is loaded it is another visitor's, with nothing on it."""
    failures: list[str] = []

    def note(error) -> None:
        failures.append(str(error))

    window.on("pageerror", note)
    window.set_viewport_size(VIEWPORT)
    window.goto(server)
    window.wait_for_selector("#run", state="attached")
    try:
        yield
    finally:
        window.remove_listener("pageerror", note)
        window.goto("about:blank")  # a page that is left open draws on, beside the tests that follow
    assert not failures, "no script of the page fails"


def write_marked_clip(path: Path, size: tuple[int, int], frames: int = 12) -> Path:
    """Frames with two magenta squares that stand still, whose centres are MARKERS, on a grey that brightens."""
    width, height = size
    image = np.full((height, width, 3), 60, np.uint8)
    for x, y in MARKERS[size]:
        image[y - 6 : y + 7, x - 6 : x + 7] = MARKER_COLOR
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=Fraction(25), options={"crf": "10"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for _ in range(frames):
            image[image[..., 1] > 50] += 8
            for packet in stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")):
                file.mux(packet)
        for packet in stream.encode(None):
            file.mux(packet)
    return path


def write_plain_clip(path: Path, width: int, height: int, frames: int) -> Path:
    """A bright square that crosses a plain picture: as little to encode as can be."""
    image = np.full((height, width, 3), 70, np.uint8)
    side = height // 5
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=Fraction(30), options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for i in range(frames):
            shown, left = image.copy(), i * (width - side) // frames
            shown[side : 2 * side, left : left + side] = (230, 200, 40)
            for packet in stream.encode(av.VideoFrame.from_ndarray(shown, format="rgb24")):
                file.mux(packet)
        for packet in stream.encode(None):
            file.mux(packet)
    return path


@pytest.fixture(scope="session")
def clips(tmp_path_factory) -> dict[tuple[int, int], Path]:
    folder = tmp_path_factory.mktemp("clips")
    return {size: write_marked_clip(folder / f"marked {size[0]}x{size[1]}.mp4", size) for size in MARKERS}
