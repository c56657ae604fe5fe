"""Where a span's computation was left: the engine between two frames, and how far its passes are.

It lies beside the span's results (`state.safetensors`), is written every few seconds and when a run is left, and goes
once the span is complete: after a crash the run goes on from there, and only what came later is computed again.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
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
class Place:
    """How far the passes of a span are. backward: the one at work; frame: the last one that it has done; is_over: it
    does no more. first_until: the last frame of the pass before it, None where it is the first."""

    backward: bool
    frame: int
    is_over: bool = False
    first_until: int | None = None

    @staticmethod
    def read(folder: Path) -> Place | None:
        """None where no state in `folder` tells."""
        try:
            return Place.of(read_notes(folder / STATE))
        except (InputError, LookupError, TypeError, ValueError):
            return None

    @staticmethod
    def of(notes: Mapping[str, Any]) -> Place:
        """Raises LookupError, TypeError or ValueError for notes without one."""
        until = notes["first_until"]
        first_until = None if until is None else int(until)
        return Place(bool(notes["backward"]), int(notes["frame"]), bool(notes["is_over"]), first_until)

    def until(self, backward: bool) -> int | None:
        """The last frame that a pass has done, None for none."""
        return self.frame if backward == self.backward else self.first_until

    def is_over_in(self, backward: bool) -> bool:
        """Whether a pass does no more."""
        return self.is_over if backward == self.backward else self.first_until is not None

    def steps(self, span: Span, backward: bool) -> int:
        """Frames that the network need not run on again in a pass."""
        until = self.until(backward)
        return 0 if until is None else span.steps_until(backward, until)


@dataclass(frozen=True)
class Suspended:
    """A span's computation between two frames. notes: what the pass wants to know at its next frame."""

    engine: Propagator
    place: Place
    notes: dict[str, Any]


def read_suspended(folder: Path, model: Network) -> Suspended | None:
    """Where the span in `folder` was left, to go on with `model`; None where it cannot, and then the log says why."""
    if not (folder / STATE).exists():
        return None
    try:
        state = EngineState.read(folder / STATE)
        return Suspended(Propagator.resume(model, state), Place.of(state.notes), dict(state.notes))
    except (InputError, LookupError, TypeError, ValueError) as error:
        log.warning("The run does not go on from where it was left: %s", error)
        return None


class Saving:
    """Writes where a pass is, every `SAVE_SECONDS` and when it is left before its end; use as a context manager.

    flush: waits until results are on disk, which no state may be ahead of. first_until: as a `Place` has it.
    """

    def __init__(self, folder: Path, backward: bool, first_until: int | None, flush: Callable[[], None]):
        self._folder, self._backward, self._flush = folder, backward, flush
        self._first_until = first_until
        self._saved = time.monotonic()
        self._latest: tuple[Propagator, int, dict[str, Any]] | None = None
        self._is_saved = False

    def __enter__(self) -> Saving:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._save()

    def done(self, engine: Propagator, frame: int, notes: dict[str, Any]) -> None:
        """A frame is done, and the engine stands behind it."""
        self._latest, self._is_saved = (engine, frame, notes), False
        if time.monotonic() - self._saved >= SAVE_SECONDS:
            self._save()

    def over(self) -> None:
        """The pass does no more, and another one follows."""
        self._is_saved = False
        self._save(is_over=True)

    def forget(self) -> None:
        """The pass does no more, and nothing follows: there is nothing to go on with."""
        self._latest = None

    def _save(self, is_over: bool = False) -> None:
        if self._latest is None or self._is_saved:
            return
        engine, frame, notes = self._latest
        self._is_saved = True
        self._flush()
        place = asdict(Place(self._backward, frame, is_over, self._first_until))
        try:
            engine.state({**notes, **place}).write(self._folder / STATE)
        except OSError as error:  # a full disk: results say so
            log.warning("Where the run is could not be saved (%s).", error.strerror)
        self._saved = time.monotonic()
