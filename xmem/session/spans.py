"""Key frames cut a video into spans, and each span is computed on its own from the key frames beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from xmem.session.project import KeyFrame


@dataclass(frozen=True)
class Anchor:
    """A key frame at an end of a span. speaks: ids that its mask tells about, as present or as absent."""

    frame: int
    mask: str
    speaks: tuple[int, ...]


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
    def steps(self) -> int:
        """Frames that the network runs on, over both passes."""
        length = self.last - self.first + 1
        return length * self.forward + (length + (self.start is None)) * self.backward

    def forward_weight(self, frame: int) -> float:
        """Share of the forward pass in the blend at `frame`: 1 at the start, falling by distance to 0 at the end."""
        if not (self.forward and self.backward):
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
    is_same_mask = (needed.frame, needed.mask) == (given.frame, given.mask)
    return is_same_mask and set(needed.speaks) & set(objects) == set(given.speaks) & set(objects)


def plan(key_frames: Sequence[KeyFrame], objects: Sequence[int], first: int, last: int, direction: str) -> list[Span]:
    """The spans of frames first..last; frames that `direction` does not reach are in none.

    key_frames: ascending. objects: ids that exist; others in the masks are passed over.
    """
    keys = [key for key in key_frames if first <= key.frame <= last]
    anchors = [Anchor(key.frame, key.mask, spoken(key_frames, objects, key.frame)) for key in keys]
    spans = []
    for start, end in zip([None, *anchors], [*anchors, None], strict=True):
        span = _span(key_frames, objects, start, end, (first, last), direction)
        if span is not None:
            spans.append(span)
    return spans


def spoken(key_frames: Sequence[KeyFrame], objects: Sequence[int], frame: int) -> tuple[int, ...]:
    """Ids that a key frame on `frame` speaks for: those introduced there or on an earlier key frame."""
    known = {i for key in key_frames if key.frame <= frame for i in key.objects}
    return tuple(sorted(known & set(objects)))


def _span(
    key_frames: Sequence[KeyFrame],
    objects: Sequence[int],
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
    if direction == "forward":
        reached = spoken(key_frames, objects, start.frame)
    else:
        oldest = end.frame if direction == "backward" else 0
        introduced = {i for key in key_frames if key.frame >= oldest for i in key.objects}
        reached = tuple(sorted(introduced & set(objects)))
    return Span(first, last, start, end, reached, forward, backward) if reached else None


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


def span_of_json(values: dict[str, Any]) -> Span:
    """The reverse of `span_as_json`; other entries are passed over."""

    def anchor(value: list | None) -> Anchor | None:
        return None if value is None else Anchor(value[0], value[1], tuple(value[2]))

    return Span(
        values["first"],
        values["last"],
        anchor(values["start"]),
        anchor(values["end"]),
        tuple(values["objects"]),
        values["forward"],
        values["backward"],
    )
