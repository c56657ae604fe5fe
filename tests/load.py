"""Many visitors at once, or many sessions one after another, against a real server; see docs/hosting.md for figures.

    python tests/load.py visitors --count 20 --seconds 120
    python tests/load.py sessions --count 200

The server is `app.py` with a tiny network, on this machine, beside the visitors. Not part of the test suite.
"""

import argparse
import io
import json
import os
import random
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import av
import httpx
import numpy as np
from PIL import Image

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "tests" / "demo")]

from demo_clips import write_clip  # noqa: E402
from raw_visitor import RawVisitor, Refused  # noqa: E402
from tiny_model import write_tiny_model  # noqa: E402

LIGHT = ("describe_session", "read_frame", "undo", "redo", "timeline", "frame_at", "set_trim", "add_polygon")
CHOICES = tuple(name for name in LIGHT if name != "redo")


class Server:
    """A process of its own, with folders of its own."""

    def __init__(self, folder: Path, flags: list[str]) -> None:
        self.folder = folder
        (folder / "tmp").mkdir()
        own = {"XMEM_MODEL": str(write_tiny_model(folder / "tiny.safetensors")), "TMPDIR": str(folder / "tmp")}
        own |= {"XMEM_SESSIONS": str(folder / "kept"), "no_proxy": "127.0.0.1", "PYTHONUNBUFFERED": "1"}
        self.log = open(folder / "log", "w")  # noqa: SIM115 - until the end
        words = [sys.executable, "app.py", "--host", "127.0.0.1", "--port", "0", *flags]
        port = _free_port()
        words[words.index("0")] = str(port)
        self.process = subprocess.Popen(words, cwd=ROOT, env={**os.environ, **own}, stdout=self.log, stderr=self.log)
        self.address = f"http://127.0.0.1:{port}"
        for _ in range(1200):
            try:
                httpx.get(f"{self.address}/config", trust_env=False).raise_for_status()
                return
            except httpx.HTTPError:
                time.sleep(0.2)
        raise SystemExit("the server did not start")

    def figures(self) -> dict[str, int]:
        """Of the process: resident megabytes, threads, handles; of its folders: files in the cache, pieces of work."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        (passing,) = (self.folder / "tmp").glob("xmem-demo-*")
        return {
            "resident_mb": int(re.search(r"VmRSS:\s+(\d+)", status)[1]) // 1024,
            "threads": int(re.search(r"Threads:\s+(\d+)", status)[1]),
            "handles": len(os.listdir(f"/proc/{self.process.pid}/fd")),
            "cache_files": sum(path.is_file() for path in (passing / "cache").rglob("*")),
            "work_folders": len(list((passing / "work").glob("*/*-*"))),
            "sessions": len(list((self.folder / "kept" / "sessions").glob("*"))),
        }

    def end(self) -> None:
        self.process.terminate()
        self.process.wait(60)
        self.log.close()


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Visitor(RawVisitor):
    """Knows his own clip, so that he notices another's."""

    def __init__(self, address: str, number: int, clip: Path, seen: list, crossed: Counter) -> None:
        super().__init__(address)
        self.server = address
        self.number, self.clip, self.seen, self.crossed = number, clip, seen, crossed
        self.left = threading.Event()
        threading.Thread(target=self._beat, daemon=True).start()

    def _beat(self) -> None:
        """As a page does: the server takes its end for the visit's."""
        try:
            with httpx.stream("GET", f"{self.address}/heartbeat/{self.visit}", timeout=None, trust_env=False) as lines:
                for _ in lines.iter_lines():
                    if self.left.is_set():
                        return
        except httpx.HTTPError:
            return

    def ask(self, name: str, *data):
        began = time.monotonic()
        try:
            return super().ask(name, *data)
        finally:
            self.seen.append((name, time.monotonic() - began))

    def fetch(self, file: dict) -> bytes:
        return self.http.get(f"{self.address}/file={file['path']}").raise_for_status().content

    def again(self) -> "Visitor":
        """The same one in a new page."""
        return Visitor(self.server, self.number, self.clip, self.seen, self.crossed)

    def leave(self) -> None:
        self.left.set()
        self.http.close()

    def check(self, about: dict) -> None:
        self.crossed["looked"] += 1
        self.crossed["crossed"] += about["name"] != self.clip.stem

    def check_name(self, name: str) -> None:
        """Files are called after the clip."""
        self.crossed["looked"] += 1
        self.crossed["crossed"] += not name.startswith(self.clip.stem)

    def check_picture(self, image: np.ndarray) -> None:
        """The bottom of each clip has a grey of its own."""
        self.crossed["looked"] += 1
        self.crossed["crossed"] += abs(float(image[-20:, -20:].mean()) - grey_of(self.number)) > 6


def grey_of(number: int) -> int:
    return 16 + number * 2


def clip_of(folder: Path, number: int, frames: int) -> Path:
    path = folder / f"clip-{number:03d}.mp4"
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 320, 180, "yuv420p"
        for i in range(frames):
            image = np.full((180, 320, 3), grey_of(number), np.uint8)
            image[60:90, 40 + i : 120 + i] = (230, 200, 40)
            for packet in stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")):
                file.mux(packet)
        for packet in stream.encode(None):
            file.mux(packet)
    return path


def visit(visitor: Visitor, rng: random.Random, until: float, ends: Counter) -> None:
    """Open, paint, run, look, take away, in a random order of light actions; sometimes the tab is closed in mid-run."""
    while time.monotonic() < until:
        try:
            visitor.check(visitor.ask("open_video", visitor.upload(visitor.clip))[0])
            visitor.ask("add_polygon", 0, 1, [[40, 60], [120, 60], [120, 90], [40, 90]])
            for _ in range(rng.randrange(2, 8)):
                light(visitor, rng)
            if rng.random() < 0.25:  # a closed tab
                visitor.join("propagate", "", 64, "both", False, False, "neighbours", None)
                time.sleep(rng.random())
                ends["closed tabs"] += 1
                visitor.leave()
                visitor = visitor.again()
                continue
            visitor.check(visitor.ask("propagate", "", 64, "both", False, False, "neighbours", None)[0])
            for _ in range(rng.randrange(2, 8)):
                light(visitor, rng)
            video = visitor.ask("render")[0]
            for file in [video, *visitor.ask("export", ["csv", "index_png"])[0]]:
                visitor.fetch(file)
                visitor.check_name(Path(file["path"]).name)
                ends["downloads"] += 1
            ends["rounds"] += 1
        except Refused as error:
            ends[f"refused: {error}"] += 1
            time.sleep(0.5)
        except httpx.HTTPError as error:
            ends[f"broken: {type(error).__name__}"] += 1
            time.sleep(0.5)
    visitor.leave()


def light(visitor: Visitor, rng: random.Random) -> None:
    name = rng.choice(CHOICES)
    if name == "read_frame":
        _, picture, _ = visitor.ask(name, rng.randrange(10))
        visitor.check_picture(np.array(Image.open(io.BytesIO(visitor.fetch(picture)))))
    elif name == "add_polygon":
        visitor.ask(name, rng.randrange(10), 1, [[30, 50], [100, 50], [100, 100]])
    elif name == "frame_at":
        visitor.ask(name, 0.1)
    elif name == "set_trim":
        visitor.ask(name, 0, 9)
    else:
        found = visitor.ask(name)[0]
        if name == "describe_session":
            visitor.check(found)
        elif name == "undo":
            visitor.ask("redo")


def many_visitors(server: Server, folder: Path, count: int, seconds: float) -> dict:
    seen: list[tuple[str, float]] = []
    crossed, ends = Counter(), Counter()
    clips = [clip_of(folder, number, 10) for number in range(count)]
    warm = Visitor(server.address, 0, clips[0], [], Counter())
    visit(warm, random.Random(0), time.monotonic() + 1, Counter())
    before = server.figures()
    until = time.monotonic() + seconds
    threads = [
        threading.Thread(
            target=visit,
            args=(Visitor(server.address, number, clip, seen, crossed), random.Random(number), until, ends),
        )
        for number, clip in enumerate(clips)
    ]
    for thread in threads:
        thread.start()
    load, highest = [], Counter()
    while any(thread.is_alive() for thread in threads):
        time.sleep(2)
        load.append(os.getloadavg()[0])
        for name, value in server.figures().items():
            highest[name] = max(highest[name], value)
    time.sleep(30)
    lights = sorted(took for name, took in seen if name in LIGHT)
    by_name = {
        name: [round(statistics.median(took), 3), round(sorted(took)[int(0.95 * len(took))], 3), len(took)]
        for name in sorted({name for name, _ in seen})
        if (took := [took for other, took in seen if other == name])
    }
    return {
        "visitors": count,
        "calls": len(seen),
        "light_p50": round(lights[len(lights) // 2], 3),
        "light_p95": round(lights[int(0.95 * len(lights))], 3),
        "by_name_p50_p95_n": by_name,
        "crossed": dict(crossed),
        "ends": dict(ends),
        "before": before,
        "highest": dict(highest),
        "after_30s": server.figures(),
        "load": [round(min(load), 1), round(max(load), 1)],
    }


def many_sessions(server: Server, folder: Path, count: int, size: tuple[int, int]) -> dict:
    """Each: open, paint, run, render, leave. size: (width, height) of the clip in pixels."""
    clip, figures = write_clip(folder / "clip.mp4", *size), {}
    for number in range(1, count + 1):
        visitor = Visitor(server.address, 0, clip, [], Counter())
        visitor.ask("open_video", visitor.upload(clip))
        visitor.ask("add_polygon", 0, 1, [[40, 60], [120, 60], [120, 90], [40, 90]])
        visitor.ask("propagate", "", 64, "both", False, False, "neighbours", None)
        visitor.fetch(visitor.ask("render")[0])
        visitor.ask("export", ["csv"])
        visitor.leave()
        if number in (1, 5, 10) or number % 20 == 0:
            figures[number] = server.figures()
            print(number, json.dumps(figures[number]), flush=True)
    return {"sessions": figures, "growth_20_to_last": figures[count]["resident_mb"] / figures[20]["resident_mb"]}


@contextmanager
def served(flags: list[str]):
    with tempfile.TemporaryDirectory() as folder:
        server = Server(Path(folder), flags)
        try:
            yield server, Path(folder)
        finally:
            server.end()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["visitors", "sessions"])
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--width", type=int, default=320, help="of the clips of sessions")
    parser.add_argument("--seconds", type=float, default=60)
    args, flags = parser.parse_known_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # with the server
    with served(flags) as (server, folder):
        if args.what == "visitors":
            print(json.dumps(many_visitors(server, folder, args.count, args.seconds), indent=1))
        else:
            print(json.dumps(many_sessions(server, folder, args.count, (args.width, args.width * 9 // 16)), indent=1))


if __name__ == "__main__":
    main()
