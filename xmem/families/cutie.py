"""Cutie: pixel memory in buckets, object memory and sensory memory (Cheng et al., CVPR 2024, section 3)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from xmem.errors import InputError
from xmem.families.base import (
    Family,
    Finish,
    Given,
    Grid,
    Outlook,
    Setting,
    Turn,
    VideoState,
    consolidated,
    kept_frames,
    renamed,
)
from xmem.families.overriding import merge_given
from xmem.memory import MemoryUse
from xmem.memory.buckets import BucketConfig, BucketMemory
from xmem.networks.cutie import Cutie, CutieSizes, Features, load_state
from xmem.networks.xmem import aggregate, soft_aggregate
from xmem.pieces import Pieces

# The released names of settings, and those of the field; those of long-term memory stand in a mapping of their own.
RELEASED_NAMES = {
    "mem_every": "mem_every",
    "stagger_updates": "stagger_updates",
    "top_k": "top_k",
    "use_long_term": "long_term",
    "max_mem_frames": "max_queue_frames",
}
RELEASED_LONG_TERM = {
    "min_mem_frames": "min_working_frames",
    "max_mem_frames": "max_working_frames",
    "num_prototypes": "prototypes",
    "max_num_tokens": "max_long_term",
    "buffer_tokens": "long_term_buffer",
}


@dataclass(frozen=True)
class CutieConfig:
    """How much is remembered, and when; limits are those of each bucket (objects that arrived on the same frame).

    mem_every: r, frames between memory frames.
    stagger_updates: of the frames from one memory frame to the next, how many update the sensory memory; evenly
        spread, all of them where there are no more.
    top_k: memory elements that each query position reads.
    max_queue_frames: without long-term memory, memory frames held: the first one, and of the others the latest.
    long_term: whether old frames are consolidated, as in XMem, and not forgotten; what follows is for that case.
    min_working_frames: T_min, memory frames that stay at a consolidation (the first one and the latest T_min - 1).
    max_working_frames: T_max, memory frames at which a consolidation happens.
    prototypes: P, elements that a consolidation adds to long-term memory.
    max_long_term: LT_max, elements that long-term memory may hold.
    long_term_buffer: where long-term memory is cut, room that is left beyond that for the prototypes.

    Raises InputError for a combination that cannot work.
    """

    mem_every: int = 5
    stagger_updates: int = 5
    top_k: int = 30
    max_queue_frames: int = 5
    long_term: bool = False
    min_working_frames: int = 5
    max_working_frames: int = 10
    prototypes: int = 128
    max_long_term: int = 10_000
    long_term_buffer: int = 2_000

    def __post_init__(self) -> None:
        counts = ("mem_every", "stagger_updates", "top_k", "max_queue_frames", "min_working_frames", "prototypes")
        for name in counts:
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, not {getattr(self, name)}.")
        if self.max_working_frames <= self.min_working_frames:
            raise InputError(
                f"max_working_frames ({self.max_working_frames}) must be larger than "
                f"min_working_frames ({self.min_working_frames}), so that a consolidation frees something."
            )
        if self.long_term_buffer < 0 or self.max_long_term < self.prototypes + self.long_term_buffer:
            raise InputError(
                f"max_long_term ({self.max_long_term}) must be at least prototypes ({self.prototypes}) and "
                f"long_term_buffer ({self.long_term_buffer}), which is not negative, together: that much is made free."
            )

    @property
    def sensory_beats(self) -> frozenset[int]:
        """Frames since the last memory frame on which the decoder updates the sensory memory."""
        if self.stagger_updates >= self.mem_every:
            return frozenset(range(1, self.mem_every + 1))
        beats = np.linspace(1, self.mem_every, self.stagger_updates)
        return frozenset(np.round(beats).astype(int).tolist())  # halves to the even neighbour

    @property
    def bucket(self) -> BucketConfig:
        """The limits of a bucket, in which the first frame is permanent and not counted."""
        return BucketConfig(
            top_k=self.top_k,
            max_working_frames=(self.max_working_frames if self.long_term else self.max_queue_frames) - 1,
            min_working_frames=self.min_working_frames - 1,
            long_term=self.long_term,
            prototypes=self.prototypes,
            max_long_term=self.max_long_term,
            buffer=self.long_term_buffer,
        )


class Seen(NamedTuple):
    """A frame as the networks take it, and what the image encoder makes of it."""

    image: Tensor
    key: Tensor
    shrinkage: Tensor
    selection: Tensor
    features: Features


class Objects(NamedTuple):
    """What is held of each object besides pixel memory, in order of arrival."""

    sensory: Tensor  # [1, O, C, h, w]
    summaries: Tensor  # running sums, float32 [1, O, Q, C + 1]
    last_masks: Tensor  # the last frame's probabilities, averaged: float32 [1, O, h, w]


class CutieState(VideoState):
    """The memories of one video, and when they are written to.

    As released, but: a mask may speak for some of the objects, others are predicted; each object has its own channel,
    whatever its id; the softmax over memory elements does not overflow, and there may be fewer of them than top_k.
    Pixel fusion and object transformer are not divided into smaller pieces: a bucket's objects know of each other.
    """

    model: Cutie
    config: CutieConfig

    def __init__(self, model: Cutie, config: CutieConfig):
        super().__init__(model, config)
        self.memory = BucketMemory(config.bucket)
        self._objects: Objects | None = None
        self._last_memory: int | None = None  # the last memory frame

    def encode(self, image: Tensor, ahead: bool = False) -> Seen:
        return Seen(image, *self.model.encode_image(image))

    def step(self, seen: Seen, given: Given | None, turn: Turn, pieces: Pieces, finish: Finish) -> Tensor:
        every = self.config.mem_every
        passed = every if self._last_memory is None else min(turn.index - self._last_memory, every)
        is_memory = not turn.last and (given is not None or (turn.remember and passed == every))

        prob: Tensor | None = None
        objects, uses, arrived = self._objects, None, self.arrived
        # a mask for all that are known, and nobody else, leaves nothing to predict
        if arrived and (given is None or {*given.ids} != {*arrived}):
            readouts, uses = self.memory.read(seen.key, seen.selection, pieces)
            turn.read()
            update = not turn.last and passed in self.config.sensory_beats
            prob, sensory = self._decode(seen, readouts, update, pieces)
            objects = self._known._replace(sensory=sensory)
        else:
            turn.read()
        if given:
            prob, objects, arrived = self._override(prob, given, objects, seen)
        assert prob is not None and objects is not None  # there are objects, known ones or given ones
        objects = objects._replace(last_masks=F.avg_pool2d(prob[:, 1:], 16))
        if is_memory:
            values, objects = self._encode_masks(seen, prob, objects, pieces)
        finished = finish(prob, arrived)
        if is_memory:
            self.memory.append(seen.key, seen.shrinkage, seen.selection, values)  # all, or nothing
            self._last_memory = turn.index
        self.arrived, self._objects = arrived, objects
        if uses is not None:
            self.memory.count(uses)
        return finished

    def remember(self, seen: Seen, given: Given, pieces: Pieces) -> None:
        """In permanent memory, and in the objects' summaries; sensory memory and last masks, which are of the frame
        before, stay zero. Known objects for which the mask does not speak are predicted from the key frames before."""
        known: Tensor | None = None
        uses = None
        if any(i not in given.ids for i in self.arrived):
            readouts, uses = self.memory.read(seen.key, seen.selection, pieces)
            known, _ = self._decode(seen, readouts, False, pieces)
        prob, objects, arrived = self._override(known, given, self._objects, seen)
        values, remembered = self._encode_masks(seen, prob, objects, pieces)
        self.memory.append(seen.key, seen.shrinkage, seen.selection, values, permanent=True)
        self.arrived, self._objects = arrived, objects._replace(summaries=remembered.summaries)
        if uses is not None:
            self.memory.count(uses)

    def settle(self) -> None:
        self.memory.consolidate()

    def use(self) -> MemoryUse:
        held = self.memory.use()
        return replace(held, bytes=held.bytes + sum(x.numel() * x.element_size() for x in self._objects or ()))

    def outlook(self, frames: int, per_frame: int) -> Outlook:
        if self.config.long_term:
            return consolidated(self.config, self.interval, frames, per_frame)
        held = kept_frames(frames, self.config.mem_every, self.config.max_queue_frames, per_frame)
        return held._replace(has_room=True)

    def halved(self, distances: int | None) -> int | None:
        return self.memory.halved(distances, self.model.device)

    def save(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        tensors, values = self.memory.save()
        tensors |= self._objects._asdict() if self._objects else {}
        return tensors, {"memory": values, "arrived": self.arrived, "last_memory": self._last_memory}

    def load(self, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
        self.memory.load(tensors, values["memory"])
        self.arrived = [int(i) for i in values["arrived"]]
        self._last_memory = values["last_memory"]
        if self.arrived:
            self._objects = Objects(*(tensors[name] for name in Objects._fields))

    @property
    def _known(self) -> Objects:
        """What is held of the objects, once there are some."""
        assert self._objects is not None
        return self._objects

    def _decode(
        self, seen: Seen, readouts: list[Tensor], update_sensory: bool, pieces: Pieces
    ) -> tuple[Tensor, Tensor]:
        """Predict all known objects: probabilities [1, O + 1, H', W'], and the sensory memory that follows."""
        shared = self.model.pixel_fuser.fuser.image_part(seen.features.pix)
        buckets = zip(readouts, *(held.split(self.memory.objects, 1) for held in self._known), strict=True)
        transformed = [
            self.model.transform(shared, readout, sensory, last_masks, summaries)
            for readout, sensory, summaries, last_masks in buckets
        ]
        logits, sensory = self.model.decode(
            seen.features, torch.cat(transformed, 1), self._known.sensory, update_sensory, pieces
        )
        odds = aggregate(torch.sigmoid(logits.float()))  # at stride 4: what is upsampled are log-odds
        return F.interpolate(odds, scale_factor=4, mode="bilinear", align_corners=False).softmax(1), sensory

    def _override(
        self, prob: Tensor | None, given: Given, objects: Objects | None, seen: Seen
    ) -> tuple[Tensor, Objects, list[int]]:
        """`merge_given`: probabilities [1, O + 1, H', W'], what is held of the objects, and all ids."""
        merged, arrived = merge_given(prob, given, self.arrived)
        new = len(arrived) - len(self.arrived)
        if new:
            sizes, (height, width) = self.model.sizes, seen.key.shape[-2:]
            joined = Objects(
                self.model.initial_sensory(1, new, height, width),
                merged.new_zeros((1, new, sizes.queries, sizes.channels + 1)),
                merged.new_zeros((1, new, height, width)),
            )
            pairs = zip(objects or (None,) * 3, joined, strict=True)
            objects = Objects(*(own if held is None else torch.cat([held, own], 1) for held, own in pairs))
        assert objects is not None  # known ones, new ones, or both
        return soft_aggregate(merged), objects, arrived

    def _encode_masks(self, seen: Seen, prob: Tensor, objects: Objects, pieces: Pieces) -> tuple[Tensor, Objects]:
        """Of a memory frame: values [1, O, C, h, w], and what is held of the objects then."""
        values, sensory, summaries = self.model.encode_masks(
            seen.image, seen.features, prob[:, 1:], objects.sensory, pieces
        )
        return values, objects._replace(sensory=sensory, summaries=objects.summaries + summaries)


def released(**settings: Any) -> CutieConfig:
    """Settings by the released names. Raises InputError for others."""
    long_term = dict(settings.pop("long_term", None) or {})
    if not long_term.pop("count_usage", True):
        raise InputError("Cutie's long-term memory chooses by usage here: count_usage must be true.")
    own = renamed(settings, RELEASED_NAMES, "Cutie") | renamed(long_term, RELEASED_LONG_TERM, "Cutie")
    return CutieConfig(**own)


CUTIE = Family(
    name="cutie",
    title="Cutie",
    network=Cutie,
    config=CutieConfig,
    released=released,
    recognises=lambda state: "object_transformer.query_init.weight" in state,
    build=load_state,
    open=CutieState,
    untrained=lambda: Cutie(CutieSizes()),
    grid=Grid(pad_before_normalising=True, hard_masks=True),
    good_at="most videos where its file is at hand: objects are remembered as wholes, and look-alikes kept apart",
    settings=(
        Setting("mem_every", "Remember every r-th frame (r)", 1, 30),
        Setting("max_queue_frames", "Frames held without long-term memory", 1, 60),
        Setting("top_k", "Memories read per position (k)", 1, 100),
        Setting("stagger_updates", "Updates of the sensory memory from one memory frame to the next", 1, 30),
        Setting("long_term", "Long-term memory", note="old frames are condensed as in XMem, not forgotten"),
        Setting("min_working_frames", "Frames kept when working memory is full (T_min)", 1, 30),
        Setting("max_working_frames", "Frames that fill working memory (T_max)", 2, 60),
        Setting("prototypes", "Prototypes per consolidation (P)", 16, 512, 16),
        Setting("max_long_term", "Size of long-term memory (LT_max)", 512, 20_000, 32),
        Setting("long_term_buffer", "Room left when long-term memory is cut", 0, 10_000, 32),
    ),
)
