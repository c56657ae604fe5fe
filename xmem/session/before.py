"""What was there on a span's frames before it is computed anew: to blend with, to compare with, and to keep."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from xmem.engine.transfers import at_hand
from xmem.session import probabilities as soft
from xmem.session.results import PROBABILITIES, Results, ResultWriter, Shown, SpanResult
from xmem.session.spans import Anchor, Span
from xmem.session.stats import ObjectStats


@dataclass(frozen=True)
class Before:
    """A result for every frame of `span` but a key frame's, with all of its objects.

    owners: by frame. fresh: those of the span's ends of which these results do not know yet.
    """

    span: Span
    owners: Mapping[int, SpanResult]
    fresh: tuple[int, ...]

    @staticmethod
    def find(span: Span, results: Results, layers: Iterable[Sequence[Span]], signature: dict) -> Before | None:
        """None where a frame was never computed under these settings, or not with all objects.
        layers: as `Results.before` takes them."""
        owners = results.before(span, layers, signature)
        given = {anchor.frame for anchor in span.key_frames}
        missing = [frame for frame in range(span.first, span.last + 1) if frame not in owners and frame not in given]
        if missing or any(not set(span.objects) <= set(owner.span.objects) for owner in owners.values()):
            return None
        ends = ((span.start, span.first), (span.end, span.last))
        fresh = [end.frame for end, frame in ends if end and not _knows(owners.get(frame), end, span.objects)]
        return Before(span, owners, tuple(fresh))

    def mask(self, frame: int) -> np.ndarray | None:
        """Index mask uint8 [H, W] as computed; None on a frame without."""
        owner = self.owners.get(frame)
        if owner is None:
            return None
        return _only(owner.mask(frame), self.span.objects)

    def probabilities(self, frame: int) -> np.ndarray | None:
        """float32 [O, h, w] of the span's objects at inference size; None on a frame without."""
        owner = self.owners.get(frame)
        found = owner.probabilities(frame) if owner else None
        if owner is None or found is None or owner.span.objects == self.span.objects:
            return found
        return found[[owner.span.objects.index(i) for i in self.span.objects]]


def _knows(owner: SpanResult | None, anchor: Anchor, objects: Sequence[int]) -> bool:
    """Whether a result has gone all the way from a key frame."""
    if owner is None or not owner.complete or anchor.frame in owner.fresh:
        return False
    return any(anchor.is_like(other, objects) for other in owner.span.key_frames)


def keep(before: Before, result: SpanResult, read_mask: Callable[[str], np.ndarray]) -> None:
    """Give a result, on all frames that it has none for, what was there before. read_mask: gives those of key frames.

    Files are linked where the file system can: nobody changes them.
    """
    span = before.span
    with ResultWriter(result) as writer:
        own = set(result.frames())
        _measure_rest(before, result, own, writer)
        if span.start is not None and span.first not in own:
            _keep_given(before, result, writer, _only(read_mask(span.start.mask), span.objects))
            own.add(span.first)
        tables: dict[int, dict[tuple[int, int], ObjectStats]] = {}
        for frame in sorted(set(before.owners) - own):
            owner = before.owners[frame]
            if owner.number not in tables:
                tables[owner.number] = owner.stats()
            _keep_frame(before, owner, frame, result, writer)
            rows = [tables[owner.number].get((frame, i)) for i in span.objects]
            writer.copy([row for row in rows if row is not None])


def _measure_rest(before: Before, result: SpanResult, own: Iterable[int], writer: ResultWriter) -> None:
    """Figures of frames that a run was stopped behind, which backwards come a frame late."""
    known = {frame for frame, _ in result.stats()}
    for frame in sorted(set(own) - known):
        found, neighbour = result.sixteen_bits(frame), before.mask(frame - 1)
        if found is not None:
            previous = None if neighbour is None else Shown(at_hand(neighbour))
            writer.measure(frame, at_hand(found), Shown(at_hand(result.mask(frame))), previous)


def _keep_frame(before: Before, owner: SpanResult, frame: int, result: SpanResult, writer: ResultWriter) -> None:
    if owner.span.objects != result.span.objects:  # some were deleted
        found, mask = before.probabilities(frame), before.mask(frame)
        if found is not None and mask is not None:
            writer.write(frame, at_hand(mask), at_hand(soft.bits_of(found)))
        return
    paths = owner.folder / "masks" / f"{frame:05d}.png", soft.found(owner.folder / PROBABILITIES, frame)
    for path in paths:
        if path is not None and path.exists():
            _link(path, result.folder / path.relative_to(owner.folder))


def _keep_given(before: Before, result: SpanResult, writer: ResultWriter, mask: np.ndarray) -> None:
    """A key frame's own, certain where its mask is; nothing where no frame tells the size."""
    known = next((found for f in before.owners if (found := before.probabilities(f)) is not None), None)
    if known is None:
        return
    size = known.shape[:0:-1]
    own = [(mask == i).astype(np.float32) for i in before.span.objects]
    probabilities = np.stack([cv2.resize(each, size, interpolation=cv2.INTER_AREA) for each in own])
    given, bits = at_hand(mask), at_hand(soft.bits_of(probabilities))
    writer.write(before.span.first, given, bits)
    writer.measure(before.span.first, bits, Shown(given), None)


def _only(mask: np.ndarray, ids: Sequence[int]) -> np.ndarray:
    return np.where(np.isin(mask, ids), mask, 0).astype(np.uint8)


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        shutil.copyfile(source, target)
