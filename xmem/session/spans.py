"""Key frames cut a video into spans, and each span is computed on its own from the key frames beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field, JsonValue

from xmem.errors import InputError
from xmem.session.project import KeyFrame
from xmem.session.schema import FrameNumber, MaskName, ObjectId


@dataclass(frozen=True)
class Anchor:
    """A key frame at an end of a span. speaks: ids that its mask tells about, as present or as absent."""

    frame: int
    mask: str
    speaks: tuple[int, ...]

    def is_like(self, other: Anchor, objects: Sequence[int]) -> bool:
        """Whether both say the same of these objects."""
        is_same_mask = (self.frame, self.mask) == (other.frame, other.mask)
        return is_same_mask and set(self.speaks) & set(objects) == set(other.speaks) & set(objects)


@dataclass(frozen=True)
class Span:
    """Frames first..last (inclusive), computed from the key frames around them.

    start: the key frame that is `first` itself; end: the one at `last` + 1; None where there is none.
    objects: ids that are followed. forward, backward: the passes; with both, they are blended.
    """

    first: int
    last: int
    start: Anchor | None
    end: Anchor | None
    objects: tuple[int, ...]
    forward: bool
    backward: bool

    @property
    def length(self) -> int:
        """Frames of the video."""
        return self.last - self.first + 1

    @property
    def passes(self) -> tuple[bool, ...]:
        """Whether each pass goes backwards; the forward one comes first."""
        return (False,) * self.forward + (True,) * self.backward

    @property
    def steps(self) -> int:
        """Frames that the network runs on, over both passes."""
        return sum(self.steps_of(backward) for backward in self.passes)

    def steps_of(self, backward: bool) -> int:
        """Frames that the network runs on in one pass."""
        return self.steps_until(backward, self.end_of(backward))

    def steps_until(self, backward: bool, frame: int) -> int:
        """Frames that a pass has done once it has done `frame`."""
        own = self.own(backward).frame
        return (own - frame if backward else frame - own) + 1

    def own(self, backward: bool) -> Anchor:
        """The key frame that a pass sets out from."""
        anchor = self.end if backward else self.start
        assert anchor is not None, "a pass sets out from a key frame"
        return anchor

    def end_of(self, backward: bool) -> int:
        """The last frame that a pass comes to; a key frame at the start is no matter of the backward one."""
        return self.first + (self.start is not None) if backward else self.last

    @property
    def key_frames(self) -> tuple[Anchor, ...]:
        """Those at its ends."""
        return tuple(anchor for anchor in (self.start, self.end) if anchor is not None)

    def forward_weight(self, frame: int) -> float:
        """Share of the forward pass in the blend at `frame`: 1 at the start, falling by distance to 0 at the end."""
        if not (self.forward and self.backward) or self.start is None or self.end is None:
            return float(self.forward)
        return (self.end.frame - frame) / (self.end.frame - self.start.frame)

    def is_served_by(self, other: Span) -> bool:
        """Whether the results of `other` are what this span would compute."""
        return (
            other.first <= self.first
            and self.last <= other.last
            and (other.forward, other.backward) == (self.forward, self.backward)
            and set(self.objects) <= set(other.objects)
            and _same(self.start, other.start, self.objects)
            and _same(self.end, other.end, self.objects)
        )


def _same(needed: Anchor | None, given: Anchor | None, objects: Sequence[int]) -> bool:
    if needed is None or given is None:
        return needed is given
    return needed.is_like(given, objects)


def plan(key_frames: Sequence[KeyFrame], objects: Sequence[int], first: int, last: int, direction: str) -> list[Span]:
    """The spans of frames first..last; frames that `direction` does not reach are in none.

    key_frames: ascending. objects: ids that exist; others in the masks are passed over.
    """
    existing = frozenset(objects)
    anchors = [anchor for anchor in anchors_of(key_frames, objects) if first <= anchor.frame <= last]
    later = _introduced_from(key_frames, existing)
    spans = []
    for start, end in zip([None, *anchors], [*anchors, None], strict=True):
        span = _span(later, start, end, (first, last), direction)
        if span is not None:
            spans.append(span)
    return spans


def anchors_of(key_frames: Sequence[KeyFrame], objects: Sequence[int]) -> list[Anchor]:
    """Every key frame with what it speaks for: the ids introduced there or on an earlier one."""
    existing, anchors = frozenset(objects), []
    known: set[int] = set()
    for key in key_frames:
        known |= existing & set(key.objects)
        anchors.append(Anchor(key.frame, key.mask, tuple(sorted(known))))
    return anchors


def ids_spoken_for(key_frames: Sequence[KeyFrame], objects: Sequence[int], frame: int) -> tuple[int, ...]:
    """Ids that a key frame on `frame` speaks for: those introduced there or on an earlier key frame."""
    known = {i for key in key_frames if key.frame <= frame for i in key.objects}
    return tuple(sorted(known & set(objects)))


def _introduced_from(key_frames: Sequence[KeyFrame], existing: Set[int]) -> dict[int, tuple[int, ...]]:
    """Ids on a key frame or a later one, by its frame; under 0 those of all."""
    known: set[int] = set()
    found = {}
    for key in reversed(key_frames):
        known |= existing & set(key.objects)
        found[key.frame] = tuple(sorted(known))
    return found | {0: tuple(sorted(known))}


def _span(
    introduced_from: Mapping[int, tuple[int, ...]],
    start: Anchor | None,
    end: Anchor | None,
    trim: tuple[int, int],
    direction: str,
) -> Span | None:
    first = start.frame if start else trim[0]
    last = end.frame - 1 if end else trim[1]
    forward = start is not None and direction != "backward"
    backward = end is not None and direction != "forward"
    if backward and start is not None and last == first:  # neighbours: there is nothing between them
        backward = False
    if last < first or not (forward or backward):
        return None
    if start is not None and direction == "forward":
        reached = start.speaks
    else:
        reached = introduced_from[end.frame if end is not None and direction == "backward" else 0]
    return Span(first, last, start, end, reached, forward, backward) if reached else None


_End = tuple[FrameNumber, MaskName, tuple[ObjectId, ...]]


@dataclass(frozen=True)
class SpanTable:
    """The form of span.json: a span, and of its result what `xmem.session.results.SpanResult` says of it."""

    start: _End | None
    end: _End | None
    first: FrameNumber
    last: FrameNumber
    objects: Annotated[tuple[ObjectId, ...], Field(min_length=1, max_length=255)]
    forward: bool
    backward: bool
    signature: dict[str, JsonValue]
    complete: bool
    scope: Literal["frame", "around", "neighbours"] = "neighbours"
    fresh: Annotated[tuple[FrameNumber, ...], Field(max_length=2)] = ()


def span_as_json(span: Span) -> dict[str, Any]:
    """A span in JSON's types."""
    anchors = {
        name: None if anchor is None else [anchor.frame, anchor.mask, list(anchor.speaks)]
        for name, anchor in (("start", span.start), ("end", span.end))
    }
    return anchors | {
        "first": span.first,
        "last": span.last,
        "objects": list(span.objects),
        "forward": span.forward,
        "backward": span.backward,
    }


def span_of_table(table: SpanTable) -> Span:
    """The reverse of `span_as_json`. Raises InputError for a span that no plan has."""
    start, end = (None if one is None else Anchor(*one) for one in (table.start, table.end))
    span = Span(table.first, table.last, start, end, table.objects, table.forward, table.backward)
    is_sound = (
        span.first <= span.last
        and (start is None or start.frame == span.first)
        and (end is None or end.frame == span.last + 1)
        and not (span.forward and start is None)
        and not (span.backward and end is None)
        and list(span.objects) == sorted(set(span.objects))
    )
    if not is_sound:
        raise InputError("The table of a result is damaged (its span contradicts itself): start again from the video.")
    return span
