"""One visitor's workspace on disk: a folder of its own for every run, gone when the run, the visit or its age ends.

<temporary folder>/xmem-demo-XXXX/      one per server process, mode 0700
    cache/                              what Gradio serves (uploads, results), unless GRADIO_TEMP_DIR says otherwise
    visitors/<digest>/                  one per visitor
        session/                        the visitor's work, an `xmem.Session`
        lock                            held by whoever changes it
        stop                            present when this visitor asked to stop
        thumbnails/                     small pictures of frames
        run-XXXX/, render-XXXX/ ...     one per run or other piece of work, while it goes on
"""

import contextlib
import hashlib
import logging
import os
import re
import shutil
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from xmem.errors import InputError

PREFIX = "xmem-demo-"
MAX_AGE_SECONDS = 2 * 3600
SWEEP_SECONDS = 600
LOCK_POLL_SECONDS = 0.05

log = logging.getLogger("xmem.demo")


def download_stem(upload: str | os.PathLike) -> str:
    """The name of an uploaded file as downloads carry it: without folders, suffix, or anything a shell could mind."""
    stem = re.sub(r"[^\w.]+", "-", Path(upload).stem).strip(".-_")
    return stem[:80] or "video"


@dataclass(frozen=True)
class Workspace:
    """The folder of one visitor; every file in it is named by us, except the downloads inside a run's folder."""

    path: Path

    @property
    def stop_file(self) -> Path:
        """Present when the visitor asked to stop; a file, so that another process (a Space's GPU worker) sees it."""
        return self.path / "stop"

    @property
    def session_folder(self) -> Path:
        """The visitor's work (see `demo.visit.studio`); it is there once a video was chosen."""
        return self.path / "session"

    @contextlib.contextmanager
    def locked(self, wait_seconds: float) -> Iterator[None]:
        """Held while the visitor's work is changed; also another process's.

        Raises InputError where somebody else holds it for longer than `wait_seconds`.
        """
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = FileLock(self.path / "lock", thread_local=False)  # a generator may end in another thread
        try:
            held = lock.acquire(timeout=wait_seconds, poll_interval=LOCK_POLL_SECONDS)
        except Timeout as error:
            raise InputError("A run is going on: wait until it is done, or press Stop.") from error
        with held:
            yield

    @property
    def _left_file(self) -> Path:
        return self.path / "left"

    def request_stop(self) -> None:
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.stop_file.touch()

    def clear_stop(self) -> None:
        self.stop_file.unlink(missing_ok=True)

    def new_run(self) -> contextlib.AbstractContextManager[Path]:
        """A fresh folder for one run, removed with all it holds when the run ends, however it ends."""
        return self.new_folder("run-")

    @contextlib.contextmanager
    def new_folder(self, prefix: str) -> Iterator[Path]:
        """A fresh folder for one piece of work, removed with all it holds when that ends, however it ends."""
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=prefix, dir=self.path))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            if self._left_file.exists():
                self.leave()

    def keep_alive(self) -> None:
        """Note that the visitor is still here, so that age does not remove a long run."""
        with contextlib.suppress(FileNotFoundError):
            os.utime(self.path)

    def check_here(self) -> None:
        """Raise InputError once the visit is over, so that work ends for which nobody waits."""
        if self._left_file.exists():
            raise InputError("The visit is over: what was being made was left.")

    def leave(self) -> None:
        """The visit is over: stop what runs (its folder goes with it), and remove the workspace if nothing does."""
        if not self.path.exists():
            return
        if any(self.path.glob("*-????????")):  # folders of work that goes on
            self._left_file.touch()
            self.request_stop()
        else:
            shutil.rmtree(self.path, ignore_errors=True)


class Workspaces:
    """All workspaces of one server process, below one folder that only its user can enter."""

    def __init__(self, parent: Path | None = None) -> None:
        self.parent = parent or Path(tempfile.gettempdir())
        self.root = Path(tempfile.mkdtemp(prefix=PREFIX, dir=self.parent))  # mode 0700
        self.cache = self.root / "cache"
        self._visitors = self.root / "visitors"

    def of(self, session: str | None) -> Workspace:
        """The workspace of a Gradio session; without one (None) a new one that nobody else can name."""
        digest = hashlib.sha256((session or uuid.uuid4().hex).encode()).hexdigest()[:32]
        return Workspace(self._visitors / digest)

    def sweep(self, max_age_seconds: float = MAX_AGE_SECONDS) -> None:
        """Remove workspaces that nobody used for so long, and what servers that died left behind."""
        with contextlib.suppress(FileNotFoundError):
            os.utime(self.root)  # the sign of life that other servers' sweeps look for
        oldest = time.time() - max_age_seconds
        for folder in [*self._visitors.glob("*"), *self.parent.glob(PREFIX + "*")]:
            with contextlib.suppress(OSError):
                if folder != self.root and folder.is_dir() and folder.stat().st_mtime < oldest:
                    shutil.rmtree(folder, ignore_errors=True)
                    log.info("Removed %s, unused for %.0f minutes.", folder.name, max_age_seconds / 60)

    def keep_sweeping(self, every_seconds: float = SWEEP_SECONDS) -> None:
        """Sweep now, and from now on in the background for as long as the process lives."""

        def work() -> None:
            while True:
                self.sweep()
                time.sleep(every_seconds)

        threading.Thread(target=work, name="sweep", daemon=True).start()

    def close(self) -> None:
        shutil.rmtree(self.root, ignore_errors=True)
