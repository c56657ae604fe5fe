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
from xmem.engine.masks import index_of
from xmem.engine.pipeline import ahead
from xmem.engine.preparing import resize_to_frame
from xmem.engine.propagator import Propagator
from xmem.engine.transfers import Fetched, at_hand, brought_near, fetch, near, room_near, upload
from xmem.families import family_of
from xmem.memory import MemoryUse
from xmem.networks import Network
from xmem.session.agreement import Agreement
from xmem.session.before import Before
from xmem.session.probabilities import as_stored, sixteen_bits
from xmem.session.results import ResultWriter, Shown, SpanResult
from xmem.session.settings import TrackSettings
from xmem.session.spans import Anchor, Span
from xmem.session.suspended import Saving, Suspended
from xmem.video import Frame
from xmem.video.access import FrameAccess

CUT_CONTEXT = shots.HISTORY  # frames before the first that a resumed pass shows its detector of cuts
_AHEAD = 2  # frames that may wait for the network


@dataclass(frozen=True)
class PassFrame:
    """A frame that a pass has finished. image: uint8 [H, W, 3] RGB; mask: gives the index mask uint8 [H, W]; agrees:
    the masks of this pass have come to agree with those from before."""

    frame: int
    image: np.ndarray
    mask: Fetched
    memory: MemoryUse
    agrees: bool = False


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
class Leg:
    """One pass over a span.

    first_until: the last frame of the pass before it, whose probabilities it is blended with; None where it is the
    first. before: what it is compared with, and blended with where no other pass was, where there is something. stops:
    once they agree. is_last: no other pass over the span follows.
    """

    job: SpanJob
    result: SpanResult
    backward: bool
    first_until: int | None = None
    before: Before | None = None
    stops: bool = False
    is_last: bool = True

    @property
    def is_blended(self) -> bool:
        """Whether the span has another pass, with which this one is blended by distance."""
        return len(self.job.span.passes) == 2

    def other(self, frame: int, before: np.ndarray | None) -> np.ndarray | None:
        """What this pass is blended with on a frame, where `before` was there: float32 [O, h, w]; None for nothing."""
        until = self.first_until
        if until is not None and (frame <= until if self.backward else frame >= until):
            return self.result.first_pass(frame)
        return before if self.is_blended else None

    def mask_before(self, frame: int) -> np.ndarray | None:
        """Index mask uint8 [H, W] of the frame before one of the span; None where the pass knows of none."""
        start = self.job.span.start
        if start is not None and start.frame == frame - 1:
            return self.job.given(start)
        return self.before.mask(frame - 1) if self.before else None


@dataclass(frozen=True)
class _LookedAt:
    """What is found out about a frame before the network sees it. other: what to blend with, before: what to compare
    with, float32 [O, h, w], None for nothing."""

    frame: Frame
    is_cut: bool
    other: np.ndarray | None
    before: np.ndarray | None

    @property
    def image(self) -> np.ndarray:
        return self.frame.image


@dataclass(frozen=True)
class _Found:
    """A frame after the network. probabilities: [O + 1, h, w]; engine: as it stands behind the frame; notes: what the
    pass wants to know at the next one."""

    frame: Frame
    probabilities: Tensor
    looked: _LookedAt
    engine: Propagator
    notes: dict[str, Any]


def compute_span(job: SpanJob, result: SpanResult, cuts: set[int]) -> Generator[PassFrame, None, None]:
    """Compute a span into `result`, one pass after the other; yield a frame at a time. Shot cuts that are seen are
    added to `cuts`."""
    until = None
    for backward in job.span.passes:
        yield from compute_leg(Leg(job, result, backward, until, is_last=backward == job.span.passes[-1]), cuts)
        until = job.span.end_of(backward)


def compute_leg(
    leg: Leg, cuts: set[int], left: Suspended | None = None, engine: Propagator | None = None
) -> Generator[PassFrame, None, None]:
    """Compute one pass into its result; yield a frame at a time. Shot cuts that are seen are added to `cuts`.
    left: where the pass was left, to go on from. engine: to begin with, which has the other key frames.

    Closed early, the result keeps the frames done, and the state to go on from (`xmem.session.suspended`).
    """
    own = leg.job.span.own(leg.backward)
    frame = left.place.frame if left else own.frame
    agreement = Agreement(left.notes.get("agreed", 0) if left else 0)
    is_done = leg.stops and agreement.is_reached  # it was left at the very frame
    frames = iter(()) if is_done else _frames_of(leg, left)
    with (
        ResultWriter(leg.result) as writer,
        Saving(leg.result.folder, leg.backward, leg.first_until, writer.flush) as saving,
        closing(_steps(leg, own, frames, cuts, left, engine)) as steps,
    ):
        figures = _Figures(leg, writer, left)
        for found in steps:
            frame = found.frame.index
            mask = _write(leg, found, writer, figures)
            if found.looked.before is not None and frame != own.frame:
                agreement.see(found.probabilities, found.looked.before)
            saving.done(found.engine, frame, {**found.notes, "agreed": agreement.frames})
            yield PassFrame(frame, found.frame.image, mask, found.engine.memory_use(), agreement.is_reached)
            if leg.stops and agreement.is_reached:
                break
        figures.finish()
        if leg.is_last:
            saving.forget()
        else:
            saving.over()


def _frames_of(leg: Leg, left: Suspended | None) -> Iterator[_LookedAt]:
    """The frames of a pass, or those that are left of it."""
    span, access = leg.job.span, leg.job.access
    own, last = span.own(leg.backward).frame, span.end_of(leg.backward)
    room = room_near(leg.job.model.device)
    if leg.backward:
        first = left.place.frame - 1 if left else own
        context = min(CUT_CONTEXT, own - first)
        frames = access.backward(first + context, last, room) if first >= last else iter(())
    else:
        first = left.place.frame + 1 if left else own
        context = min(CUT_CONTEXT, first - own)
        frames = access.forward(first - context, last, room) if first <= last else iter(())
    return _looked_at(frames, context, leg)


def _write(leg: Leg, found: _Found, writer: ResultWriter, figures: _Figures) -> Fetched:
    """Write a frame and its figures; gives its index mask."""
    job, frame, span = leg.job, found.frame, leg.job.span
    own, other = span.own(leg.backward), found.looked.other
    given = job.given(own) if frame.index == own.frame else None
    if given is not None and leg.backward:  # computed by the span that it belongs to
        return at_hand(given)
    prob = found.probabilities
    if other is not None:
        prob = _blend(prob, other, span.forward_weight(frame.index), leg.backward)
    mask, fetched = _mask(prob, frame, span, given), fetch(sixteen_bits(prob[1:]))
    is_first = leg.first_until is None
    alone = fetch(sixteen_bits(found.probabilities[1:])) if is_first and other is not None else None
    writer.write(frame.index, mask, fetched, alone, second=not is_first)
    passes = None
    if other is not None and not is_first:
        passes = at_hand(other), fetch(sixteen_bits(found.probabilities[1:]))
    figures.take(frame.index, fetched, Shown(mask, frame.image, passes))
    return mask


class _Figures:
    """Those of the frames of a pass, which compare with the frame before: backwards they come a frame late."""

    def __init__(self, leg: Leg, writer: ResultWriter, left: Suspended | None):
        self._leg, self._writer = leg, writer
        self._kept: tuple[int, Fetched, Shown] | None = None
        job = leg.job  # whose frames are read here before others are read ahead
        for anchor in job.span.key_frames:
            writer.painted(anchor.frame, job.access.frame(anchor.frame).image, job.given(anchor))
        frame = left.place.frame if left else None
        if frame is not None and leg.job.span.first <= frame <= leg.job.span.last:
            kept = leg.result.sixteen_bits(frame)
            assert kept is not None, "a state is never ahead of what is on disk"
            shown = Shown(at_hand(leg.result.mask(frame)), job.access.frame(frame).image)
            self._kept = frame, at_hand(kept), shown

    def take(self, frame: int, probabilities: Fetched, shown: Shown) -> None:
        """A frame is written. probabilities: as `ResultWriter` takes them."""
        kept, self._kept = self._kept, (frame, probabilities, shown)
        if not self._leg.backward:
            self._writer.measure(*self._kept, kept[2] if kept else None)
        elif kept is not None:
            self._writer.measure(*kept, shown)

    def finish(self) -> None:
        """No frame follows."""
        if self._leg.backward and self._kept is not None:
            neighbour = self._leg.mask_before(self._kept[0])
            self._writer.measure(*self._kept, None if neighbour is None else Shown(at_hand(neighbour)))


def _looked_at(frames: Iterator[Frame], context: int, leg: Leg) -> Iterator[_LookedAt]:
    """context: first frames that only show what comes before."""
    detector = shots.CutDetector()
    device = leg.job.model.device
    for number, frame in enumerate(brought_near(frames, device)):
        is_cut = detector.is_cut(frame.image)
        if number >= context:
            before = leg.before.probabilities(frame.index) if leg.before else None
            other = leg.other(frame.index, before)
            yield _LookedAt(frame, is_cut, None if other is None else near(other, device), before)


def _steps(
    leg: Leg,
    own: Anchor,
    frames: Iterator[_LookedAt],
    cuts: set[int],
    left: Suspended | None,
    engine: Propagator | None,
) -> Generator[_Found, None, None]:
    """Step through `frames`, which begin at the key frame `own`, or where a run was left, and are read ahead."""
    job = leg.job
    if engine is None:
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
                cuts.add(item.frame.index + leg.backward)  # named after its later frame
            certainty = 1.0 if gate is None else _certainty(prob)
            notes = {"certainty": certainty, "gate": gate.save()} if gate else {}
            yield _Found(item.frame, prob, item, engine, notes)


def _certainty(prob: Tensor) -> float:
    """Mean probability, 0 to 1, of the pixels that an object wins; 0 where none does. prob: [O + 1, h, w]."""
    best = prob[1:].amax(0)
    won = best > prob[0]
    total, count = torch.stack([(best * won).sum(), won.sum()]).tolist()  # waits for the device once
    return total / count if count else 0.0


def _mask(prob: Tensor, frame: Frame, span: Span, given: np.ndarray | None) -> Fetched:
    """Gives the index mask uint8 [H, W] at the frame's size."""
    return fetch(index_of(resize_to_frame(prob, frame.image.shape[:2]), list(span.objects), given))


def _blend(own: Tensor, other: np.ndarray, weight: float, backward: bool) -> Tensor:
    """[O + 1, h, w] of both passes, as they are stored, so that it is all the same which one came first.
    own: [O + 1, h, w]; other: [O, h, w]; weight: of the forward pass; backward: whether `own` is the other one's."""
    mine, others = as_stored(own[1:]), upload(other, own.device)
    forward, back = (others, mine) if backward else (mine, others)
    return weight * _with_background(forward) + (1 - weight) * _with_background(back)


def _with_background(objects: Tensor) -> Tensor:
    """[O, h, w] -> [O + 1, h, w]."""
    return torch.cat([(1 - objects.sum(0, keepdim=True)).clamp_min(0), objects])
