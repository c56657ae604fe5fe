"""Mutations of real files of every kind that strangers give, each read as the page reads it.

    python -m tests.fuzz --cases 20000 --seed 1

Only the user error may come of one, within the memory of a reader and 20 seconds, and nothing may appear outside of its
folder. The suite tries a few hundred (tests/test_fuzz.py).
"""

from __future__ import annotations

import argparse
import logging
import random
import resource
import shutil
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from PIL import Image

import tests.conftest  # noqa: F401 - which finds the helpers
from tests.hostile import mutated
from tests.render import test_hostile as masks
from tests.scoring import test_quality as truths
from tests.session import test_foreign as bundles
from tests.video.clips import flat_images, write_clip
from tests.video.test_hostile import copies
from xmem import InputError, Session
from xmem.scoring.quality import score
from xmem.video import FrameAccess, isolated
from xmem.video.writer import VideoWriter

MOST_SECONDS = 20
_SOUNDS = {"a.mp4": "aac", "f.mkv": "flac", "o.mkv": "libopus", "m.mkv": "libmp3lame", "c.avi": "ac3", "t.ts": "aac"}
_IMAGES = {"png": "PNG", "jpg": "JPEG", "webp": "WEBP", "bmp": "BMP"}


class Fuzz:
    """A corpus of whole files in `folder`, and what becomes of changed ones. bundle: the files of a real one.

    outcomes: how many of each kind were read and refused. slowest: seconds of one.
    """

    def __init__(self, folder: Path, bundle: bundles.Entries, seed: int) -> None:
        self._folder, self._case, self._rng = folder, folder / "case", random.Random(seed)
        self._kinds = list(self._all_kinds(bundle))
        self._number = 0
        self.outcomes: Counter[str] = Counter()
        self.slowest = 0.0
        self._there = self._outside()

    def run(self, cases: int) -> None:
        """Try so many. Raises AssertionError, or what came in place of the user error."""
        for _ in range(cases):
            name, attempt = self._kinds[self._number % len(self._kinds)]
            self._number += 1
            self._case.mkdir()
            began = time.monotonic()
            try:
                attempt()
                fate = "read"
            except InputError as error:
                assert str(self._folder) not in str(error), "a sentence names a folder of the server"
                fate = "refused"
            except BaseException:
                kept = Path(tempfile.mkdtemp(prefix="fuzz-found-"))
                shutil.copytree(self._case, kept / name)
                print(f"Case {self._number} ({name}) is kept in {kept}.", file=sys.stderr)
                raise
            self.slowest = max(self.slowest, time.monotonic() - began)
            self.outcomes[f"{name} {fate}"] += 1
            shutil.rmtree(self._case)
            assert self._outside() == self._there, "a file outside of the case's folder"

    def _outside(self) -> list[str]:
        folders = (self._folder, self._folder.parent)  # which nobody else writes into
        return sorted(str(path) for folder in folders for path in folder.iterdir() if path != self._case)

    def _all_kinds(self, bundle: bundles.Entries) -> Iterator[tuple[str, Callable[[], object]]]:
        made = self._folder / "corpus"
        made.mkdir()
        for path in copies(made):
            data, suffix = path.read_bytes(), path.suffix
            yield suffix[1:], lambda data=data, suffix=suffix: self._video(data, suffix)
        for name, codec in _SOUNDS.items():
            data = write_clip(made / f"sound-{name}", flat_images(6), audio=codec).read_bytes()
            yield f"sound {name}", lambda data=data, name=name: self._sound(data, name)
        for suffix in _IMAGES:
            yield f"folder of {suffix}", lambda suffix=suffix: self._images(suffix)
        for name, data in masks.kinds().items():
            yield f"mask {name}", lambda name=name, data=data: self._mask(name, data)
        for ending in (".json", ".csv", ".png", ""):
            for _ in range(2):
                yield f"bundle, {ending or 'any'}", lambda ending=ending: self._bundle(bundle, ending)
        yield "bundle, as a ZIP", lambda: self._zip(bundles.zipped(bundle, made / "bundle.zip").read_bytes())
        whole = truths.zip_of(made / "truth.zip", truths.truths()).read_bytes()
        for _ in range(2):
            yield "ground truth", lambda: self._truth(whole)

    def _write(self, name: str, data: bytes) -> Path:
        path = self._case / name
        path.write_bytes(mutated(data, self._rng))
        return path

    def _video(self, data: bytes, suffix: str) -> None:
        session = Session.create(self._write(f"clip{suffix}", data), self._case / "session")
        with Session.open(session.folder).access() as access:
            list(access.backward(access.frame_count - 1, max(0, access.frame_count - 4)))
        session.image(0)

    def _sound(self, data: bytes, name: str) -> None:
        """It comes along into a new file."""
        with FrameAccess(self._write(name, data)) as access, VideoWriter(self._case / "out.mp4", access) as writer:
            for frame in access.forward(0, access.frame_count - 1):
                writer.write(frame.image, frame)

    def _images(self, suffix: str) -> None:
        folder = self._case / "images"
        folder.mkdir()
        for index in range(3):
            Image.new("RGB", (24, 16), (80 * index, 30, 90)).save(folder / f"{index}.{suffix}", _IMAGES[suffix])
        path = folder / f"1.{suffix}"
        path.write_bytes(mutated(path.read_bytes(), self._rng))
        session = Session.create(folder, self._case / "session")
        with session.access() as access:
            list(access.forward(0, access.frame_count - 1))

    def _mask(self, name: str, data: bytes) -> None:
        path = self._write(name, data)
        masks.read_mask(path, masks.WIDTH, masks.HEIGHT)

    def _bundle(self, entries: bundles.Entries, ending: str) -> None:
        """One whose damage is in a file of that ending."""
        some = {name: data for name, data in entries.items() if name.endswith(ending)}
        changed = bundles.broken(some, self._rng)
        rest = {name: data for name, data in entries.items() if name not in some}
        self._open(bundles.zipped(rest | changed, self._case / "bundle.zip"))

    def _zip(self, whole: bytes) -> None:
        self._open(self._write("bundle.zip", whole))

    def _open(self, path: Path) -> None:
        bundles.use(Session.open_bundle(path, self._case / "opened"))

    def _truth(self, whole: bytes) -> None:
        score(truths.shifted, truths.NAMES, self._write("truth.zip", whole))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__.split("\n")[0])
    parser.add_argument("--cases", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    isolated.isolate()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder) / "work"
        work.mkdir()
        (Path(folder) / "cases").mkdir()
        fuzz = Fuzz(Path(folder) / "cases", bundles.made(work)[1], options.seed)
        for done in range(0, options.cases, 500):
            fuzz.run(min(500, options.cases - done))
            highest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            print(f"{done + 500}: at most {highest:.0f} MB here, {fuzz.slowest:.1f} s for one", flush=True)
        isolated.isolate(False)
    for outcome, count in sorted(fuzz.outcomes.items()):
        print(f"{count:7} {outcome}")


if __name__ == "__main__":
    main()
