"""A run over pending spans: each is computed into a result of its own, or gone on with where it was left.

Where results are corrected, the passes that set out from the corrected key frames come first, those to either side of
one in turns, so that its neighbours are there at once. How far a correction is carried is the run's scope:

- "around": away from it until the new masks agree with those from before, which stay beyond, and with which the new
  ones are blended by distance from the next key frame.
- "neighbours": to the key frames beside it, all of both passes. What is stored then does not depend on what was there
  before, nor on the order.
- "frame": not at all.

What was never computed before is computed wholly in each of them.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, closing
from dataclasses import dataclass, field, replace

import numpy as np

from xmem.engine.propagator import Propagator
from xmem.engine.state import EngineState
from xmem.engine.transfers import Fetched
from xmem.memory import MemoryUse
from xmem.session.before import Before, keep
from xmem.session.passes import Leg, PassFrame, SpanJob, compute_leg
from xmem.session.project import Project
from xmem.session.results import Results, SpanResult
from xmem.session.settings import SCOPES, WHOLE, TrackSettings
from xmem.session.spans import Anchor, Span
from xmem.session.suspended import Place, Suspended, read_suspended
from xmem.video.access import FrameAccess

_LEAST = 1e-6  # of a frame, by which sums of parts may be off


@dataclass(frozen=True)
class Step:
    """A frame of a run, done. done, total: frames of the video, each counted once however often the network runs on it
    (half done, it counts half); total: at most, where a run may end early. seconds: since the run began.

    image: uint8 [H, W, 3] RGB; mask: index mask uint8 [H, W]; memory: what the memories hold. agrees: on both sides of
    all corrections the new masks have come to agree with those from before, so that one may stop, and keep the rest.
    """

    frame: int
    done: int
    total: int
    seconds: float
    image: np.ndarray
    memory: MemoryUse
    _mask: Fetched = field(repr=False)
    agrees: bool = False

    @property
    def mask(self) -> np.ndarray:
        """A device may have to be waited for."""
        return self._mask()


@dataclass
class Pass:
    """One pass of a span in a run. steps: frames that the network runs on; done: of which it has; skipped: of which it
    had when the run began. agrees: its masks have come to agree with those from before. is_over: it does no more."""

    backward: bool
    steps: int
    done: int = 0
    skipped: int = 0
    agrees: bool = False
    is_over: bool = False


@dataclass
class Task:
    """A span that is to be computed.

    before: what is there on its frames, where a correction sets out from an end of it. result, place: where an earlier
    run was left. stops: passes end once they agree with what was there before. passes: those to make, in their order.
    """

    span: Span
    before: Before | None
    result: SpanResult | None
    place: Place | None
    stops: bool
    passes: list[Pass]

    @property
    def skipped(self) -> float:
        """Frames that were done before the run."""
        return sum(self._frames(each, each.skipped) for each in self.passes)

    @property
    def done(self) -> float:
        """Frames that the run has done."""
        return sum(self._frames(each, each.done - each.skipped) for each in self.passes)

    @property
    def total(self) -> float:
        """Frames that the run has to do, at most."""
        return sum(
            self._frames(each, (each.done if each.is_over else each.steps) - each.skipped) for each in self.passes
        )

    def _frames(self, one: Pass, steps: int) -> float:
        """Frames of the video that so many steps of a pass stand for."""
        return self.span.length / len(self.passes) * steps / one.steps

    @property
    def is_over(self) -> bool:
        return all(each.is_over for each in self.passes)

    def sets_out(self, one: Pass) -> bool:
        """Whether a pass carries a correction."""
        return self.before is not None and self.span.own(one.backward).frame in self.before.fresh

    def begin_anew(self) -> None:
        """Forget where an earlier run was left."""
        self.result = self.place = None
        for each in self.passes:
            each.done = each.skipped = 0
            each.agrees = each.is_over = False


def task_of(results: Results, span: Span, layers: Sequence[Sequence[Span]], signature: dict, scope: str) -> Task:
    """What a run has to do for a span that is pending. layers: as `Results.before` takes them."""
    before = Before.find(span, results, layers, signature)
    result = results.suspended(span, signature)
    place = Place.read(result.folder) if result else None
    if scope == "frame" and before is not None:
        return Task(span, before, result, place, True, [])
    if before is not None and not before.fresh:  # a key frame was taken away, say: nothing tells where to begin
        before = None
    fresh = before.fresh if before else ()
    stops = scope == "around" and before is not None
    if place is not None and not stops and _ended_early(span, place):
        place = None
    order = sorted(span.passes, key=lambda backward: span.own(backward).frame not in fresh)
    if place is not None:
        first = place.backward if place.first_until is None else not place.backward
        order.sort(key=lambda backward: backward != first)
    passes = [Pass(each, span.steps_of(each)) for each in order if not stops or span.own(each).frame in fresh]
    if place is not None:
        for each in passes:
            each.done = each.skipped = place.steps(span, each.backward)
            each.is_over = place.is_over_in(each.backward)
    return Task(span, before, result if place else None, place, stops, passes)


def _ended_early(span: Span, place: Place) -> bool:
    """Whether a pass is over before its end, as one may be in a run that was to stop where masks agree."""
    return any(place.is_over_in(each) and place.until(each) != span.end_of(each) for each in span.passes)


class Run:
    """Tasks, computed in order of urgency, into `results`.

    job: what the computation of a span needs. access: opens the video once more. Shot cuts that are seen are added to
    `cuts`.
    """

    def __init__(
        self,
        results: Results,
        tasks: Sequence[Task],
        job: Callable[[Span], SpanJob],
        access: Callable[[], AbstractContextManager[FrameAccess]],
        cuts: set[int],
    ):
        self._results, self._tasks, self._job, self._access, self._cuts = results, tasks, job, access, cuts

    @property
    def done(self) -> int:
        """Frames that are done."""
        done, total = (sum(frames) for frames in zip(*((each.done, each.total) for each in self._tasks), strict=True))
        return self.total if total - done < _LEAST else int(done + _LEAST)

    @property
    def total(self) -> int:
        """Frames to do, at most; what was done half counts as a frame."""
        return math.ceil(sum(each.total for each in self._tasks) - _LEAST)

    @property
    def agrees(self) -> bool:
        """As a `Step` has it."""
        outward = [one for each in self._tasks for one in each.passes if each.sets_out(one)]
        return bool(outward) and all(one.agrees or one.is_over for one in outward)

    def frames(self) -> Generator[PassFrame, None, None]:
        """Compute all; yield each frame that is done."""
        left = {id(each): found for each in self._tasks if (found := self._left(each))}
        for group in _groups(self._tasks):
            engines = _Engines()
            with ExitStack() as held:
                turns = []
                for number, (each, one) in enumerate(group):
                    job = self._job(each.span)
                    if number:  # frames of both are read at the same time
                        job = replace(job, access=held.enter_context(self._access()))
                    is_left = each.place is not None and each.place.backward == one.backward
                    begun = left.pop(id(each), None) if is_left else None
                    turns.append(held.enter_context(closing(self._pass(each, one, job, begun, engines))))
                yield from _in_turns(turns)
            self._complete()

    def _left(self, task: Task) -> Suspended | None:
        """Where a task was left; where it cannot be gone on with, it begins anew."""
        if task.result is None:
            return None
        found = read_suspended(task.result.folder, self._job(task.span).model)
        if found is None:
            task.begin_anew()
        return found

    def _pass(
        self, task: Task, one: Pass, job: SpanJob, left: Suspended | None, engines: _Engines
    ) -> Generator[PassFrame, None, None]:
        span, own = task.span, task.span.own(one.backward)
        if task.result is None:
            task.result = self._results.new(span, job.settings.signature)
        until = task.place.until(not one.backward) if task.place else None
        is_last = one is task.passes[-1]
        leg = Leg(job, task.result, one.backward, until, task.before, task.stops, is_last)
        engine = left.engine if left else engines.at(job, own)
        frame = left.place.frame if left else own.frame
        with closing(compute_leg(leg, self._cuts, left, engine)) as frames:
            for found in frames:
                frame = found.frame
                one.done, one.agrees = span.steps_until(one.backward, frame), found.agrees
                one.is_over = task.stops and found.agrees
                yield found
        one.is_over = True
        task.place = Place(one.backward, frame, True, until)

    def _complete(self) -> None:
        """Tasks of which nothing is left have their results."""
        for each in self._tasks:
            if each.is_over and (each.result is None or not each.result.complete):
                job = self._job(each.span)
                each.result = settle(self._results, each, job.settings.signature, job.read_mask)


def settle(results: Results, task: Task, signature: dict, read_mask: Callable[[str], np.ndarray]) -> SpanResult:
    """Complete the result of a task with what it has; other frames keep what was there before."""
    span, place = task.span, task.place
    result = task.result or results.new(span, signature)
    begun = [each for each in span.passes if place is not None and place.until(each) is not None]
    is_whole = place is not None and all(place.until(each) == span.end_of(each) for each in span.passes)
    if is_whole or task.before is None:  # without anything before, only a damaged video ends a pass early
        return results.complete(result)
    keep(task.before, result, read_mask)
    gone = {span.own(each).frame for each in begun}
    fresh = tuple(frame for frame in task.before.fresh if frame not in gone)
    return results.complete(result, "around" if begun else "frame", fresh)


def take_over(results: Results, before: Before, signature: dict, read_mask: Callable[[str], np.ndarray]) -> None:
    """A result of a span that one key frame more has cut off: all as it was before."""
    result = results.new(before.span, signature)
    keep(before, result, read_mask)
    owners = list(before.owners.values())
    ends = [anchor.frame for anchor in before.span.key_frames]
    fresh = tuple(end for end in ends if any(end in owner.fresh for owner in owners))
    scope = min((owner.scope for owner in owners), key=SCOPES.index, default=WHOLE)
    if scope == "frame" and not fresh:
        scope = "around"  # the correction that is to be carried on is on the other side of what was accepted
    results.complete(result, scope, fresh)


def _groups(tasks: Sequence[Task]) -> list[list[tuple[Task, Pass]]]:
    """Passes that are made in turns: first those to both sides of each corrected key frame, then others one by one."""
    corrected: dict[int, list[tuple[Task, Pass]]] = {}
    others = []
    for each in tasks:
        for one in each.passes:
            if one.is_over:
                continue
            if each.sets_out(one):
                corrected.setdefault(each.span.own(one.backward).frame, []).append((each, one))
            else:
                others.append([(each, one)])
    return [sorted(corrected[frame], key=lambda found: found[1].backward) for frame in sorted(corrected)] + others


def _in_turns(iterators: Iterable[Iterator[PassFrame]]) -> Iterator[PassFrame]:
    """An item of each after the other; of each two at first, since the first one is the key frame itself."""
    waiting = deque((each, 2) for each in iterators)
    while waiting:
        each, count = waiting.popleft()
        for _ in range(count):
            item = next(each, None)
            if item is None:
                break
            yield item
        else:
            waiting.append((each, 1))


class _Engines:
    """Engines that set out from one key frame: the other key frames are encoded for the first, and copied."""

    def __init__(self) -> None:
        self._states: dict[tuple[Anchor, tuple[int, ...]], EngineState] = {}

    def at(self, job: SpanJob, own: Anchor) -> Propagator:
        """An engine that has every key frame but its own."""
        key = (own, job.span.objects)
        state = self._states.pop(key, None)
        if state is not None:
            return Propagator.resume(job.model, state)
        engine = job.engine(own)
        if engine.objects:
            state = engine.state()
            tensors = {name: tensor.clone() for name, tensor in state.tensors.items()}
            self._states[key] = EngineState(tensors, state.values)
        return engine


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
