"""Which session a key opens, which one a page is at, and how long sessions are kept.

<sessions folder>/                      XMEM_SESSIONS, else in the user's cache; it outlives the server
    sessions/<digest of the key>/       one per session, mode 0700: see `demo.visit.workspace`
    visits/<digest>                     the key of the session that a page or program is at
<temporary folder>/xmem-demo-XXXX/      one per server process, mode 0700; it goes with the server
    cache/                              what Gradio serves (uploads, results), unless GRADIO_TEMP_DIR says otherwise
    work/                               what is being made
    visitors/                           of pages that have no session yet: whether they asked to stop
    owners/                             whose each file in the cache is: see `demo.visit.passing`
    left/                               a mark for each visit that is over
    begun/                              how many sessions each visit has begun
"""

import contextlib
import hashlib
import itertools
import logging
import os
import secrets
import shutil
import stat
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path

from platformdirs import user_cache_path

from demo.visit.passing import Passing
from demo.visit.workspace import Workspace
from xmem.errors import InputError
from xmem.limits import limits
from xmem.session import Session

PREFIX = "xmem-demo-"
UNUSED_SECONDS = 3600  # what was used since then is never removed for room
DEAD_SECONDS = 2 * 3600  # after which a server without a sign of life is gone
LEFT_SECONDS = 300  # after which a page that was closed is not expected back
PASSING_SECONDS = 6 * 3600  # for which a file is handed out at most
JUMP_SECONDS = 3600  # by which a clock that was set runs ahead of one that nobody sets
SWEEP_SECONDS = 600
SWEEPS_OF_PASSING = 10  # to one of sessions
KEY_BYTES = 24  # 192 bits: nobody guesses one

log = logging.getLogger("xmem.demo")


def sessions_folder() -> Path:
    """Where sessions are kept: XMEM_SESSIONS, else in the user's cache."""
    chosen = os.environ.get("XMEM_SESSIONS")
    return Path(chosen) if chosen else user_cache_path("xmem", appauthor=False) / "sessions"


class Workspaces:
    """All sessions of one folder, and what one server process has beside them."""

    def __init__(self, folder: Path | None = None, temporary: Path | None = None) -> None:
        """folder: where sessions are kept, `sessions_folder()` if left out; temporary: the temporary folder."""
        self.folder = folder or sessions_folder()
        self._sessions, self._visits = self.folder / "sessions", self.folder / "visits"
        try:
            for each in (self._sessions, self._visits):
                each.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f"Sessions cannot be kept in their folder ({error.strerror}): name another one in XMEM_SESSIONS."
            ) from error
        self._clock = (time.time(), time.monotonic())
        self._temporary = temporary or Path(tempfile.gettempdir())
        self.root = Path(tempfile.mkdtemp(prefix=PREFIX, dir=self._temporary))  # mode 0700
        self.cache = Path(os.environ.get("GRADIO_TEMP_DIR") or self.root / "cache")
        self._passing = Passing(self.cache, self.root / "owners", is_shared=self.root not in self.cache.parents)

    def of(self, visit: str | None) -> Workspace:
        """The folder of the session that a visit (Gradio's session hash) is at; an empty one before it has any."""
        digest = _digest(visit or secrets.token_hex())
        left = self.root / "left" / digest
        left.unlink(missing_ok=True)  # who asks is here
        key = self.key_of(visit)
        if key:
            return replace(self._at(key), left=left)
        return Workspace(self.root / "visitors" / digest, self.root / "work" / digest, left)

    def key_of(self, visit: str | None) -> str | None:
        """The key of the session that a visit is at; None before it has any."""
        try:
            path = self._visits / _digest(visit or "")
            key = path.read_text()
            os.utime(path)  # visits end by age
            return key
        except FileNotFoundError:
            return None

    def new(self) -> tuple[str, Workspace]:
        """A fresh key and its folder, where nothing is yet."""
        key = secrets.token_urlsafe(KEY_BYTES)
        return key, self._at(key)

    def find(self, key: str) -> Workspace | None:
        """The folder of the session with this key; None where there is none (any more)."""
        workspace = self._at(key)
        return workspace if Session.is_in(workspace.session_folder) else None

    def named(self, name: str) -> Workspace | None:
        """The session whose folder has this name (see `Workspace.path`); None where there is none (any more)."""
        workspace = Workspace(self._sessions / name, self.root / "work" / name)
        return workspace if Session.is_in(workspace.session_folder) else None

    def visit(self, visit: str | None, key: str) -> None:
        """A page or program is at the session of this key from now on."""
        path = self._visits / _digest(visit or secrets.token_hex())
        part = path.with_suffix(f".{secrets.token_hex(4)}")
        part.touch(mode=0o600)
        part.write_text(key)
        os.replace(part, path)

    def count_begun(self, visit: str | None) -> int:
        """How many sessions a visit has begun, with the one that it begins now."""
        path = self.root / "begun" / _digest(visit or secrets.token_hex())
        path.parent.mkdir(mode=0o700, exist_ok=True)
        with path.open("ab") as file:
            file.write(b"+")
            return file.tell()

    def leave(self, visit: str | None) -> None:
        """A page or program is at no session any more; the session stays."""
        (self._visits / _digest(visit or "")).unlink(missing_ok=True)

    def depart(self, visit: str | None) -> None:
        """Nobody waits any more for what is being made for this visit."""
        left = self.root / "left" / _digest(visit or "")
        left.parent.mkdir(mode=0o700, exist_ok=True)
        left.touch()

    def _at(self, key: str) -> Workspace:
        digest = _digest(key)
        return Workspace(self._sessions / digest, self.root / "work" / digest)

    def hand(self, visit: str | None, path: Path) -> str:
        """A place for a file from which Gradio serves it, for as long as the visit goes on."""
        return str(self._passing.hand(_digest(visit or secrets.token_hex()), path))

    def claim(self, visit: str | None, upload: Path) -> bool:
        """Whether a file that Gradio keeps belongs to a visit: to the first that uses it."""
        return self._passing.claim(_digest(visit or secrets.token_hex()), upload)

    def sweep_passing(self) -> None:
        """End files that belong to visits that are over for a while, and so may not come back."""
        now, left = time.time(), self.root / "left"
        self._passing.sweep(lambda visit: _used(left / visit) < now - LEFT_SECONDS, now - PASSING_SECONDS)
        for mark in (self.root / "work").glob("*/newest-*"):
            if _used(mark) < now - PASSING_SECONDS:
                mark.unlink(missing_ok=True)
        for folder in (self.root / "work").glob("*"):
            with contextlib.suppress(OSError):  # something is being made in it
                folder.rmdir()

    def sweep(self) -> None:
        """End what is older than it may be, then the oldest sessions while all together are too large."""
        with contextlib.suppress(FileNotFoundError):
            os.utime(self.root)  # the sign of life that other servers' sweeps look for
        self._follow_clock()
        now, oldest = time.time(), time.time() - limits().session_days * 86400
        dead = [root for root in self._temporary.glob(PREFIX + "*") if root != self.root]
        for folder in [*dead, *(self.root / "visitors").glob("*")]:
            if _used(folder) < now - DEAD_SECONDS:
                _remove(folder, "it was left behind")
        for mark in [*(self.root / "left").glob("*"), *(self.root / "begun").glob("*")]:
            if _used(mark) < now - DEAD_SECONDS:
                mark.unlink(missing_ok=True)
        for visit in self._visits.glob("*"):
            if _used(visit) < oldest:
                visit.unlink(missing_ok=True)
        for folder in self._sessions.glob("*"):
            begun = Session.is_in(folder / "session")
            if _used(folder) < (oldest if begun else now - DEAD_SECONDS):
                _remove(folder, "its time was over")
        self._make_room(now)

    def _follow_clock(self) -> None:
        """Where the clock was set forward since the last sweep, what was used before it keeps its age."""
        now, steady = time.time(), time.monotonic()
        before, self._clock = self._clock, (now, steady)
        jump = (now - before[0]) - (steady - before[1])
        if jump < JUMP_SECONDS:
            return
        log.warning("The clock was set forward: sessions keep their age.")
        halfway = now - jump / 2  # up to here, a time is nearer to the clock as it was
        for path in [*self._sessions.glob("*"), *self._visits.glob("*"), *self.root.glob("*/*")]:
            used = _used(path)
            if used <= halfway:
                with contextlib.suppress(OSError):
                    os.utime(path, (used + jump,) * 2)

    def _make_room(self, now: float) -> None:
        sizes = {folder: _size(folder) for folder in self._sessions.glob("*")}
        total, count = sum(sizes.values()), len(sizes)
        for folder in sorted(sizes, key=_used):
            is_too_much = total > limits().disk_bytes or count > limits().sessions
            if not is_too_much or _used(folder) > now - UNUSED_SECONDS:
                return
            _remove(folder, "the limit of all sessions was reached")
            total, count = total - sizes[folder], count - 1

    def keep_sweeping(self, every_seconds: float = SWEEP_SECONDS) -> None:
        """Sweep now, and from now on in the background for as long as the process lives."""

        def work() -> None:
            for number in itertools.count():
                with contextlib.suppress(Exception):  # a full disk, say: the next time may do better
                    self.sweep_passing()
                    if number % SWEEPS_OF_PASSING == 0:
                        self.sweep()
                time.sleep(every_seconds / SWEEPS_OF_PASSING)

        threading.Thread(target=work, name="sweep", daemon=True).start()

    def close(self) -> None:
        """The server ends: what is passing goes, sessions stay."""
        shutil.rmtree(self.root, ignore_errors=True)


def _digest(secret: str) -> str:
    """A name for a folder or file that does not tell the secret."""
    return hashlib.sha256(secret.encode()).hexdigest()[:32]


def _used(path: Path) -> float:
    """When a folder was last used, in seconds since 1970; infinitely late where it is gone."""
    try:
        return path.stat().st_mtime
    except OSError:
        return float("inf")


def _size(folder: Path) -> int:
    """Bytes on disk of all files in a folder."""
    total = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):
            about = path.lstat()
            total += about.st_size if stat.S_ISREG(about.st_mode) else 0
    return total


def _remove(folder: Path, why: str) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    log.info("Removed %s: %s.", folder.name, why)
