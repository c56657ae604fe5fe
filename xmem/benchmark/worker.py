"""The process of one row: reads its orders from the command line, says its progress and result as lines of JSON.

A process of its own, so that no row's memory, caches or threads are another's.
"""

from __future__ import annotations

import json
import logging
import sys
from dataclasses import replace
from pathlib import Path

import torch

from xmem.benchmark import arithmetic, machine, networks
from xmem.benchmark.cases import Case
from xmem.benchmark.machine import process_bytes
from xmem.benchmark.passes import Bench, run_engine, run_sampled, run_stages, run_whole
from xmem.benchmark.results import Pass, Row, Sample
from xmem.device import is_out_of_memory, peak_memory, select_device
from xmem.engine.propagator import Propagator
from xmem.errors import InputError
from xmem.networks.xmem import ModelSizes, XMem
from xmem.video import first_frame


def main(orders: dict) -> int:
    """Do what is ordered: {"describe": device}, or {"case": ..., "clip": ..., "folder": ..., "device": ...}."""
    logging.getLogger("xmem").setLevel(logging.ERROR)  # what is chosen, the table says
    try:
        if "describe" in orders:
            _say("machine", machine.describe(orders["describe"]))
        else:
            case = Case(**orders["case"] | {"passes": tuple(orders["case"]["passes"])})
            row = measure(case, Path(orders["clip"]), Path(orders["folder"]), orders["device"])
            _say("row", row.as_json())
    except InputError as error:
        _say("refused", str(error))
        return 1
    return 0


def measure(case: Case, clip: Path, folder: Path, device: str) -> Row:
    """Run the passes of a case. A failure for want of memory ends the row, with what was measured before.

    clip: a file of the case's size and frames. folder: for results; not deleted here.
    """
    start = process_bytes(select_device(device))
    model, weights = networks.load(case.model, device, case.precision)
    bench = Bench(case, clip, folder, model, lambda frames: _say("progress", frames))
    row, course = Row(case, weights, start_bytes=start), list[Sample]()
    try:
        if "sampled" in case.passes:
            row = replace(row, engine=run_sampled(bench))
        if "whole" in case.passes:
            row = _with_memory(row, *run_whole(bench), model.device)
        engine = Propagator(model, bench.config)
        if "engine" in case.passes:
            timed = run_engine(bench, engine, course)
            row = replace(row, engine=timed)
            if isinstance(model, XMem):
                row = replace(row, gflop=_gflop(bench, model.sizes, timed))
        if "stages" in case.passes and isinstance(model, XMem):  # others have other stages
            row = replace(row, stages=run_stages(bench, engine))
    except (InputError, MemoryError, RuntimeError) as error:
        row = replace(row, error=_reason(error))
        if row.engine is None and course:
            reached = f"{row.error} after {course[-1].frame:,} frames"
            row = replace(row, error=reached, engine=Pass(0, 0.0, None, tuple(course)))
    peak = row.peak_bytes or peak_memory(model.device)
    return replace(row, peak_bytes=peak and max(peak, start or 0))  # Linux counts both in batches, a little off


def _reason(error: Exception) -> str:
    """Why a row ends early: the engine's own sentence, or a full memory. Raises what is neither."""
    if isinstance(error, InputError):
        return str(error)
    if isinstance(error, MemoryError) or is_out_of_memory(error):
        return "out of memory"
    raise error


def _with_memory(row: Row, whole: Pass, before: int | None, device: torch.device) -> Row:
    highest = max((sample.process_bytes or 0 for sample in whole.course), default=0)
    growth = None if before is None else highest - before
    return replace(row, whole=whole, peak_bytes=peak_memory(device), growth_bytes=growth)


def _gflop(bench: Bench, sizes: ModelSizes, engine: Pass) -> float:
    """Giga-operations of an average frame of this clip, network and reading."""
    case, config = bench.case, bench.config
    height, width = first_frame(bench.clip).shape[:2]
    queries = -(-height // 16) * -(-width // 16)
    elements = _mean_elements(engine.course)
    network = arithmetic.frame_gflop(sizes, height, width, case.objects, bench.period)
    return network + arithmetic.reading_gflop(sizes, queries, elements, case.objects, config.top_k)


def _mean_elements(course: tuple[Sample, ...]) -> float:
    return sum(sample.elements or 0 for sample in course) / len(course)


def _say(kind: str, value: object) -> None:
    print(json.dumps({kind: value}), flush=True)


if __name__ == "__main__":
    sys.exit(main(json.loads(sys.argv[1])))
