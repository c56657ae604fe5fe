"""Computing one span: a pass from the key frame at its start, one from that at its end, and the blend of both."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

import xmem.video.cuts as shots
from xmem.engine.masks import index_mask
from xmem.engine.pipeline import ahead, fetch
from xmem.engine.preparing import resize_to_frame
from xmem.engine.propagator import Propagator
from xmem.families import family_of
from xmem.memory import MemoryUse
from xmem.networks import Network
from xmem.session.results import Fetched, ResultWriter, SpanResult
from xmem.session.settings import TrackSettings
from xmem.session.spans import Anchor, Span
from xmem.session.suspended import Saving, Suspended
from xmem.video import Frame
from xmem.video.access import FrameAccess

CUT_CONTEXT = shots.HISTORY  # frames before the first that a resumed pass shows its detector of cuts
_AHEAD = 2  # frames that may wait for the network


@dataclass(frozen=True)
class PassFrame:
    """A frame that a pass has finished. image: uint8 [H, W, 3] RGB; mask: index mask uint8 [H, W]."""

    frame: int
    image: np.ndarray
    mask: np.ndarray
    memory: MemoryUse


@dataclass(frozen=True)
class SpanJob:
    """All that the computation of a span needs.

    anchors: every key frame of the video, ascending, with what it speaks for; masks: their index masks by file name.
    prepare: done to an engine before its first frame; around: makes a context for each of its steps; both for whoever
    tries out what a run will take.
    """

    span: Span
    settings: TrackSettings
    anchors: Sequence[Anchor]
    read_mask: Callable[[str], np.ndarray]
    access: FrameAccess
    model: Network
    prepare: Callable[[Propagator], object] | None = None
    around: Callable[[], AbstractContextManager[object]] = nullcontext

    def engine(self, own: Anchor) -> Propagator:
        """A propagator that has every key frame but `own` in its permanent memory."""
        engine = Propagator(self.model, self.settings.memory_of(family_of(self.model)), self.settings.size)
        followed = set(self.span.objects)
        for anchor in self.anchors:
            objects = [i for i in anchor.speaks if i in followed]
            if anchor != own and objects:
                engine.remember(self.access.frame(anchor.frame).image, self.given(anchor), objects)
        if self.prepare:
            self.prepare(engine)
        return engine

    def given(self, anchor: Anchor) -> np.ndarray:
        """The key frame's index mask uint8 [H, W], of the followed objects only."""
        mask = self.read_mask(anchor.mask)
        return np.where(np.isin(mask, self.span.objects), mask, 0).astype(np.uint8)


@dataclass(frozen=True)
class _LookedAt:
    """What is found out about a frame before the network sees it. forward: the forward pass's probabilities float32
    [O, h, w], where there are any to blend with."""

    frame: Frame
    is_cut: bool
    forward: np.ndarray | None

    @property
    def image(self) -> np.ndarray:
        return self.frame.image


@dataclass(frozen=True)
class _Found:
    """A frame after the network. probabilities: [O + 1, h, w]; engine: as it stands behind the frame; notes: what the
    pass wants to know at the next one."""

    frame: Frame
    probabilities: Tensor
    forward: np.ndarray | None
    engine: Propagator
    notes: dict[str, Any]


def compute_span(
    job: SpanJob, result: SpanResult, cuts: set[int], left: Suspended | None = None
) -> Generator[PassFrame, None, None]:
    """Compute a span into `result`; yield a frame at a time. Shot cuts that are seen are added to `cuts`.
    left: where the computation of `result` was left, to go on from.

    Closed early, `result` keeps the frames done, those of a forward pass until the backward pass has blended them, and
    the state to go on from (`xmem.session.suspended`).
    """
    span = job.span
    with ResultWriter(result) as writer:
        if span.forward and not (left and left.backward):
            with Saving(result.folder, False, writer.flush) as saving:
                yield from _forward(job, result, writer, cuts, saving, left)
                saving.forget()
            left = None
        if span.backward:
            with Saving(result.folder, True, writer.flush) as saving:
                yield from _backward(job, result, writer, cuts, saving, left)
                saving.forget()


def _forward(
    job: SpanJob, result: SpanResult, writer: ResultWriter, cuts: set[int], saving: Saving, left: Suspended | None
) -> Generator[PassFrame, None, None]:
    span, start = job.span, job.span.start
    assert start is not None  # a forward pass sets out from it
    first = left.frame + 1 if left else span.first
    previous = result.mask(left.frame) if left else None
    if first > span.last:
        return
    context = min(CUT_CONTEXT, first - span.first)
    frames = _looked_at(job.access.forward(first - context, span.last), context, None)
    with closing(_steps(job, start, frames, cuts, 0, left)) as steps:
        for found in steps:
            frame, own = found.frame, fetch(found.probabilities[1:].float())
            given = job.given(start) if frame.index == start.frame else None
            mask = _mask(found.probabilities, frame, span, given)
            writer.write(frame.index, mask, own)
            writer.measure(frame.index, mask, own, previous)
            previous = mask
            saving.done(found.engine, frame.index, found.notes)
            yield PassFrame(frame.index, frame.image, mask, found.engine.memory_use())


def _backward(
    job: SpanJob, result: SpanResult, writer: ResultWriter, cuts: set[int], saving: Saving, left: Suspended | None
) -> Generator[PassFrame, None, None]:
    """From the end's key frame down to the frame after the start's. Figures come a frame late: they compare with the
    frame before."""
    span, end = job.span, job.span.end
    assert end is not None  # a backward pass sets out from it
    oldest = span.first + (span.start is not None)
    newest = left.frame - 1 if left else end.frame
    later: tuple[int, np.ndarray, Fetched] | None = None
    if left and left.frame != end.frame:
        kept = result.probabilities(left.frame)
        assert kept is not None  # a state is never ahead of what is on disk
        later = (left.frame, result.mask(left.frame), lambda: kept)
    context = min(CUT_CONTEXT, end.frame - newest)
    forward = result if span.forward else None
    frames = _looked_at(job.access.backward(newest + context, oldest), context, forward)
    with closing(_steps(job, end, frames, cuts, 1, left)) as steps:
        for found in steps:
            frame = found.frame
            if frame.index == end.frame:  # computed by the span that it belongs to
                mask = job.given(end)
            else:
                prob = _blend(found, span.forward_weight(frame.index))
                own, mask = fetch(prob[1:].float()), _mask(prob, frame, span, None)
                writer.write(frame.index, mask, own, blended=found.forward is not None)
                if later is not None:
                    writer.measure(*later, mask)
                later = (frame.index, mask, own)
            saving.done(found.engine, frame.index, found.notes)
            yield PassFrame(frame.index, frame.image, mask, found.engine.memory_use())
    if later is not None:
        writer.measure(*later, job.given(span.start) if span.start else None)


def _looked_at(frames: Iterator[Frame], context: int, forward: SpanResult | None) -> Iterator[_LookedAt]:
    """context: first frames that only show what comes before. forward: results of a forward pass to blend with."""
    detector = shots.CutDetector()
    for number, frame in enumerate(frames):
        is_cut = detector.is_cut(frame.image)
        if number >= context:
            yield _LookedAt(frame, is_cut, forward.forward_probabilities(frame.index) if forward else None)


def _steps(
    job: SpanJob, own: Anchor, frames: Iterator[_LookedAt], cuts: set[int], cut_offset: int, left: Suspended | None
) -> Generator[_Found, None, None]:
    """Step through `frames`, which begin at the key frame `own`, or where a run was left, and are read ahead.

    cut_offset: 1 where frames run backwards, since a cut is named after its later frame.
    """
    engine = left.engine if left else job.engine(own)  # reads key frames, before others are read ahead
    notes = left.notes if left else {}
    gate = shots.MemoryGate(notes.get("gate")) if job.settings.pause_at_cuts else None
    speaks = [i for i in own.speaks if i in job.span.objects]
    certainty = float(notes.get("certainty", 1.0))

    def step_arguments(item: _LookedAt) -> dict[str, Any]:
        """What `Propagator.step` is step_arguments of a frame once its turn has come."""
        allowed = gate is None or gate.allows(item.is_cut, certainty)
        if item.frame.index == own.frame:
            return {"mask": job.given(own), "objects": speaks}
        return {"remember": allowed}

    with closing(ahead(frames, _AHEAD)) as read:
        for item, prob in engine.run(read, step_arguments, full_size=False, around=job.around):
            if item.is_cut:
                cuts.add(item.frame.index + cut_offset)
            certainty = 1.0 if gate is None else _certainty(prob)
            notes = {"certainty": certainty, "gate": gate.save()} if gate else {}
            yield _Found(item.frame, prob, item.forward, engine, notes)


def _certainty(prob: Tensor) -> float:
    """Mean probability, 0 to 1, of the pixels that an object wins; 0 where none does. prob: [O + 1, h, w]."""
    best, index = prob.max(0)
    won = index > 0
    return best[won].mean().item() if won.any() else 0.0


def _mask(prob: Tensor, frame: Frame, span: Span, given: np.ndarray | None) -> np.ndarray:
    """Index mask uint8 [H, W] at the frame's size."""
    return index_mask(resize_to_frame(prob, frame.image.shape[:2]), list(span.objects), given)


def _blend(found: _Found, weight: float) -> Tensor:
    """[O + 1, h, w] of the backward pass and the forward one, which has `weight`; of the backward one where it is
    alone."""
    if found.forward is None:
        return found.probabilities
    objects = torch.from_numpy(found.forward).to(found.probabilities.device)
    background = (1 - objects.sum(0, keepdim=True)).clamp_min(0)
    return weight * torch.cat([background, objects]) + (1 - weight) * found.probabilities
