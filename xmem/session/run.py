"""A run over pending spans: each is computed into a result of its own, or gone on with where it was left."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

import numpy as np

from xmem.memory import MemoryUse
from xmem.session.passes import PassFrame, SpanJob, compute_span
from xmem.session.project import Project
from xmem.session.results import Results
from xmem.session.settings import TrackSettings
from xmem.session.spans import Span
from xmem.session.suspended import read_suspended, steps_done


@dataclass(frozen=True)
class Step:
    """A frame of a run, done. done, total: frames that the network ran on; seconds: since the run began.

    image: uint8 [H, W, 3] RGB; mask: index mask uint8 [H, W]; memory: what the memories hold.
    """

    frame: int
    done: int
    total: int
    seconds: float
    image: np.ndarray
    mask: np.ndarray
    memory: MemoryUse


def steps_left(results: Results, span: Span, settings: TrackSettings) -> int:
    """Frames that the network has yet to run on, over both passes of a span."""
    result = results.suspended(span, settings.signature)
    return span.steps - (steps_done(result.folder, span) if result else 0)


def compute(results: Results, job: SpanJob, cuts: set[int]) -> Generator[PassFrame, None, None]:
    """Compute a span, from where it was left; yield each frame that is done. Shot cuts that are seen are added to
    `cuts`."""
    result = results.suspended(job.span, job.settings.signature)
    left = read_suspended(result.folder, job.model) if result else None
    if result is None or left is None:
        result = results.new(job.span, job.settings.signature)
    yield from compute_span(job, result, cuts, left)
    results.complete(result)


def why_no_span(project: Project, settings: TrackSettings) -> str:
    """The sentence for people where a run would have nothing to compute."""
    keys = project.edit.key_frames
    if not keys:
        return "Nothing is painted yet: paint the object on a frame, or give a mask."
    if not any(project.first <= key.frame <= project.last for key in keys):
        return "No painted frame lies in the trimmed range: paint one there, or widen the range."
    if settings.direction == "backward":
        return "Nothing lies before the painted frame: choose another direction."
    return "The painted frames hold no object: paint one."
