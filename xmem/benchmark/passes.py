"""The three passes over a clip: file to file, network and memory alone, and a few frames stage by stage."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from xmem.benchmark.cases import Case
from xmem.benchmark.clips import stand_in
from xmem.benchmark.machine import process_bytes
from xmem.benchmark.results import PARTS, Pass, Sample
from xmem.benchmark.stopwatch import Stopwatch
from xmem.device import synchronise
from xmem.engine import segment
from xmem.engine.masks import index_mask
from xmem.engine.propagator import Propagator
from xmem.families import VideoState, family_of
from xmem.networks import Network
from xmem.render.masks import write_index_mask
from xmem.render.overlay import tint
from xmem.video import FrameReader, VideoWriter, first_frame

HELD_FRAMES = 8  # decoded ones that the engine is fed with, to and fro
SAMPLES = 100  # at most so many over a clip
SAMPLED_WARM_UP, SAMPLED_PERIODS = 1, 3  # memory periods of a sample: before it counts, and those that are timed
GPU_STAGE_CYCLES = 4  # consolidation cycles that are timed stage by stage; on a CPU, one

Progress = Callable[[int], object]


@dataclass(frozen=True)
class Bench:
    """What the passes share. clip: a file of `case.frames` frames; folder: for results, deleted by others."""

    case: Case
    clip: Path
    folder: Path
    model: Network
    progress: Progress

    @property
    def config(self) -> Any:
        """The released settings of the network's family. Raises InputError where long-term memory cannot be off."""
        family = family_of(self.model)
        if self.case.long_term:
            return family.config()
        return family.chosen({"long_term": False})

    @property
    def period(self) -> int:
        """Frames of which one is remembered."""
        return self.state().interval

    @property
    def warm_up(self) -> int:
        """Frames before measuring begins: the given mask, then a whole period of memory, up to the first that is read
        from two memory frames; more where kernels are chosen and compiled at first use."""
        periods = 1 if self.model.device.type == "cpu" else 6
        return min(1 + periods * self.period, self.case.frames // 2)

    @property
    def consolidation_frames(self) -> int:
        """Frames from one consolidation to the next, after which everything has happened once."""
        config = self.config
        return (config.max_working_frames - config.min_working_frames) * self.period

    def state(self) -> VideoState:
        """A new one, at the clip's size."""
        side = self.case.size  # of both, the shorter one counts
        return family_of(self.model).open_at((side, side), self.model, self.config)

    def mask(self, frame: np.ndarray) -> np.ndarray:
        return stand_in(frame.shape[1], frame.shape[0], self.case.objects)

    def is_sample(self, frame: int) -> bool:
        """Whether memory is looked at after so many frames."""
        return frame == self.case.frames or frame % max(1, self.case.frames // SAMPLES) == 0

    def sample(self, frame: int, engine: Propagator | None = None) -> Sample:
        held = process_bytes(self.model.device)
        if engine is None:
            return Sample(frame, None, None, held)
        use = engine.memory_use()
        return Sample(frame, use.permanent + use.working + use.long_term, use.bytes, held)


def run_whole(bench: Bench) -> tuple[Pass, int | None]:
    """From an H.264 file to an overlay video and mask files, as `segment` does it.

    Measured with opening and closing the files, after a run of its own that warms up.
    Returns the pass, and the process's bytes before it (None where not told).
    """
    given = {0: bench.mask(first_frame(bench.clip))}

    def run(name: str) -> Generator[object, None, None]:
        return segment.segment_video(
            bench.clip, given, bench.folder / name, model=bench.model, config=bench.config, size=None
        )

    warming = run("warm-up")
    for _ in islice(warming, bench.warm_up):
        bench.progress(1)
    warming.close()
    before = bench.sample(0)
    course, count, began = [before], 0, time.perf_counter()
    for count, _ in enumerate(run("whole"), start=1):
        bench.progress(1)
        if bench.is_sample(count):
            course.append(bench.sample(count))
    return Pass(count, time.perf_counter() - began, None, tuple(course)), before.process_bytes


def run_engine(bench: Bench, engine: Propagator, course: list[Sample]) -> Pass:
    """`step` on frames that are decoded already, timed in blocks of a memory period; probabilities stay on the device.

    course: filled as it goes, so that what was seen before a failure is kept.
    """
    images = islice(held_frames(bench.clip), bench.case.frames)
    period, device = bench.period, bench.model.device
    blocks, size, began = [], 0, 0.0
    first = {0: bench.mask(first_frame(bench.clip))}
    for count, _ in enumerate(engine.run(images, first), start=1):
        bench.progress(1)
        if bench.is_sample(count):
            course.append(bench.sample(count, engine))
        size += 1
        is_warm = count > bench.warm_up
        if count == bench.warm_up or (is_warm and (size == period or count == bench.case.frames)):
            synchronise(device)
            now = time.perf_counter()
            if is_warm:
                blocks.append((size, now - began))
            size, began = 0, now
    full = [count / seconds for count, seconds in blocks if count == blocks[0][0]]
    frames, seconds = (sum(values) for values in zip(*blocks, strict=True))
    return Pass(frames, seconds, statistics.median(full), tuple(course))


def run_sampled(bench: Bench) -> Pass:
    """A few frames late in a clip: memories are filled with as much as they hold after all of its frames, and then
    `step` is timed, in blocks of a memory period. What a frame takes depends on how much is held, not on what it is.

    On a CPU, processor time counts, of all cores together: other work on the machine adds little to it.
    """
    image, device = first_frame(bench.clip), bench.model.device
    clock = time.process_time if device.type == "cpu" else time.perf_counter
    engine, mask = Propagator(bench.model, bench.config), bench.mask(image)
    with torch.inference_mode():
        _fill(bench, engine, image, mask)
        images, blocks = held_frames(bench.clip), []
        engine.step(next(images), mask)
        for _ in range(SAMPLED_WARM_UP + SAMPLED_PERIODS):
            synchronise(device)
            began = clock()
            for frame in islice(images, bench.period):
                engine.step(frame)
                bench.progress(1)
            synchronise(device)
            blocks.append(clock() - began)
    timed = blocks[SAMPLED_WARM_UP:]
    frames = len(timed) * bench.period
    return Pass(frames, sum(timed), bench.period / statistics.median(timed), (bench.sample(bench.case.frames, engine),))


def _fill(bench: Bench, engine: Propagator, image: np.ndarray, mask: np.ndarray) -> None:
    """As full as after all frames of the clip, less what stepping through the sample itself adds on average."""
    engine.remember(image, mask)
    per_frame = engine.memory_use().permanent
    own = 2 + (SAMPLED_WARM_UP + SAMPLED_PERIODS) // 2
    missing = bench.state().outlook(bench.case.frames, per_frame).most - own * per_frame
    if missing > 0:
        engine.video_state.fill(missing)
    for _ in range(missing // per_frame if engine.memory_use().permanent == per_frame else 0):
        engine.remember(image, mask)  # a family with so few that it need not be filled


def held_frames(clip: Path) -> Iterator[np.ndarray]:
    """The first frames of a clip to and fro without end: uint8 [H, W, 3], so that nothing is decoded meanwhile."""
    with FrameReader(clip) as reader:
        images = [frame.image for frame in islice(reader, HELD_FRAMES)]
    return cycle([*images, *images[-2:0:-1]])


def run_stages(bench: Bench, engine: Propagator) -> dict[str, float]:
    """Seconds per frame by part, one after the other, with the memories as full as the engine has them.

    A whole consolidation cycle is timed, or several on a GPU.
    """
    watch = Stopwatch(bench.model.device)
    cycles = 1 if bench.model.device.type == "cpu" else GPU_STAGE_CYCLES
    count = min(bench.case.frames, cycles * bench.consolidation_frames)
    watched = (
        (engine.model, "encode_key", "key"),
        (engine.model, "encode_value", "value"),
        (engine.model, "decode", "decoder"),
        (engine.memory, "read", "read"),
        (engine.memory, "count", "read"),
        (engine.memory, "append", "append"),
        (engine.memory, "consolidate", "consolidate"),
    )
    for owner, method, part in watched:
        watch.wrap(owner, method, part)
    try:
        _stage_by_stage(bench, engine, watch, count)
    finally:
        watch.unwrap()
    seconds = dict(watch.seconds)
    inside = sum(seconds.get(part, 0.0) for part in {part for _, _, part in watched})
    seconds["other"] = max(0.0, seconds.pop("engine") - inside)  # resizing, normalising, joining the objects
    return {part: seconds.get(part, 0.0) / count for part in PARTS}


def _stage_by_stage(bench: Bench, engine: Propagator, watch: Stopwatch, count: int) -> None:
    folder = bench.folder / "stages"
    folder.mkdir(parents=True)
    with FrameReader(bench.clip) as reader:
        writer = VideoWriter(folder / segment.OVERLAY_NAME, reader)
        try:
            for _ in range(count):
                frame = watch.run("decode", next, reader)
                prob = watch.run("engine", engine.step, frame.image)
                index = watch.run("index", index_mask, prob, engine.objects)
                overlay = watch.run("tint", tint, frame.image, index)
                watch.run("png", write_index_mask, folder / f"{frame.name}.png", index)
                watch.run("h264", writer.write, overlay, frame)
                bench.progress(1)
        finally:
            watch.run("h264", writer.close)
