"""Where a span's computation was left: the engine between two frames, and how far its passes are.

It lies beside the span's results (`state.safetensors`), is written every few seconds and when a run is left, and goes
once the span is complete: after a crash the run goes on from there, and only what came later is computed again.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from xmem.engine.propagator import Propagator
from xmem.engine.state import EngineState, read_notes
from xmem.errors import InputError
from xmem.networks import Network
from xmem.session.spans import Span

log = logging.getLogger("xmem")

STATE = "state.safetensors"
SAVE_SECONDS = 10.0  # between two states of a run: what a crash costs at most


@dataclass(frozen=True)
class Suspended:
    """A span's computation between two frames. backward: the pass; frame: the last one that it has done.
    notes: what the pass wants to know at its next frame."""

    engine: Propagator
    backward: bool
    frame: int
    notes: dict[str, Any]


def read_suspended(folder: Path, model: Network) -> Suspended | None:
    """Where the span in `folder` was left, to go on with `model`; None where it cannot, and then the log says why."""
    if not (folder / STATE).exists():
        return None
    try:
        state = EngineState.read(folder / STATE)
        notes = dict(state.notes)
        backward, frame = bool(notes.pop("backward")), int(notes.pop("frame"))
        return Suspended(Propagator.resume(model, state), backward, frame, notes)
    except (InputError, LookupError, TypeError, ValueError) as error:
        log.warning("The run does not go on from where it was left: %s", error)
        return None


def steps_done(folder: Path, span: Span) -> int:
    """Frames that the network need not run on again, over both passes, as far as the state in `folder` tells."""
    try:
        notes = read_notes(folder / STATE)
        backward, frame = bool(notes["backward"]), int(notes["frame"])
    except (InputError, LookupError, TypeError, ValueError):
        return 0
    length = span.last - span.first + 1
    if not backward:
        return frame - span.first + 1
    assert span.end is not None  # a backward pass sets out from it
    return length * span.forward + span.end.frame - frame + 1


class Saving:
    """Writes where a pass is, every `SAVE_SECONDS` and when it is left before its end; use as a context manager.

    flush: waits until results are on disk, which no state may be ahead of.
    """

    def __init__(self, folder: Path, backward: bool, flush: Callable[[], None]):
        self._folder, self._backward, self._flush = folder, backward, flush
        self._saved = time.monotonic()
        self._unsaved: tuple[Propagator, int, dict[str, Any]] | None = None

    def __enter__(self) -> Saving:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._save()

    def done(self, engine: Propagator, frame: int, notes: dict[str, Any]) -> None:
        """A frame is done, and the engine stands behind it."""
        self._unsaved = engine, frame, notes
        if time.monotonic() - self._saved >= SAVE_SECONDS:
            self._save()

    def forget(self) -> None:
        """The pass came to its end: nothing is to be gone on with that is not saved."""
        self._unsaved = None

    def _save(self) -> None:
        if self._unsaved is None:
            return
        (engine, frame, notes), self._unsaved = self._unsaved, None
        self._flush()
        try:
            engine.state({"backward": self._backward, "frame": frame, **notes}).write(self._folder / STATE)
        except OSError as error:  # a full disk: results say so
            log.warning("Where the run is could not be saved (%s).", error.strerror)
        self._saved = time.monotonic()
