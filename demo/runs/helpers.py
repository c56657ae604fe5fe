"""The networks that make first masks, from clicks and from words: the page's own, and the helpers of an extra.

Who installs the extra allows the helpers to all visitors. They are fetched and loaded at their first use, fetched in a
thread of the server, which a visitor is told of and need not wait for.
"""

import threading
import time
from functools import cache

import xmem
from xmem import checkpoints, click
from xmem.checkpoints.catalogue import CLICK, HELPERS, WORDS
from xmem.click.pretrained import is_installed

HOW_TO_GET = "Whoever runs this page can add SAM 2.1 for clicks, and first masks from words: pip install '.[helpers]'."
FORGET_SECONDS = 5.0  # after which a fetch that failed is begun anew


class NotYetError(xmem.InputError):
    """A helper is being fetched; the sentence says how far that is."""


class Fetches:
    """Helpers on their way, each once for all who wait."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._latest: dict[str, checkpoints.FetchProgress | None] = {}
        self._failed: dict[str, tuple[Exception, float]] = {}

    def demand(self, name: str) -> None:
        """Begin to fetch a helper that is not at hand. Raises NotYetError until it is, and for all who ask the error
        of a fetch that has just failed."""
        if checkpoints.is_at_hand(name):
            return
        with self._lock:
            error, when = self._failed.get(name, (None, 0.0))
            if error is not None and time.monotonic() - when < FORGET_SECONDS:
                raise error
            self._failed.pop(name, None)
            if name not in self._latest:
                self._latest[name] = None
                threading.Thread(target=self._fetch, args=(name,), name=f"fetch {name}", daemon=True).start()
            progress = self._latest[name]
        arrived = progress.done_bytes / 1e6 if progress else 0
        total = (progress and progress.total_bytes) or HELPERS[name].size_bytes
        share = f"{arrived:.0f} of {total / 1e6:.0f} MB"
        raise NotYetError(f"{name} is being fetched, once: {share} are here, and it answers after that.")

    def _fetch(self, name: str) -> None:
        failed: Exception | None = None
        try:
            for progress in checkpoints.fetch(name):
                self._latest[name] = progress
        except Exception as error:
            failed = error
        with self._lock:
            del self._latest[name]
            if failed is not None:
                self._failed[name] = failed, time.monotonic()


FETCHES = Fetches()
_LOADING = threading.Lock()  # one at a time, and each once


def has_words() -> bool:
    """Whether masks are made from words here."""
    return is_installed()


def clickers() -> list[tuple[str, str]]:
    """(label, name) of the networks that answer clicks here."""
    names = click.NAMES if is_installed() else (CLICK,)
    return [(f"{name} · {_state(name)}", name) for name in names]


def _state(name: str) -> str:
    record = HELPERS.get(name)
    if record is None:
        return "comes with the page"
    return "at hand" if checkpoints.is_at_hand(name) else f"{record.size_bytes / 1e6:.0f} MB to fetch"


def clicker(name: str) -> xmem.Clicker:
    """A network of `clickers`. Raises InputError for another, NotYetError while it is fetched."""
    if name not in [each for _, each in clickers()]:
        raise xmem.InputError("There is no network of that name for clicks here: choose one of those in the settings.")
    FETCHES.demand(name)
    with _LOADING:
        return _clicker(name)


def words() -> xmem.Words:
    """The network that finds what words name. Raises InputError without the extra, NotYetError while it is fetched."""
    if is_installed():
        FETCHES.demand(WORDS)
    with _LOADING:
        return _words()


_clicker = cache(xmem.Clicker)
_words = cache(xmem.Words)
