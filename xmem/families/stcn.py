"""STCN: an unlimited memory of frames, read by plain L2 similarity (Cheng, Tai and Tang, NeurIPS 2021)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from xmem.config import MemoryConfig
from xmem.errors import InputError
from xmem.families.base import (
    KEPT_FRAMES,
    Family,
    Finish,
    Given,
    Grid,
    Outlook,
    Setting,
    Turn,
    VideoState,
    kept_frames,
    renamed,
)
from xmem.families.overriding import merge_given
from xmem.memory import Memory, MemoryUse
from xmem.networks.stcn import KEY_CHANNELS, STCN, VALUE_CHANNELS, ImagePart, load_state
from xmem.networks.xmem import soft_aggregate
from xmem.pieces import Pieces

MODES = ("davis", "yv")  # the released scripts; masks on frame 0 only, both do the same, otherwise the second is right


@dataclass(frozen=True)
class STCNConfig:
    """How much is remembered, and when; defaults are the released ones.

    mem_every: r, frames between memory frames.
    top_k: memory elements that each query position reads.
    include_last: whether the frame before is read in any case, a memory frame or not.
    max_memory_frames: memory frames that are kept, None = all, as released: memory then grows by HW elements of
        68 + 512 O numbers every r frames. Of more, those in the middle are dropped: the first one, those with a given
        mask and the latest stay.

    Raises InputError for a combination that cannot work.
    """

    mem_every: int = 5
    top_k: int = 20
    include_last: bool = False
    max_memory_frames: int | None = None

    def __post_init__(self) -> None:
        for name in ("mem_every", "top_k"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, not {getattr(self, name)}.")
        if self.max_memory_frames is not None and self.max_memory_frames < 2:
            raise InputError(
                f"max_memory_frames must be at least 2, the first frame and the latest, not {self.max_memory_frames}."
            )


class Seen(NamedTuple):
    """A frame as the networks take it, what the key encoder makes of it, and the decoder's part of it where it was made
    ahead."""

    image: Tensor
    key: Tensor
    features: tuple[Tensor, Tensor, Tensor]
    image_part: ImagePart | None


class STCNState(VideoState):
    """The memory of one video, and when it is written to.

    As released, but: a mask may be given for an object that is known; late objects share the keys and affinities of
    all; the softmax does not overflow, and there may be fewer elements than top_k. Released probabilities of objects
    that have not arrived take part in the aggregation, at 1e-7 of the odds; here they do not.
    """

    model: STCN
    config: STCNConfig

    def __init__(self, model: STCN, config: STCNConfig):
        super().__init__(model, config)
        limits = MemoryConfig(mem_every=config.mem_every, top_k=config.top_k, long_term=False)
        self.memory = Memory(limits, config.max_memory_frames)
        self._last_memory: int | None = None  # the last memory frame

    def encode(self, image: Tensor, ahead: bool = False) -> Seen:
        key, features = self.model.encode_key(image)
        return Seen(image, key, features, self.model.image_part(features) if ahead else None)

    def step(self, seen: Seen, given: Given | None, turn: Turn, pieces: Pieces, finish: Finish) -> Tensor:
        passed = self.config.mem_every if self._last_memory is None else turn.index - self._last_memory
        is_kept = given is not None or (turn.remember and passed >= self.config.mem_every)
        is_memory = not turn.last and (is_kept or (turn.remember and self.config.include_last))

        prob, arrived = self._predicted(seen, given, turn.read, pieces), self.arrived
        if given:
            prob, arrived = _overridden(prob, given, arrived)
        assert prob is not None  # there are objects, known ones or given ones
        if is_memory:
            values = self._values(seen, prob, pieces)
        finished = finish(prob, arrived)
        if is_memory:  # all, or nothing where memory is full
            self.memory.append(seen.key, None, None, values, temporary=not is_kept, given=given is not None)
            self._last_memory = turn.index if is_kept else self._last_memory
        self.arrived = arrived
        return finished

    def remember(self, seen: Seen, given: Given, pieces: Pieces) -> None:
        """In permanent memory. Known objects for which the mask does not speak are predicted from the key frames
        remembered before."""
        prob, arrived = _overridden(self._predicted(seen, given, lambda: None, pieces), given, self.arrived)
        values = self._values(seen, prob, pieces)
        self.memory.append(seen.key, None, None, values, permanent=True)
        self.arrived = arrived

    def use(self) -> MemoryUse:
        return self.memory.use()

    def outlook(self, frames: int, per_frame: int) -> Outlook:
        return kept_frames(frames, self.config.mem_every, self.config.max_memory_frames, per_frame)

    def fill(self, elements: int) -> None:
        key = torch.rand((1, KEY_CHANNELS, 1, elements), device=self.model.device)
        shape = (1, len(self.arrived), VALUE_CHANNELS, 1, elements)
        values = torch.zeros(shape, device=self.model.device, dtype=self.model.dtype)
        self.memory.append(key, None, None, values, permanent=True)

    def halved(self, distances: int | None) -> int | None:
        return self.memory.halved(distances, self.model.device)

    def save(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        tensors, values = self.memory.save()
        return tensors, {"memory": values, "arrived": self.arrived, "last_memory": self._last_memory}

    def load(self, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
        self.memory.load(tensors, values["memory"])
        self.arrived = [int(i) for i in values["arrived"]]
        self._last_memory = values["last_memory"]

    def _predicted(self, seen: Seen, given: Given | None, read: Callable[[], object], pieces: Pieces) -> Tensor | None:
        """Probabilities [1, O + 1, H', W'] of the known objects; None where the mask speaks for all of them."""
        is_read = any(given is None or i not in given.ids for i in self.arrived)
        readout = self.memory.read(seen.key, None, pieces)[0] if is_read else None
        read()
        if readout is None:
            return None
        image_part = seen.image_part or self.model.image_part(seen.features)
        logits = self.model.decode(image_part, readout, pieces)
        return soft_aggregate(torch.sigmoid(logits.float()))

    def _values(self, seen: Seen, prob: Tensor, pieces: Pieces) -> Tensor:
        return self.model.encode_value(seen.image, seen.features[0], prob[:, 1:].to(seen.image.dtype), pieces)


def _overridden(prob: Tensor | None, given: Given, arrived: list[int]) -> tuple[Tensor, list[int]]:
    merged, arrived = merge_given(prob, given, arrived)
    return soft_aggregate(merged), arrived


def released(mode: str = "yv", **settings: Any) -> STCNConfig:
    """Settings by the released names. mode: "davis" or "yv", the released script: both are one here, which does as the
    first where all masks are given on the first frame. Raises InputError for others."""
    if mode not in MODES:
        raise InputError(f"STCN has no mode '{mode}': choose one of {', '.join(MODES)}.")
    return STCNConfig(**renamed(settings, {name: name for name in ("mem_every", "top_k", "include_last")}, "STCN"))


STCN_FAMILY = Family(
    name="stcn",
    title="STCN",
    network=STCN,
    config=STCNConfig,
    released=released,
    recognises=lambda state: "key_comp.weight" in state,
    build=load_state,
    open=STCNState,
    untrained=STCN,
    grid=Grid(hard_masks=True),
    good_at="one pass over a short clip: plain and strong, and every memory frame is read",
    settings=(
        Setting("mem_every", "Remember every r-th frame (r)", 1, 30),
        Setting("top_k", "Memories read per position (k)", 1, 100),
        KEPT_FRAMES,
        Setting("include_last", "Always read the frame before", note="follows quick changes, and errors as well"),
    ),
    limit="a limit of the frames kept in memory ends that",
)
