"""What a run tells beside the work, for pages that join it: a second tab, or one that was loaded again."""

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from demo.runs import follow
from demo.visit.workspace import Workspace

UNWATCHED_SECONDS = 300.0  # for which a run goes on without a page that looks on; what it has then is kept


def tell(workspace: Workspace, panel: str) -> None:
    """How far the run is, as the page shows it."""
    part = _panel(workspace).with_suffix(".part")
    part.write_text(json.dumps(panel))
    os.replace(part, _panel(workspace))


def latest(workspace: Workspace) -> str:
    """What the run told last; "" before it told anything."""
    try:
        return json.loads(_panel(workspace).read_text())
    except (OSError, ValueError):
        return ""


def watch(workspace: Workspace, is_running: Callable[[], bool]) -> Iterator[str]:
    """The panel of the run about once per second while it goes on, and once more at its end."""
    while True:
        running = is_running()
        looked_on(workspace)
        yield latest(workspace)
        if not running:
            return
        time.sleep(follow.HEARTBEAT_SECONDS)


def looked_on(workspace: Workspace) -> None:
    """Somebody follows the run."""
    _watched(workspace).touch()


class Watch:
    """For how long nobody has followed a run, by a clock that nobody sets."""

    def __init__(self, workspace: Workspace) -> None:
        self._file, self._stamp, self._since = _watched(workspace), 0, time.monotonic()

    def seconds(self) -> float:
        """Since the last look, as far as this was asked in between."""
        with contextlib.suppress(OSError):
            stamp = self._file.stat().st_mtime_ns
            if stamp != self._stamp:
                self._stamp, self._since = stamp, time.monotonic()
        return time.monotonic() - self._since


def _panel(workspace: Workspace) -> Path:
    return workspace.path / "run.json"


def _watched(workspace: Workspace) -> Path:
    return workspace.path / "watched"
