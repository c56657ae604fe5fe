"""What was measured, and how it is kept: one JSON file, whole after every row."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from xmem.benchmark.cases import Case
from xmem.errors import InputError

FILE_NAME = "benchmark.json"
VERSION = 1
GROUPS = {  # the five shares, as the pipeline has its stages, and the timed parts that each is made of
    "decode": ("decode",),
    "network": ("key", "value", "decoder", "other"),
    "memory": ("read", "append", "consolidate"),
    "render": ("index", "tint", "png"),
    "encode": ("h264",),
}
PARTS = tuple(part for parts in GROUPS.values() for part in parts)


@dataclass(frozen=True)
class Sample:
    """After `frame` frames: elements in the memories and their bytes (None where the engine is out of sight), and bytes
    of the process: resident then, or most allocated on a GPU so far (None where the system does not tell)."""

    frame: int
    elements: int | None
    element_bytes: int | None
    process_bytes: int | None


@dataclass(frozen=True)
class Pass:
    """frames measured in `seconds`; median_fps: by the median block of frames (None: not in blocks).
    course: samples over the whole clip, with what came before the measuring."""

    frames: int
    seconds: float
    median_fps: float | None
    course: tuple[Sample, ...] = ()

    @property
    def fps(self) -> float:
        """Frames per second: by the median block, where there are blocks; 0 where the pass came to nothing."""
        return self.median_fps or (self.frames / self.seconds if self.seconds else 0.0)


@dataclass(frozen=True)
class Row:
    """One case, measured. weights: "released", "embedded", "own file" or "random".

    whole, engine: the passes, None where not run. stages: seconds per frame by part (PARTS).
    Of the process, resident or allocated on a GPU: start_bytes, libraries loaded but no network; peak_bytes, from its
    start to the end of the first pass; growth_bytes after warm-up. gflop: per frame, multiplications and additions
    counted apart, by direct convolution; peak_gflops: the machine's measured best per second in this precision.
    error: why it stopped early, or None.
    """

    case: Case
    weights: str = ""
    whole: Pass | None = None
    engine: Pass | None = None
    stages: dict[str, float] = field(default_factory=dict)
    start_bytes: int | None = None
    peak_bytes: int | None = None
    growth_bytes: int | None = None
    gflop: float | None = None
    peak_gflops: float | None = None
    error: str | None = None

    @property
    def is_sampled(self) -> bool:
        """Whether a few frames late in a clip stand for the whole."""
        return "sampled" in self.case.passes and self.engine is not None

    @property
    def shares(self) -> dict[str, float]:
        """Of the time of one frame, by GROUPS; they sum to one. Empty where stages were not timed."""
        total = sum(self.stages.values())
        if not total:
            return {}
        return {group: sum(self.stages.get(part, 0.0) for part in parts) / total for group, parts in GROUPS.items()}

    @property
    def of_peak(self) -> float | None:
        """Arithmetic of direct convolution done per second, over the machine's best. Above one, multiplications were
        saved."""
        if self.engine is None or self.gflop is None or self.peak_gflops is None:
            return None
        return self.gflop * self.engine.fps / self.peak_gflops

    @property
    def over_slowest(self) -> float | None:
        """Time of a frame from file to file over that of the slowest of decode, network with memory, render and encode,
        each timed alone: one, where all others hide behind it. The network with memory is timed as it runs in a whole
        run where the second pass did, which is faster than stage by stage where frames are encoded ahead."""
        if self.whole is None or not self.stages:
            return None
        seconds = {group: sum(self.stages.get(part, 0.0) for part in parts) for group, parts in GROUPS.items()}
        network = seconds.pop("network") + seconds.pop("memory")
        seconds["network"] = 1 / self.engine.fps if self.engine and self.engine.fps else network
        return 1 / (self.whole.fps * max(seconds.values()))

    def as_json(self) -> dict:
        """What `of_json` reads, with what follows from it."""
        speeds = {"engine_fps": self.engine, "whole_fps": self.whole}
        derived: dict[str, Any] = {name: part.fps for name, part in speeds.items() if part}
        derived |= {"shares": self.shares, "of_peak": self.of_peak, "over_slowest": self.over_slowest}
        return asdict(self) | {"derived": derived}

    @staticmethod
    def of_json(data: dict) -> Row:
        fields = {name: value for name, value in data.items() if name != "derived"}
        fields["case"] = Case(**data["case"] | {"passes": tuple(data["case"]["passes"])})
        for name in ("whole", "engine"):
            if part := fields.get(name):
                fields[name] = Pass(**part | {"course": tuple(Sample(**sample) for sample in part["course"])})
        return Row(**fields)


@dataclass
class Report:
    """Rows of one machine, kept in a file. machine: what `machine.describe` says, with the peaks."""

    path: Path
    machine: dict
    rows: list[Row] = field(default_factory=list)

    def find(self, case: Case) -> Row | None:
        """The row of a case, if it was measured to its end."""
        return next((row for row in self.rows if row.case == case and row.error is None), None)

    def add(self, row: Row) -> None:
        """Keep a row, in place of an earlier one of the same case, in the file at once."""
        self.rows = [other for other in self.rows if other.case != row.case] + [row]
        self.save()

    def save(self) -> None:
        """Write the file; a process that is killed meanwhile leaves the one before."""
        data = {"version": VERSION, "machine": self.machine, "rows": [row.as_json() for row in self.rows]}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        part = self.path.with_name(self.path.name + ".part")
        part.write_text(json.dumps(data, indent=1) + "\n")
        os.replace(part, self.path)

    @staticmethod
    def load(path: Path) -> Report:
        """Raises InputError for a file that is no report of this version."""
        try:
            data = json.loads(path.read_text())
            if data["version"] != VERSION:
                raise ValueError("another version")
            return Report(path, data["machine"], [Row.of_json(row) for row in data["rows"]])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path} cannot be read as a benchmark ({error}): choose another --output.") from error
