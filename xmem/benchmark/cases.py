"""What is measured: cases, and the sweeps that they come from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from xmem.checkpoints import EMBEDDED, REGISTRY
from xmem.errors import InputError

RELEASED = "XMem"
PASSES = ("whole", "engine", "stages")  # and, in their place, "sampled"
SMALLEST = 16  # pixels: one stride-16 position
MOST_OBJECTS = 64


@dataclass(frozen=True)
class Case:
    """One row: a network on a looped clip, measured in a process of its own.

    model: a checkpoint's name or path. size: shorter side in pixels, of the video and of the network alike.
    objects, frames: followed, and in the clip. precision: float32, float16 or bfloat16. long_term: memory.
    passes: which of PASSES are run: file to file; network and memory alone; and a few frames stage by stage. Or
        "sampled": a few frames with memory as full as it is after `frames`, of whichever family the network is.
    """

    model: str
    size: int
    objects: int
    frames: int
    precision: str
    long_term: bool
    passes: tuple[str, ...] = PASSES

    def label(self) -> str:
        """A few words for a progress bar."""
        objects = f"{self.objects} object{'s' * (self.objects != 1)}"
        memory = "" if self.long_term else ", no long-term memory"
        return f"{self.model}, {self.size} pixels, {objects}, {self.frames:,} frames, {self.precision}{memory}"


@dataclass(frozen=True)
class Sweep:
    """Values along each axis. The first of each is the base point; one axis at a time is varied around it, for each
    model, since the full product would take days and say little more. Raises InputError for values that cannot work."""

    models: tuple[str, ...] = (EMBEDDED,)
    sizes: tuple[int, ...] = (480,)
    objects: tuple[int, ...] = (1,)
    frames: tuple[int, ...] = (100,)
    precisions: tuple[str, ...] = ("auto",)
    long_term: tuple[bool, ...] = (True,)
    passes: tuple[str, ...] = PASSES

    def __post_init__(self) -> None:
        if small := [size for size in self.sizes if size < SMALLEST or size % 2]:
            raise InputError(
                f"A size of {small[0]} pixels cannot be measured: choose an even one of at least {SMALLEST}."
            )
        if wrong := [count for count in self.objects if not 1 <= count <= MOST_OBJECTS]:
            raise InputError(f"{wrong[0]} objects cannot be measured: choose from 1 to {MOST_OBJECTS}.")
        if short := [count for count in self.frames if count < 2]:
            raise InputError(f"A clip of {short[0]} frames cannot be measured: choose at least 2, better 40.")

    def cases(self) -> Iterator[Case]:
        """The base point of each model, and then the other values of each axis."""
        for model in self.models:
            base = Case(
                model,
                self.sizes[0],
                self.objects[0],
                self.frames[0],
                self.precisions[0],
                self.long_term[0],
                self.passes,
            )
            yield base
            axes: dict[str, tuple[Any, ...]] = {
                "size": self.sizes,
                "objects": self.objects,
                "frames": self.frames,
                "precision": self.precisions,
                "long_term": self.long_term,
            }
            for axis, values in axes.items():
                yield from (replace(base, **{axis: value}) for value in values[1:])


# Of each family the first that is fetched.
FAMILY_MODELS = tuple({record.family: name for name, record in reversed(REGISTRY.items()) if record.url}.values())[::-1]
LENGTHS = Sweep(sizes=(144,), frames=(1000,), long_term=(True, False), passes=("engine",))
AXES: dict[str, Any] = {"sizes": (480, 240, 720, 1080), "objects": (1, 3, 10), "precisions": ("auto", "float32")}
PRESETS: dict[str, tuple[Sweep, ...]] = {
    "quick": (
        Sweep(**AXES, frames=(30,)),
        Sweep(models=(RELEASED,), frames=(20,)),
        LENGTHS,
    ),
    "full": (
        Sweep(**AXES, frames=(100,)),
        Sweep(models=(RELEASED,), **AXES, frames=(30,)),
        Sweep(sizes=(240,), frames=(100, 1000, 10_000)),
        replace(LENGTHS, sizes=(240,), frames=(2000,)),
    ),
    "gpu": (
        Sweep(
            models=(RELEASED,),
            **AXES | {"precisions": ("auto", "float32", "float16", "bfloat16")},
            frames=(1000, 100, 10_000),
        ),
        Sweep(**AXES, frames=(1000,)),
        Sweep(models=(RELEASED,), sizes=(1080,), objects=(5,), frames=(300,)),
        Sweep(models=(RELEASED,), frames=(10_000,), long_term=(True, False), passes=("engine",)),
    ),
    "families": (
        Sweep(
            models=FAMILY_MODELS,
            sizes=(240,),
            frames=(100, 300, 1000, 3000),
            precisions=("float32",),
            passes=("sampled",),
        ),
    ),
    "flat": (Sweep(sizes=(120,), frames=(10_000,), passes=("whole",)),),
}


def plan(sweeps: Sequence[Sweep], auto: str, usable: Sequence[str]) -> list[Case]:
    """The cases of all sweeps, each once, in their order.

    auto: the precision that "auto" stands for here; usable: those that the device computes in; others are left out.
    """
    cases: dict[Case, None] = {}
    for case in (case for sweep in sweeps for case in sweep.cases()):
        precision = auto if case.precision == "auto" else case.precision
        if precision in usable:
            cases[replace(case, precision=precision)] = None
    return list(cases)


def check_model(name: str) -> None:
    """Raise InputError for what is neither a registered checkpoint nor a file."""
    if name not in REGISTRY and not Path(name).expanduser().is_file():
        raise InputError(
            f"There is no checkpoint '{name}': choose one of {', '.join(REGISTRY)}, or the path of a file."
        )
