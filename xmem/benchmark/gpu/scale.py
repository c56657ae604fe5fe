"""How much is measured: all of it on a GPU, or hardly anything, to see on a CPU that it runs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Scale:
    """network: whose parts are compared; networks: that go from file to file. size: shorter side, pixels; objects:
    numbers of them; block, rounds: frames of a block, and blocks of each way. precisions: of the scores. clips,
    clip_size: held-back clips and the size to score them at. elements: of memories that are read; queries: of a frame.
    flat: frames over which memory must stay; frames: from file to file and on the page. rows: (network, size, objects)
    of the picture, each over `row_frames`."""

    network: str
    networks: tuple[str, ...]
    size: int
    objects: tuple[int, ...]
    block: int
    rounds: int
    precisions: tuple[str, ...]
    clips: tuple[str, ...]
    clip_size: int
    elements: tuple[int, ...]
    queries: int
    flat: tuple[int, ...]
    frames: int
    row_frames: int
    rows: tuple[tuple[str, int, int], ...]


FULL = Scale(
    network="XMem",
    networks=("XMem", "xmem-lite"),
    size=480,
    objects=(1, 3),
    block=25,
    rounds=8,
    precisions=("float16", "bfloat16", "float32"),
    clips=("flamingo", "car-turn", "dance-jump", "mallard-fly", "scooter-gray"),
    clip_size=384,
    elements=(1_620, 16_200, 26_200),
    queries=1_620,
    flat=(2_000, 10_000),
    frames=600,
    row_frames=300,
    rows=(
        ("XMem", 480, 1),
        ("XMem", 240, 1),
        ("XMem", 1080, 1),
        ("XMem", 480, 3),
        ("XMem", 480, 10),
        ("XMem", 1080, 5),
    ),
)
TINY = Scale(
    network="xmem-lite",
    networks=("xmem-lite",),
    size=48,
    objects=(1, 2),
    block=2,
    rounds=1,
    precisions=("float32",),
    clips=(),
    clip_size=48,
    elements=(64, 200),
    queries=20,
    flat=(12,),
    frames=24,
    row_frames=8,
    rows=(("xmem-lite", 48, 1), ("xmem-lite", 64, 1)),
)
SCALES = {"full": FULL, "tiny": TINY}
