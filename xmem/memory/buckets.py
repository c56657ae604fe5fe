"""Cutie's pixel memory: objects that arrived on the same frame form a bucket, which has keys and limits of its own.

What is in a bucket is what `Memory` holds; only its limits differ. The bucket's first frame is permanent; of the
others, the latest stay (a queue), or older ones become prototypes in long-term memory, as in XMem.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from xmem.memory.memory import Memory, MemoryUse
from xmem.pieces import WHOLE, Pieces


@dataclass(frozen=True)
class BucketConfig:
    """Limits of each bucket; frames are memory frames besides permanent ones.

    top_k: elements that each query position reads.
    max_working_frames: those that the queue holds, or at which a consolidation happens.
    min_working_frames: the latest, which stay at a consolidation.
    long_term: whether old frames are consolidated, not forgotten; prototypes: elements that a consolidation adds.
    max_long_term: elements of long-term memory that may not be passed; where they would be, it is cut to leave room for
        prototypes and `buffer` elements more.
    """

    top_k: int
    max_working_frames: int
    min_working_frames: int
    long_term: bool
    prototypes: int
    max_long_term: int
    buffer: int


class Bucket(Memory):
    """The memory of objects that arrived on the same frame, which is given as permanent."""

    config: BucketConfig

    def __init__(self, config: BucketConfig, objects: int, distances: dict[int, Tensor]):
        """distances: buffers that all buckets, which are read in turn, have in common."""
        super().__init__(config)
        self.objects = objects
        self._distances = distances

    def consolidate(self) -> None:
        """Frames beyond the limit -> prototypes in long-term memory; or, without it, forgotten."""
        if self.config.long_term:
            super().consolidate()
            return
        beyond = self.working_size - self.config.max_working_frames * self._frame_elements
        if beyond > 0:
            self._held.forget(0, beyond)

    def _capacity(self, frame_elements: int) -> int:
        frames = self.config.max_working_frames + (not self.config.long_term)
        return frames * frame_elements + (self.config.max_long_term if self.config.long_term else 0)

    def _candidates(self) -> tuple[int, int]:
        config, frame = self.config, self._frame_elements
        if self.working_size < config.max_working_frames * frame:
            return 0, 0
        return 0, self.working_size - config.min_working_frames * frame

    def _long_term_kept(self, count: int) -> int:
        room = self.config.max_long_term - self.config.prototypes
        held = self.long_term_size
        return held if held < room else room - self.config.buffer


class BucketMemory:
    """The pixel memory of one video: buckets in order of arrival, whose objects' channels follow each other.

    Reading changes nothing: what was read is told with `count`. A method that runs out of memory has changed nothing.
    """

    def __init__(self, config: BucketConfig):
        self.config = config
        self.buckets: list[Bucket] = []
        self._distances: dict[int, Tensor] = {}

    @property
    def objects(self) -> list[int]:
        """Objects in each bucket."""
        return [bucket.objects for bucket in self.buckets]

    @property
    def working_elements(self) -> list[int]:
        """Of each bucket, elements beside long-term memory; as the released code counts, permanent ones among them."""
        return [bucket.permanent_size + bucket.working_size for bucket in self.buckets]

    @property
    def permanent_elements(self) -> list[int]:
        """Of each bucket, elements that stay for good."""
        return [bucket.permanent_size for bucket in self.buckets]

    @property
    def long_term_elements(self) -> list[int]:
        """Of each bucket, elements in long-term memory."""
        return [bucket.long_term_size for bucket in self.buckets]

    def use(self) -> MemoryUse:
        """How much is held now, in all buckets together."""
        uses = [bucket.use() for bucket in self.buckets]
        counts = ("permanent", "working", "long_term", "bytes")
        return MemoryUse(*(sum(getattr(use, name) for use in uses) for name in counts))

    def halved(self, distances: int | None, device: torch.device) -> int | None:
        """Half of the distances that reads hold at once (None: what suits the device); None where those are few."""
        halves = [bucket.halved(distances, device) for bucket in self.buckets]
        return max((half for half in halves if half is not None), default=None)

    def read(self, key: Tensor, selection: Tensor, pieces: Pieces = WHOLE) -> tuple[list[Tensor], list[Tensor | None]]:
        """key, selection [1, C_k, h, w] of the query frame -> each bucket's readout [1, O_b, C_v, h, w], and each
        bucket's use of its elements, for `count`."""
        reads = [bucket.read(key, selection, pieces) for bucket in self.buckets]
        return [readout for readout, _ in reads], [use for _, use in reads]

    def count(self, uses: list[Tensor | None]) -> None:
        """Tell what a read told; buckets that have come since then were not read."""
        for bucket, use in zip(self.buckets, uses, strict=False):
            bucket.count(use)

    def append(
        self, key: Tensor, shrinkage: Tensor, selection: Tensor, values: Tensor, permanent: bool = False
    ) -> None:
        """Remember a frame, in all buckets or, where memory is full, in none: key, selection [1, C_k, h, w], shrinkage
        [1, 1, h, w], values [1, O, C_v, h, w]. Objects beyond those known form a new bucket.

        permanent: keep the frame for good in every bucket; only before any has a frame that may go.
        """
        new = values.shape[1] - sum(self.objects)
        joined = [Bucket(self.config, new, self._distances)] if new else []
        buckets = self.buckets + joined
        parts = zip(buckets, values.split([bucket.objects for bucket in buckets], 1), strict=True)
        ready = [
            bucket.prepare_append(key, shrinkage, selection, part, permanent or bucket in joined)
            for bucket, part in parts
        ]
        for append in ready:
            append()
        self.buckets = buckets

    def consolidate(self) -> None:
        """Keep every bucket's limits."""
        for bucket in self.buckets:
            bucket.consolidate()

    def save(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """All that is held, as named tensors and as plain values."""
        saved = [bucket.save() for bucket in self.buckets]
        tensors = {f"bucket{i}.{name}": tensor for i, (own, _) in enumerate(saved) for name, tensor in own.items()}
        return tensors, {"objects": self.objects, "buckets": [values for _, values in saved]}

    def load(self, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
        """The reverse of `save`, in a new memory."""
        for i, (objects, held) in enumerate(zip(values["objects"], values["buckets"], strict=True)):
            start = f"bucket{i}."
            own = {name.removeprefix(start): tensor for name, tensor in tensors.items() if name.startswith(start)}
            self.buckets.append(Bucket(self.config, objects, self._distances))
            self.buckets[-1].load(own, held)
