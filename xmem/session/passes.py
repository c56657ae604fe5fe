"""Computing one span: a pass from the key frame at its start, one from that at its end, and the blend of both."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

import xmem.analysis.cuts as shots
from xmem.analysis.stats import measure
from xmem.memory import MemoryUse
from xmem.network import XMem
from xmem.propagator import Propagator, resize_to_frame
from xmem.segment import index_mask
from xmem.session.project import TrackSettings
from xmem.session.results import ResultWriter, SpanResult
from xmem.session.spans import Anchor, Span
from xmem.video import Frame
from xmem.video.access import FrameAccess


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
    """

    span: Span
    settings: TrackSettings
    anchors: Sequence[Anchor]
    read_mask: Callable[[str], np.ndarray]
    access: FrameAccess
    model: XMem

    def engine(self, own: Anchor) -> Propagator:
        """A propagator that has every key frame but `own` in its permanent memory."""
        engine = Propagator(self.model, self.settings.memory, self.settings.size)
        followed = set(self.span.objects)
        for anchor in self.anchors:
            objects = [i for i in anchor.speaks if i in followed]
            if anchor != own and objects:
                engine.remember(self.access.frame(anchor.frame).image, self.given(anchor), objects)
        return engine

    def given(self, anchor: Anchor) -> np.ndarray:
        """The key frame's index mask uint8 [H, W], of the followed objects only."""
        mask = self.read_mask(anchor.mask)
        return np.where(np.isin(mask, self.span.objects), mask, 0).astype(np.uint8)


def compute_span(job: SpanJob, result: SpanResult, cuts: set[int]) -> Generator[PassFrame, None, None]:
    """Compute a span into `result`; yield a frame at a time. Shot cuts that are seen are added to `cuts`.

    Closed early, `result` keeps the frames done, those of a forward pass until the backward pass has blended them.
    """
    span = job.span
    with ResultWriter(result) as writer:
        if span.forward:
            yield from _forward(job, writer, cuts)
            writer.flush()
        if span.backward:
            yield from _backward(job, result, writer, cuts)


def _forward(job: SpanJob, writer: ResultWriter, cuts: set[int]) -> Iterator[PassFrame]:
    span, previous = job.span, None
    for frame, prob, memory in _steps(job, span.start, job.access.forward(span.first, span.last), cuts, 0):
        given = job.given(span.start) if frame.index == span.start.frame else None
        mask, own = _mask(prob, frame, span, given), _own(prob)
        writer.write(frame.index, mask, own)
        writer.append_stats(measure(frame.index, mask, own, list(span.objects), previous))
        previous = mask
        yield PassFrame(frame.index, frame.image, mask, memory)


def _backward(job: SpanJob, result: SpanResult, writer: ResultWriter, cuts: set[int]) -> Iterator[PassFrame]:
    """From the end's key frame down to the frame after the start's. Figures come a frame late: they compare with the
    frame before."""
    span = job.span
    oldest = span.first + (span.start is not None)
    later: tuple[int, np.ndarray, np.ndarray] | None = None
    for frame, prob, memory in _steps(job, span.end, job.access.backward(span.end.frame, oldest), cuts, 1):
        if frame.index == span.end.frame:  # computed by the span that it belongs to
            mask = job.given(span.end)
        else:
            if span.forward:
                prob = _blend(prob, result.probabilities(frame.index), span.forward_weight(frame.index))
            mask, own = _mask(prob, frame, span, None), _own(prob)
            writer.write(frame.index, mask, own)
            if later is not None:
                writer.append_stats(measure(*later[:3], list(span.objects), mask))
            later = (frame.index, mask, own)
        yield PassFrame(frame.index, frame.image, mask, memory)
    if later is not None:
        before = job.given(span.start) if span.start else None
        writer.append_stats(measure(*later, list(span.objects), before))


def _steps(
    job: SpanJob, own: Anchor, frames: Iterator[Frame], cuts: set[int], cut_offset: int
) -> Iterator[tuple[Frame, Tensor, MemoryUse]]:
    """Step through `frames`, which begin at the key frame `own`: (frame, probabilities [O + 1, h, w], memory).

    cut_offset: 1 where frames run backwards, since a cut is named after its later frame.
    """
    engine, detector = job.engine(own), shots.CutDetector()
    gate = shots.MemoryGate() if job.settings.pause_at_cuts else None
    speaks = [i for i in own.speaks if i in job.span.objects]
    certainty = 1.0
    for frame in frames:
        is_cut = detector.is_cut(frame.image)
        if is_cut:
            cuts.add(frame.index + cut_offset)
        allowed = gate is None or gate.allows(is_cut, certainty)
        if frame.index == own.frame:
            prob = engine.probabilities(frame.image, job.given(own), objects=speaks)
        else:
            prob = engine.probabilities(frame.image, remember=allowed)
        certainty = 1.0 if gate is None else _certainty(prob)
        yield frame, prob, engine.memory_use()


def _certainty(prob: Tensor) -> float:
    """Mean probability, 0 to 1, of the pixels that an object wins; 0 where none does. prob: [O + 1, h, w]."""
    best, index = prob.max(0)
    won = index > 0
    return best[won].mean().item() if won.any() else 0.0


def _mask(prob: Tensor, frame: Frame, span: Span, given: np.ndarray | None) -> np.ndarray:
    """Index mask uint8 [H, W] at the frame's size."""
    return index_mask(resize_to_frame(prob, frame.image.shape[:2]), list(span.objects), given)


def _own(prob: Tensor) -> np.ndarray:
    """The objects' probabilities float32 [O, h, w], background left out."""
    return prob[1:].float().cpu().numpy()


def _blend(backward: Tensor, forward: np.ndarray, weight: float) -> Tensor:
    """[O + 1, h, w] of the backward pass and [O, h, w] of the forward one, which has `weight`."""
    objects = torch.from_numpy(forward).to(backward.device)
    background = (1 - objects.sum(0, keepdim=True)).clamp_min(0)
    return weight * torch.cat([background, objects]) + (1 - weight) * backward
