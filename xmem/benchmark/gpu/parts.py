"""The parts: each is a function of its own process, from what is asked for to plain figures."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import torch

from xmem.benchmark.cases import Case
from xmem.benchmark.clips import looped_clip, scaled_clip
from xmem.benchmark.gpu.measuring import begun, endless, in_turns, network
from xmem.benchmark.gpu.scale import Scale
from xmem.benchmark.machine import describe
from xmem.benchmark.page import measure_page
from xmem.benchmark.variants import ahead, compiled, fused, graphs, nvdec, reading
from xmem.benchmark.worker import measure
from xmem.device import peak_memory, select_device, start_memory_count, synchronise
from xmem.errors import InputError
from xmem.memory.attention import distance, prepare_memory, prepare_query
from xmem.networks.xmem import XMem
from xmem.scoring.evaluation import evaluate

ROOT = Path(__file__).parents[3]
CLIPS = ("clips", "../shared/data/davis2016-train")  # in a bundle, and beside a checkout


@dataclass(frozen=True)
class Bench:
    """device: as `select_device` takes it. precision: the usual one there."""

    scale: Scale
    device: str

    @cached_property
    def place(self) -> torch.device:
        """Selected once: selecting has cuDNN try its algorithms, which a part may have forbidden since."""
        return select_device(self.device)

    @property
    def precision(self) -> str:
        return "float16" if self.place.type == "cuda" else "float32"

    def network(self, precision: str = "") -> XMem:
        return network(self.scale.network, self.device, precision or self.precision)


Figures = dict[str, Any]


def machine(bench: Bench) -> Figures:
    """What it is, and what it computes at best."""
    return describe(bench.device)


def tests(bench: Bench) -> Figures:
    """`tests/test_gpu.py`: reference numbers, no waits, forced full memory, budgets; with what it recorded."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tests.xml"
        words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "not scores"]
        words += [f"--junitxml={path}", f"--rootdir={ROOT}", str(ROOT / "tests/test_gpu.py")]
        status = subprocess.run(words, cwd=ROOT, capture_output=True).returncode
        cases = ElementTree.parse(path).getroot().iter("testcase")
        found = {case.get("name", ""): _outcome(case) for case in cases}
    return {"status": status, "passed": _count(found, "passed"), "of": len(found), "tests": found}


def _outcome(case: ElementTree.Element) -> Figures:
    kinds = {child.tag: child.get("message", "") for child in case if child.tag in ("failure", "error", "skipped")}
    recorded = {item.get("name", ""): item.get("value", "") for item in case.iter("property")}
    return {"outcome": next(iter(kinds), "passed"), "message": next(iter(kinds.values()), "")[:500], **recorded}


def _count(found: dict[str, Figures], outcome: str) -> int:
    return sum(case["outcome"] == outcome for case in found.values())


def scores(bench: Bench) -> Figures:
    """Held-back clips with xmem-lite, in each precision."""
    scale = bench.scale
    root = next((ROOT / name for name in CLIPS if (ROOT / name).is_dir()), None)
    if root is None or not scale.clips:
        return {"left out": "no held-back clips are here"}
    return {
        precision: evaluate(root, network("xmem-lite", bench.device, precision), None, scale.clip_size, scale.clips).jf
        for precision in scale.precisions
    }


def launches(bench: Bench) -> Figures:
    """By the profiler: what the device is given in a memory period, and copies in either direction."""
    engine, images = begun(bench.network(), bench.scale.size, 1), endless(bench.scale.size)
    for _ in range(2 * engine.video_state.interval):
        engine.step(next(images))
    activities = [torch.profiler.ProfilerActivity.CPU]
    if bench.place.type == "cuda":
        activities.append(torch.profiler.ProfilerActivity.CUDA)
    frames = []
    for _ in range(engine.video_state.interval):
        with torch.profiler.profile(activities=activities) as profile:
            engine.step(next(images))
            synchronise(bench.place)
        frames.append(_events(profile, bench.place.type == "cuda"))
    return {"frames": frames}


def _events(profile: torch.profiler.profile, on_device: bool) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for event in profile.events() or ():
        if not on_device:
            counts["operators"] += event.name.startswith("aten::")
        elif event.device_type == torch.autograd.DeviceType.CUDA:
            kind = "copies up" if "HtoD" in event.name else "copies down" if "DtoH" in event.name else "launched"
            counts[kind] += 1
        elif event.name in ("cudaStreamSynchronize", "cudaDeviceSynchronize"):
            counts["waits"] += 1
    return dict(counts)


def ways(bench: Bench, objects: int) -> Figures:
    """The engine as it is, and each variant of it, in turns."""
    scale, model = bench.scale, bench.network()
    made: dict[str, Callable[[XMem], XMem]] = {"fused": fused.fused}
    if bench.place.type == "cuda":
        made |= {
            "graph": graphs.graphed,
            "graph of fused": lambda model: graphs.graphed(fused.fused(model)),
            "compile": compiled.compiled,
        }
    steps: dict[str, Callable[[], object]] = {}
    failed = {}
    for name, make in made.items():
        try:
            steps[name] = _stepping(make(model), scale.size, objects)
            steps[name]()
        except Exception as error:  # a variant that does not work is a finding
            steps.pop(name, None)
            failed[name] = f"{type(error).__name__}: {error}"[:500]
    steps = {"eager": _stepping(model, scale.size, objects), **steps}  # after copies of it were made
    found: Figures = dict(in_turns(steps, bench.place, scale.block, scale.rounds))
    for batch in (2, 4):
        found[f"keys in batches of {batch}"] = _in_batches(bench, model, objects, batch)
    return found | {"failed": failed}


def _stepping(model: XMem, size: int, objects: int) -> Callable[[], object]:
    engine, images = begun(model, size, objects), endless(size)
    return lambda: engine.step(next(images))


def _in_batches(bench: Bench, model: XMem, objects: int, batch: int) -> Figures:
    scale = bench.scale
    engine, images = begun(model, scale.size, objects), endless(scale.size)
    probabilities = ahead.run_in_batches(engine, images, {}, batch)
    found = in_turns({"it": lambda: next(probabilities)}, bench.place, batch * scale.block, scale.rounds)
    probabilities.close()
    return found["it"]


def first_frame(bench: Bench, tries: bool) -> Figures:
    """Seconds until the first masks, and memory at most, with cuDNN trying its algorithms or not."""
    model, place = bench.network(), bench.place
    torch.backends.cudnn.benchmark = tries
    start_memory_count(place)
    began = time.perf_counter()
    engine, images = begun(model, bench.scale.size, 1), endless(bench.scale.size)
    synchronise(bench.place)
    first = time.perf_counter() - began
    engine.step(next(images))
    synchronise(bench.place)
    both = time.perf_counter() - began
    step = in_turns({"it": lambda: engine.step(next(images))}, bench.place, bench.scale.block, bench.scale.rounds)["it"]
    return {"first_seconds": first, "second_seconds": both - first, "peak_bytes": peak_memory(bench.place), **step}


@torch.inference_mode()
def read(bench: Bench) -> Figures:
    """One read's distances and its nearest elements, as they are and otherwise."""
    scale, place, found = bench.scale, bench.place, {}
    generator = torch.Generator().manual_seed(0)

    def rows(count: int) -> torch.Tensor:
        return torch.randn(count, 64, generator=generator).to(place)

    for elements in scale.elements:
        key, shrinkage = rows(elements), rows(elements)[:, :1].abs() + 1
        query, memory = (
            prepare_query(rows(scale.queries), rows(scale.queries).sigmoid()),
            prepare_memory(key, shrinkage),
        )
        wide = reading.padded(query), reading.padded(memory)
        halves = reading.split(wide[0], True), reading.split(wide[1], False)
        distances, k = distance(query, memory), min(30, elements)
        found[str(elements)] = in_turns(
            {
                "product": partial(distance, query, memory),
                "product, padded": partial(reading.product, *wide),
                "product, split bfloat16": partial(reading.product, *halves),
                "top-k": partial(torch.topk, distances, k, 1, largest=False, sorted=False),
                "top-k by blocks": partial(reading.nearest_by_blocks, distances, k),
            },
            place,
            scale.block,
            scale.rounds,
        )
    return found


def page(bench: Bench) -> Figures:
    """From a file to a session's results: with a network that costs nothing, and with real ones."""
    found: Figures = {}
    with tempfile.TemporaryDirectory() as name:
        clip = _clip(Path(name), bench.scale.size, bench.scale.frames)
        models = {"costs nothing": None} | {n: network(n, bench.device, bench.precision) for n in bench.scale.networks}
        for number, (title, model) in enumerate(models.items()):
            found[title] = asdict(measure_page(clip, Path(name) / str(number), 1, model, bench.device))
    return found


def decoding(bench: Bench) -> Figures:
    """Frames per second that the GPU's own decoder gives, where PyAV has it."""
    with tempfile.TemporaryDirectory() as name:
        clip = _clip(Path(name), bench.scale.size, bench.scale.frames)
        began = time.perf_counter()
        try:
            count = sum(1 for _ in nvdec.frames(clip))
        except (InputError, OSError, ValueError) as error:
            return {"left out": str(error)}
        return {"fps": count / (time.perf_counter() - began)}


def flat(bench: Bench, frames: int) -> Figures:
    """Memory at most after a tenth of the frames, and after all."""
    engine, images = begun(bench.network(), bench.scale.size, 1), endless(bench.scale.size)
    early = 0
    for number in range(frames):
        engine.step(next(images))
        if number == frames // 10:
            early = peak_memory(bench.place) or 0
    latest = peak_memory(bench.place) or 0
    return {"early_bytes": early, "latest_bytes": latest, "growth": latest / early - 1 if early else None}


def row(bench: Bench, name: str, size: int, objects: int) -> Figures:
    """A row of the benchmark, from file to file and network and memory alone: for its picture."""
    case = Case(name, size, objects, bench.scale.row_frames, bench.precision, long_term=True)
    with tempfile.TemporaryDirectory() as folder:
        clip = _clip(Path(folder), size, case.frames)
        return measure(case, clip, Path(folder) / "results", bench.device).as_json()


def _clip(folder: Path, size: int, frames: int) -> Path:
    return looped_clip(folder / "clip.mp4", scaled_clip(folder / "scaled.mp4", size), frames)


def all_parts(scale: Scale) -> dict[str, Callable[[Bench], Figures]]:
    """By name, in their order: what tells most comes first."""
    parts: dict[str, Callable[[Bench], Figures]] = {"machine": machine, "tests": tests}
    for count in scale.objects:
        parts[f"ways-{count}"] = partial(ways, objects=count)
    parts |= {"launches": launches, "page": page, "scores": scores, "read": read}
    parts |= {
        "first-frame": partial(first_frame, tries=False),
        "first-frame-tried": partial(first_frame, tries=True),
    }
    for number, wanted in enumerate(scale.rows):
        parts[f"row-{number}"] = partial(row, name=wanted[0], size=wanted[1], objects=wanted[2])
    for frames in scale.flat:
        parts[f"flat-{frames}"] = partial(flat, frames=frames)
    return parts | {"decoding": decoding}
