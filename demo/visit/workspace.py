"""One session's folder on disk, and the passing folders of what is made from it.

<sessions folder>/sessions/<digest of the key>/     see `demo.visit.keeping`
    session/                                        the work, an `xmem.Session`
    lock, run-lock                                  held by whoever changes it, and by its run
    stop, keep-rest                                 present when the visitor asked to stop, and to keep the rest
    opening                                         present while another video is made smaller; holds why to stop
    thumbnails/                                     small pictures of frames
<the server's temporary folder>/work/<digest>/
    run-XXXX/, render-XXXX/ ...                     one per piece of work, while it goes on
"""

import contextlib
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from filelock import FileLock, Timeout

from xmem.errors import InputError

LOCK_POLL_SECONDS = 0.05
KEEP_REST, OPENING = "keep-rest", "opening"
LOCKS = {"change": "lock", "run": "run-lock"}  # files
HELD = {
    "change": "Another change of this work is being made: try again in a moment.",
    "run": "A run is going on: wait until it is done, or press Stop.",
}


def download_stem(upload: str | os.PathLike) -> str:
    """The name of an uploaded file as downloads carry it: without folders, suffix, or anything a shell could mind."""
    stem = re.sub(r"[^\w.]+", "-", Path(upload).stem).strip(".-_")
    return stem[:80] or "video"


@dataclass(frozen=True)
class Workspace:
    """The folder of one session, and the one for work on it that is gone when it ends; every file in them is named by
    us, except the downloads inside a run's folder."""

    path: Path
    work: Path
    left: Path | None = field(default=None, compare=False)  # a file that is there once the visitor has left

    @property
    def stop_file(self) -> Path:
        """Present when the visitor asked to stop; a file, so that another process (a Space's GPU worker) sees it."""
        return self.path / "stop"

    @property
    def session_folder(self) -> Path:
        """The visitor's work (see `demo.visit.studio`); it is there once a video was chosen."""
        return self.path / "session"

    @contextlib.contextmanager
    def locked(self, wait_seconds: float, what: str = "change") -> Iterator[None]:
        """Held while the visitor's work is changed, or by its run (what: "run"); also another process's.

        Raises InputError where somebody else holds it for longer than `wait_seconds`.
        """
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = FileLock(self.path / LOCKS[what], thread_local=False)  # a generator may end in another thread
        try:
            held = lock.acquire(timeout=wait_seconds, poll_interval=LOCK_POLL_SECONDS)
        except Timeout as error:
            raise InputError(HELD[what]) from error
        with held:
            yield

    def request_stop(self, keep_rest: bool = False) -> None:
        """keep_rest: what is not computed by then stays as it was before."""
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        if keep_rest:
            (self.path / KEEP_REST).touch()
        self.stop_file.touch()

    @property
    def keeps_rest(self) -> bool:
        """Whether the visitor asked to stop, and to keep the rest as it was."""
        return (self.path / KEEP_REST).exists()

    def clear_stop(self) -> None:
        (self.path / KEEP_REST).unlink(missing_ok=True)
        self.stop_file.unlink(missing_ok=True)

    @contextlib.contextmanager
    def opening(self) -> Iterator[Callable[[], str]]:
        """Held while another video is made smaller; gives what tells why that is to stop, or ""."""
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = self.path / OPENING
        file.write_text("")
        try:
            yield file.read_text
        finally:
            file.unlink(missing_ok=True)

    def stop_opening(self, why: str) -> None:
        """Where another video is being made smaller, that is not wanted any more."""
        if (self.path / OPENING).exists():
            (self.path / OPENING).write_text(why)

    def new_run(self) -> contextlib.AbstractContextManager[Path]:
        """A fresh folder for one run, removed with all it holds when the run ends, however it ends."""
        return self.new_folder("run-")

    @contextlib.contextmanager
    def new_folder(self, prefix: str) -> Iterator[Path]:
        """A fresh folder for one piece of work, removed with all it holds when that ends, however it ends."""
        self.work.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=prefix, dir=self.work))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def keep_alive(self) -> None:
        """Note that the session is in use: its age counts from here."""
        with contextlib.suppress(FileNotFoundError):
            os.utime(self.path)

    def check_here(self) -> None:
        """Raise InputError once the visit is over, so that work ends for which nobody waits."""
        if self.left and self.left.exists():
            raise InputError("The visit is over: what was being made was left.")
