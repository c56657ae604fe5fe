"""Files on their way between the server and its visitors: whose they are, and that they go with the visit.

<cache>/<a name that nobody can guess>/<file>   uploads, and what is handed to visitors: Gradio serves it
<owners>/<the same name>                        which visit it belongs to, as a digest
"""

import contextlib
import os
import secrets
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from gradio import route_utils

UNFINISHED_SECONDS = 3600  # after which an upload that nobody used, or that broke off, goes
EMPTY_SECONDS = 60  # the same for the empty files that Gradio leaves beside each file that it hands to an event
_NAME_BYTES = 16


class Passing:
    """What lies in one server's cache. Visits are named by their digests."""

    def __init__(self, cache: Path, owners: Path, is_shared: bool = False) -> None:
        """is_shared: others may use the cache, so that nothing goes that we know nothing of."""
        self._cache, self._owners, self._is_shared = cache, owners, is_shared

    def hand(self, visit: str, path: Path) -> Path:
        """A place for a file from which Gradio serves it, to whoever has its address; it is linked or copied."""
        folder = self._cache / secrets.token_hex(_NAME_BYTES)
        folder.mkdir(mode=0o700, parents=True)
        self._own(folder.name, visit)
        with contextlib.suppress(FileExistsError):
            try:
                os.link(path, folder / path.name)
            except OSError:  # another file system, or one without links
                shutil.copyfile(path, folder / path.name)
        return folder / path.name

    def claim(self, visit: str, path: Path) -> bool:
        """Whether an upload is this visit's: it belongs to the first that uses it, as what was handed out does."""
        with contextlib.suppress(ValueError):
            name = path.resolve().relative_to(self._cache.resolve()).parts[0]
            return self._own(name, visit) == visit
        return True  # not of this cache: Gradio has checked whether it may be read

    def _own(self, name: str, visit: str) -> str:
        """The visit that owns a folder of the cache: this one, where none did."""
        self._owners.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            with (self._owners / name).open("x") as file:
                file.write(visit)
            return visit
        except FileExistsError:
            return (self._owners / name).read_text()

    def sweep(self, is_over: Callable[[str], bool], oldest: float) -> None:
        """Remove what belongs to visits that are over, what is older than `oldest` (seconds since 1970), and what
        nobody used."""
        now = time.time()
        for owner in self._owners.glob("*"):
            if is_over(owner.read_text()) or _changed(owner) < oldest:
                shutil.rmtree(self._cache / owner.name, ignore_errors=True)
                owner.unlink(missing_ok=True)
        for path in [] if self._is_shared else self._cache.glob("*"):
            age = now - _changed(path)
            if path.is_file():
                is_left = age > (UNFINISHED_SECONDS if _bytes(path) else EMPTY_SECONDS)
                if is_left:
                    path.unlink(missing_ok=True)
            elif age > UNFINISHED_SECONDS and not (self._owners / path.name).exists():
                shutil.rmtree(path, ignore_errors=True)


def apart() -> None:
    """For this process: every upload gets a folder of its own, also where two are the same to the byte, so that the
    folder belongs to one visit."""
    begin = route_utils.GradioUploadFile.__init__
    if getattr(begin, "is_apart", False):
        return

    def begin_apart(self: route_utils.GradioUploadFile, *args: object, **named: object) -> None:
        begin(self, *args, **named)
        self.sha.update(secrets.token_bytes(_NAME_BYTES))  # Gradio names the folder by it

    begin_apart.is_apart = True
    route_utils.GradioUploadFile.__init__ = begin_apart


def _changed(path: Path) -> float:
    """When a file or folder was changed; infinitely late where it is gone."""
    try:
        return path.stat().st_mtime
    except OSError:
        return float("inf")


def _bytes(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
