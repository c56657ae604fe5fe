"""A run: paths in, progress out. The only place where the page meets the engine.

What `on_gpu` wraps may run in another process: it takes and yields nothing but paths and numbers.
"""

import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from demo.html.progress import Progress
from demo.runs import models, workers, zero
from xmem.errors import InputError
from xmem.review.preflight import Estimate, estimate
from xmem.scale.pool import ATTEMPTS, WorkerDied
from xmem.session import Session, TrackSettings
from xmem.session.settings import WHOLE
from xmem.session.spans import plan

ESTIMATE_SECONDS = 15  # of a GPU's time at most: a few frames, whatever their size


def propagate_session(
    folder: str,
    stop_file: str,
    settings: TrackSettings,
    start_over: bool = False,
    expected: float = 0.0,
    scope: str = WHOLE,
) -> Iterator[Progress]:
    """Compute what is pending in the session in `folder`, where results appear.

    It goes on where an earlier run was left, unless it is to start over. Ends early, keeping
    what is done, once `stop_file` exists or when it is closed. expected: seconds, where an estimate was made.
    scope: how far corrections are carried (see `Session.propagate`).
    Where a GPU is lent by the call, it is done in slices that each go on behind the one before; where a worker dies
    that is at it, another one goes on from its last saved state.
    Raises InputError.
    """
    before, deaths, died = Progress(), 0, False
    expected = expected or steps_left(Session.open(folder), settings, start_over, scope) / zero.FRAMES_PER_SECOND
    seconds = zero.slice_seconds(expected)
    while True:
        latest = None
        try:
            with closing(_slice(folder, stop_file, settings, start_over, seconds, scope)) as steps:
                for found in steps:
                    if died:
                        before, died = before.back(found.total), False
                    latest = found.behind(before)
                    yield latest
        except zero.Refused as refused:
            shorter = refused.shorter(seconds) if latest is None else None
            if shorter is None:
                raise
            seconds = shorter  # all that is left of the visitor's share
            continue
        except WorkerDied:
            deaths, died = deaths + 1, True
            if deaths == ATTEMPTS:
                raise
            before, start_over = latest or before, start_over and latest is None
            continue
        if latest is None or latest.done == latest.total or Path(stop_file).exists():
            return
        before, start_over = latest, False
        seconds = zero.slice_seconds(latest.seconds_left or 0.0)


def steps_left(session: Session, settings: TrackSettings, start_over: bool = False, scope: str = WHOLE) -> int:
    """Frames that the network has yet to run on, at most."""
    return (
        sum(span.steps for span in session.pending(settings, scope))
        if start_over
        else session.steps_left(settings, scope)
    )


def why_unread(session: Session, settings: TrackSettings) -> str:
    """A sentence where a run that went to its end has left frames without masks because they cannot be read, or ""."""
    ids = tuple(sorted(item.id for item in session.objects))
    for span in plan(session.key_frames, ids, session.first, session.last, settings.direction):
        if not session.has_result(span.last):
            try:
                session.image(span.last)
            except InputError as error:
                return f"{error} What is before is done."
    return ""


@zero.on_gpu(lambda folder, stop_file, settings, start_over, seconds, scope: seconds)
@workers.by_worker
def _slice(
    folder: str, stop_file: str, settings: TrackSettings, start_over: bool, seconds: float, scope: str
) -> Iterator[Progress]:
    """What of a run fits into so many seconds, at least one frame."""
    began = time.monotonic()
    loaded = models.load(settings.model, settings.device, settings.precision)
    steps = Session.open(folder).propagate(settings.with_model(loaded.name), loaded.model, start_over, scope)
    stop = Path(stop_file)
    progress = Progress(model=loaded.name, note=loaded.note)
    try:
        for latest in steps:
            progress = replace(
                progress,
                done=latest.done,
                total=latest.total,
                seconds=latest.seconds,
                memory_bytes=latest.memory.bytes,
                agrees=latest.agrees,
            )
            yield progress
            if latest.done < latest.total and (stop.exists() or time.monotonic() - began >= seconds):
                break
    finally:
        steps.close()


def estimate_session(folder: str, settings: TrackSettings) -> Estimate:
    """Time a few frames of the session in `folder`. Raises InputError."""
    (found,) = _estimate(folder, settings)
    return found


@zero.on_gpu(lambda *_: ESTIMATE_SECONDS)
@workers.beside
def _estimate(folder: str, settings: TrackSettings) -> Iterator[Estimate]:
    loaded = models.load(settings.model, settings.device, settings.precision)
    found = estimate(Session.open(folder), settings.with_model(loaded.name), loaded.model)
    yield replace(found, reason=f"{found.reason} {loaded.note}".strip())
