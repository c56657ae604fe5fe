"""Going through the cases: a child process and a clip for each, and every row kept at once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from xmem.benchmark import arithmetic, networks
from xmem.benchmark.cases import Case
from xmem.benchmark.clips import looped_clip, scaled_clip
from xmem.benchmark.results import Report, Row
from xmem.errors import InputError
from xmem.networks.xmem import ModelSizes

PROJECT = Path(__file__).resolve().parents[2]
WORKER = "xmem.benchmark.worker"
ROW_SECONDS = 8.0  # to start a process, to load a network, to warm up and to make a clip
USED_OF_PEAK = {"cpu": 0.6, "cuda": 0.15, "mps": 0.15}  # by the networks, as a rough guess
PIXEL_SECONDS = {"cpu": 1.2e-7, "cuda": 1.5e-8, "mps": 3e-8}  # of a frame beside convolutions, per pixel and pass
PASS_FRAMES = 30  # of the pass by stages


def describe_machine(device: str) -> dict:
    """`machine.describe` in a process of its own: this one takes no memory of a GPU. Raises InputError."""
    (machine,) = (value for kind, value in _say_of({"describe": device}) if kind == "machine")
    return machine


def run_cases(report: Report, cases: Sequence[Case], device: str, on_frames: Callable[[Case, int], object]) -> None:
    """Measure each case and keep its row in `report`, in the file at once. Clips are deleted at the end.

    on_frames: called as frames are done, with their count. Raises InputError where a case cannot be measured at all.
    """
    with tempfile.TemporaryDirectory(prefix="xmem-benchmark-") as name:
        for case in cases:
            clip = _clip(Path(name), case)
            report.add(_measured(case, clip, Path(name), device, report.machine, on_frames))
            clip.unlink()


def _clip(folder: Path, case: Case) -> Path:
    scaled = folder / f"{case.size}.mp4"
    if not scaled.exists():
        scaled_clip(scaled, case.size)
    return looped_clip(folder / "clip.mp4", scaled, case.frames)


def _measured(
    case: Case, clip: Path, folder: Path, device: str, machine: Mapping, on_frames: Callable[[Case, int], object]
) -> Row:
    row: Row | None = None
    with tempfile.TemporaryDirectory(dir=folder) as results:
        orders = {"case": asdict(case), "clip": str(clip), "folder": results, "device": device}
        for kind, value in _say_of(orders):
            if kind == "progress":
                on_frames(case, value)
            elif kind == "row":
                row = Row.of_json(value)
            elif kind == "failed":
                row = Row(case, error=value)
    assert row is not None  # a worker says its row, or why it died
    return replace(row, peak_gflops=max(machine["peaks"][case.precision].values()))


def _say_of(orders: dict) -> Iterator[tuple[str, Any]]:
    """What a worker says: (kind, value) per line; at its end ("failed", why) where it died. Raises what it refuses.

    Closing the iterator, or an interrupt, ends the worker.
    """
    paths = [str(PROJECT), *filter(None, [os.environ.get("PYTHONPATH")])]
    with tempfile.TemporaryFile("w+") as errors:
        worker = subprocess.Popen(
            [sys.executable, "-m", WORKER, json.dumps(orders)],
            env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
        try:
            for line in worker.stdout or ():
                (pair,) = json.loads(line).items()
                if pair[0] == "refused":
                    raise InputError(pair[1])
                yield pair
            if status := worker.wait():
                errors.seek(0)
                yield "failed", _reason(status, errors.read())
        finally:
            _end(worker)


def _reason(status: int, errors: str) -> str:
    """One line of why a worker died."""
    if status < 0:
        return f"killed by signal {-status}" + (" (out of memory?)" if status == -9 else "")
    lines = errors.strip().splitlines()
    return lines[-1] if lines else f"exit status {status}"


def _end(worker: subprocess.Popen) -> None:
    if worker.stdout is not None:
        worker.stdout.close()
    if worker.poll() is None:
        worker.terminate()
        with suppress(subprocess.TimeoutExpired):
            worker.wait(5)
        worker.kill()
    worker.wait()


def frames_of(case: Case) -> int:
    """Frames that a case computes in all its passes, about."""
    few = {"stages": PASS_FRAMES, "sampled": 20}
    return sum(few.get(part, case.frames) for part in case.passes)


def guess_seconds(cases: Sequence[Case], machine: Mapping) -> dict[Case, float]:
    """About how long each case will take, from the measured peak: right to a factor of two or so."""
    sizes = {name: networks.sizes_of(name) for name in {case.model for case in cases}}
    return {case: _guess(case, sizes[case.model], machine) for case in cases}


def _guess(case: Case, sizes: ModelSizes, machine: Mapping) -> float:
    height, width = case.size, 2 * round(case.size * 8 / 9)
    kind, peak = machine["device_type"], max(machine["peaks"][case.precision].values())
    queries = height * width / 256
    elements = queries * (10 if case.long_term else case.frames / 10)
    gflop = arithmetic.frame_gflop(sizes, height, width, case.objects, mem_every=5)
    gflop += arithmetic.reading_gflop(sizes, round(queries), elements, case.objects, top_k=30)
    frame = gflop / (USED_OF_PEAK[kind] * peak) + PIXEL_SECONDS[kind] * height * width * (1 + case.objects / 2)
    return ROW_SECONDS + frames_of(case) * frame
