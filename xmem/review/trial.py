"""A few frames of a run, done as the run would do them: how long they take, and what memory the run will need."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from xmem import leaving
from xmem.device import peak_memory, start_memory_count, synchronise, used_memory
from xmem.engine.propagator import Propagator
from xmem.families import Outlook, VideoState, family_of
from xmem.memory.attention import chunk_elements
from xmem.networks import Network
from xmem.session.passes import SpanJob, compute_span
from xmem.session.results import SpanResult
from xmem.session.settings import TrackSettings
from xmem.session.spans import Anchor, Span
from xmem.video import FrameAccess

_WARM_UP = 2  # frames: the first one carries the mask, the second is the first to read memory
_MEAN_FRAMES = 3  # memory frames that the trial itself has when it is timed, with the one remembered at first
_RADIUS = 0.3  # of a stand-in object, of the room that it has


@dataclass(frozen=True)
class Work:
    """What a run has before it. first: frame where it begins; frames: that the network runs on, over all passes;
    objects: followed; key_frames: in permanent memory; held_bytes: of pictures that wait while going backwards."""

    first: int
    frames: int
    objects: int = 1
    key_frames: int = 0
    held_bytes: int = 0


@dataclass(frozen=True)
class Trial:
    """seconds: of a frame, on average; network_seconds: the part of it that grows with the inference size.

    peak_bytes: resident memory of the process, or allocated on a GPU, at the run's highest, None where the system does
    not tell; new_bytes: how much of it is more than now. growth_bytes: by which memories grow with each frame at the
    run's end, 0 where they are bounded.
    """

    seconds: float
    network_seconds: float
    peak_bytes: int | None
    new_bytes: int
    growth_bytes: int = 0


def run_trial(access: FrameAccess, settings: TrackSettings, model: Network, work: Work, timed_frames: int) -> Trial:
    """Compute the first frames of the work with a stand-in mask and memories as full as they are on average.

    Every second frame is a memory frame; their share in the run is then put right. Nothing is kept.
    """
    start_memory_count(model.device)
    before = used_memory(model.device)
    rehearsal = _Rehearsal(settings.memory_of(family_of(model)), work)
    job = _job(access, settings, model, work, timed_frames, rehearsal)
    with tempfile.TemporaryDirectory() as folder:
        frames = _frame_seconds(job, Path(folder))
    share, ahead = 1 / rehearsal.state().interval, rehearsal.engine.frames_ahead
    network, peak = _mean(rehearsal.seconds, share, ahead), peak_memory(model.device)
    rise, growth = rehearsal.bytes_to_come() + work.held_bytes, rehearsal.growth()
    seconds = max(_mean(frames, share, ahead), network)
    if peak is None or before is None:
        return Trial(seconds, network, None, rise, growth)
    return Trial(seconds, network, peak + rise, max(0, peak - before) + rise, growth)


@dataclass
class _Rehearsal:
    """What is done with the engine of a run of a few frames, and what is found out. config: the run's memories.

    engine: as it was prepared; per_frame: elements of one memory frame; seconds: of each step.
    """

    config: Any
    work: Work
    engine: Propagator = field(init=False)
    per_frame: int = 0
    seconds: list[float] = field(default_factory=list)

    @torch.inference_mode()
    def prepare(self, engine: Propagator, image: np.ndarray, mask: np.ndarray) -> None:
        """Fill the memories as they are on average, with the first frame and with elements that hold nothing."""
        self.engine = engine
        engine.remember(image, mask)
        self.per_frame = engine.memory_use().permanent
        missing = round(self._outlook().mean) + (self.work.key_frames - _MEAN_FRAMES) * self.per_frame
        if missing > 0:
            engine.video_state.fill(missing)

    def state(self) -> VideoState:
        """A new one that has the run's settings and size."""
        engine = self.engine
        return engine.family.open_at(engine.video_state.size, engine.model, self.config)

    def _outlook(self, times: int = 1) -> Outlook:
        """For so many times the run's frames."""
        return self.state().outlook(times * self.work.frames, self.per_frame)

    @contextmanager
    def timed(self) -> Iterator[None]:
        begun = time.perf_counter()
        yield
        synchronise(self.engine.model.device)
        self.seconds.append(time.perf_counter() - begun)

    def growth(self) -> int:
        """By how many bytes a frame memories would grow if the run went on for as long again."""
        ends, use = self._outlook(), self.engine.memory_use()
        if ends.has_room:
            return 0
        more = (self._outlook(2).most - ends.most) / self.work.frames
        return round(more * use.bytes / max(use.permanent + use.working + use.long_term, 1))

    def bytes_to_come(self) -> int:
        """By how much the run's memories will be larger at their fullest than they are now."""
        use, per_frame, device = self.engine.memory_use(), self.per_frame, self.engine.model.device
        held, outlook = use.permanent + use.working + use.long_term, self._outlook()
        most = outlook.most + self.work.key_frames * per_frame
        # What is limited has its room at once on a GPU; on a CPU its pages count when they are first written.
        is_there = outlook.has_room and device.type != "cpu"
        more = 0 if is_there else max(0, most - held)
        chunk = chunk_elements(device)
        distances = min(chunk, per_frame * most) - min(chunk, per_frame * held)
        tables = more * use.bytes // max(held, 1)
        # Twice without a limit: a table that grew has doubled, and was copied.
        return tables * (1 if outlook.has_room else 2) + 4 * max(0, distances)


def _job(
    access: FrameAccess, settings: TrackSettings, model: Network, work: Work, timed_frames: int, rehearsal: _Rehearsal
) -> SpanJob:
    """The run of the first frames, on a mask that stands in for what will be painted."""
    ids = tuple(range(1, work.objects + 1))
    frames = _WARM_UP + timed_frames + Propagator(model).frames_ahead
    last = min(work.first + frames, access.frame_count) - 1
    start = Anchor(work.first, "stand-in", ids)
    mask = _stand_in(access.info.width, access.info.height, work.objects)
    return SpanJob(
        span=Span(work.first, last, start, None, ids, forward=True, backward=False),
        settings=replace(settings, memory=_every_second(rehearsal.config), pause_at_cuts=False),
        anchors=(start,),
        read_mask=lambda _name: mask,
        access=access,
        model=model,
        prepare=lambda engine: rehearsal.prepare(engine, access.frame(work.first).image, mask),
        around=rehearsal.timed,
    )


def _every_second(config: Any) -> Any:
    """Settings with which every second frame is a memory frame, in families that have such."""
    return replace(config, mem_every=2) if hasattr(config, "mem_every") else config


def _stand_in(width: int, height: int, objects: int) -> np.ndarray:
    """Index mask uint8 [height, width] with that many discs side by side."""
    y, x = np.mgrid[:height, :width]
    mask = np.zeros((height, width), np.uint8)
    for number in range(objects):
        centre = (number + 0.5) * width / objects
        radius = _RADIUS * min(height, width / objects)
        mask[(x - centre) ** 2 + (y - height / 2) ** 2 < radius**2] = number + 1
    return mask


def _frame_seconds(job: SpanJob, folder: Path) -> list[float]:
    """Of every frame of the job, with its share of what is still written at the end."""
    seconds, begun = [], time.perf_counter()
    for _ in compute_span(job, SpanResult(0, folder, job.span, {}, complete=False), set()):
        leaving.ask()
        seconds.append(time.perf_counter() - begun)
        begun = time.perf_counter()
    rest = (time.perf_counter() - begun) / len(seconds)
    return [each + rest for each in seconds]


def _mean(seconds: list[float], memory_share: float, ahead: int) -> float:
    """Of a frame in the run, of which `memory_share` are memory frames; here, every second one is.

    ahead: last frames that are not like others, since part of their work was done before."""
    timed = seconds[_WARM_UP : len(seconds) - ahead] or seconds[_WARM_UP:] or seconds[-1:]
    memory, plain = timed[::2], timed[1::2] or timed[::2]
    usual = float(np.median(plain))
    return usual + memory_share * max(0.0, float(np.median(memory)) - usual)
