"""A folder of clips, each with the mask of its first frame: followed by this process, or by workers.

Each clip is a session in the folder of its results, on a disk that all workers share: whoever comes to it goes on where
it was left.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from queue import Empty, Queue

import numpy as np

from xmem.checkpoints import load_model
from xmem.errors import InputError
from xmem.export import EXPORTS, export
from xmem.networks import Network
from xmem.render.masks import read_mask
from xmem.scale.pool import ATTEMPTS, Pool, WorkerDied, name_of
from xmem.session import Session, TrackSettings

SUFFIXES = (".mp4", ".mov", ".mkv", ".webm", ".avi", ".gif", ".m4v", ".mpg", ".ts")
KIND = "index_png"  # what is written of each clip: a ZIP of index masks
SESSION = "session"


@dataclass(frozen=True)
class Clip:
    """video; mask: an image of its first frame's objects. own: the folder of its results."""

    video: Path
    mask: Path
    own: Path

    @property
    def name(self) -> str:
        return self.own.name

    @property
    def masks(self) -> Path:
        """The file that is written."""
        return self.own / f"{self.name}{EXPORTS[KIND].suffix}"


@dataclass(frozen=True)
class ClipProgress:
    """Of a clip: frames done of all that were to do when its worker came to it; worker: the process. file: its masks,
    at the end."""

    name: str
    done: int
    total: int
    worker: int
    file: Path | None = None


def clips_in(folder: Path, output: Path) -> list[Clip]:
    """The videos in a folder, by name; walk.mp4 comes with walk.png. output: for a folder of results for each.

    Raises InputError where there is none, or a mask is missing.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder: name one that holds clips and the masks of their first frames.")
    videos = sorted(path.resolve() for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    if not videos:
        raise InputError(f"There is no video in {folder}: put clips there, walk.mp4 with its mask walk.png.")
    for video in videos:
        if not video.with_suffix(".png").is_file():
            raise InputError(f"{video.name} has no mask: put {video.stem}.png beside it, that of its first frame.")
    if len({video.stem for video in videos}) < len(videos):
        raise InputError("Two clips have the same name but for its ending: rename one of them.")
    return [Clip(video, video.with_suffix(".png"), output.resolve() / video.stem) for video in videos]


def follow(clip: Clip, settings: TrackSettings) -> Iterator[ClipProgress]:
    """Compute what is pending of a clip, from where it was left, and write its masks. Closed early, it may be gone on
    with. Raises InputError."""
    session, worker = _session(clip), os.getpid()
    if session.pending(settings):
        with closing(session.propagate(settings, _network(settings))) as steps:
            for step in steps:
                yield ClipProgress(clip.name, step.done, step.total, worker)
    for _ in export(KIND, Session.open(session.folder), clip.own, clip.name):
        pass
    yield ClipProgress(clip.name, 0, 0, worker, clip.masks)


def one_by_one(clips: Sequence[Clip], settings: TrackSettings) -> Generator[ClipProgress, None, None]:
    """All clips, by this process. Raises InputError for those that could not be followed, once the others are done."""
    failures = []
    for clip in clips:
        try:
            yield from follow(clip, settings)
        except InputError as error:
            failures.append(f"{clip.name}: {error}")
    if failures:
        raise InputError(" ".join(failures))


def by_workers(
    clips: Sequence[Clip],
    settings: TrackSettings,
    pool: Pool,
    work: Callable[[Clip, TrackSettings], Iterator[ClipProgress]] = follow,
) -> Generator[ClipProgress, None, None]:
    """As `one_by_one`, by the workers of a pool, as many clips at once as it has. A clip whose worker dies goes on from
    its last saved state. work: what workers do with each."""
    waiting: Queue[Clip] = Queue()
    for clip in clips:
        waiting.put(clip)
    told: Queue[ClipProgress | Exception | None] = Queue()
    ended = threading.Event()

    def serve() -> None:
        try:
            while not ended.is_set():
                try:
                    clip = waiting.get_nowait()
                except Empty:
                    return
                try:
                    _attend(clip)
                except InputError as error:
                    told.put(InputError(f"{clip.name}: {error}"))
        except Exception as error:
            told.put(error)
        finally:
            told.put(None)

    def _attend(clip: Clip) -> None:
        deaths = 0
        while True:
            try:
                with closing(pool.stream(name_of(work), clip, settings)) as steps:
                    for step in steps:
                        told.put(step)
                        if ended.is_set():
                            return
                return
            except WorkerDied:
                deaths += 1
                if deaths == ATTEMPTS:
                    raise

    threads = [threading.Thread(target=serve, daemon=True) for _ in range(min(pool.count, len(clips)))]
    for thread in threads:
        thread.start()
    failures, left = [], len(threads)
    try:
        while left:
            item = told.get()
            if item is None:
                left -= 1
            elif isinstance(item, ClipProgress):
                yield item
            elif isinstance(item, InputError):
                failures.append(str(item))
            else:
                raise item
    finally:
        ended.set()
        for thread in threads:
            thread.join()
    if failures:
        raise InputError(" ".join(failures))


@lru_cache(maxsize=1)
def _loaded(model: str, device: str, precision: str) -> Network:
    return load_model(model, device, precision)


def _network(settings: TrackSettings) -> Network:
    """That of the clip before, where it is the same."""
    return _loaded(settings.model, settings.device, settings.precision)


def _session(clip: Clip) -> Session:
    """A clip's session, begun, or as an earlier run left it. Raises InputError where that was of another video."""
    folder = clip.own / SESSION
    if Session.is_in(folder):
        session = Session.open(folder)
        if session.video.stat().st_size != clip.video.stat().st_size:
            raise InputError(f"its results are of another video: choose another output, or remove {clip.own}.")
    else:
        clip.own.mkdir(parents=True, exist_ok=True)
        session = Session.create(clip.video, folder, clip.name)
    mask = read_mask(clip.mask, session.info.width, session.info.height).index
    if not session.key_frames or not np.array_equal(session.given_mask(0), mask):
        session.set_key_frame(0, mask)
    return session
