"""STM: every frame is read by the next, with keys of each object (Oh, Lee, Xu and Kim, ICCV 2019)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

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
from xmem.memory import MemoryUse
from xmem.memory.keyed import KeyedMemory
from xmem.networks import padding_to_stride
from xmem.networks.stm import KEY_CHANNELS, STM, VALUE_CHANNELS, ImagePart, load_state
from xmem.networks.xmem import soft_aggregate
from xmem.pieces import Pieces


@dataclass(frozen=True)
class STMConfig:
    """How much is remembered, and when; defaults are the released ones.

    mem_every: r, frames between memory frames that are kept; the frame before is always read.
    channels: K, channels of the softmax over the objects: background, and objects that there are or could be.
    max_memory_frames: memory frames that are kept, None = all, as released: memory then grows by HW elements of
        640 O numbers every r frames, all of which each query reads. Of more, those in the middle are dropped: the first
        one, those with a given mask and the latest stay.

    Raises InputError for a combination that cannot work.
    """

    mem_every: int = 5
    channels: int = 11
    max_memory_frames: int | None = None

    def __post_init__(self) -> None:
        if self.mem_every < 1:
            raise InputError(f"mem_every must be at least 1, not {self.mem_every}.")
        if self.channels < 2:
            raise InputError(f"channels must be at least 2, background and one object, not {self.channels}.")
        if self.max_memory_frames is not None and self.max_memory_frames < 2:
            raise InputError(
                f"max_memory_frames must be at least 2, the first frame and the latest, not {self.max_memory_frames}."
            )


class Seen(NamedTuple):
    """A frame as the networks take it, what the query encoder makes of it, and the decoder's part of it where it was
    made ahead."""

    image: Tensor
    key: Tensor
    features: tuple[Tensor, Tensor, Tensor]
    image_part: ImagePart | None


class STMState(VideoState):
    """The memory of one video, and when it is written to.

    As released, but: ids need not follow each other, the first mask may come on any frame, and later masks correct
    objects that are known. Objects cannot join later, as in the released code: memory holds keys of each object, and
    one that is new would have none on earlier frames.
    """

    model: STM
    config: STMConfig

    def __init__(self, model: STM, config: STMConfig):
        super().__init__(model, config)
        self.memory = KeyedMemory(config.max_memory_frames)
        self._last_memory: int | None = None  # the last memory frame that is kept

    def encode(self, image: Tensor, ahead: bool = False) -> Seen:
        key, features = self.model.encode_query(image)
        return Seen(image, key, features, self.model.image_part(features) if ahead else None)

    def step(self, seen: Seen, given: Given | None, turn: Turn, pieces: Pieces, finish: Finish) -> Tensor:
        passed = self.config.mem_every if self._last_memory is None else turn.index - self._last_memory
        is_kept = given is not None or (turn.remember and passed >= self.config.mem_every)
        is_memory = not turn.last and (is_kept or turn.remember)

        prob, arrived = self._answer(seen, given, turn.read, pieces)
        if is_memory:
            keys, values = self._encoded(seen, prob, pieces)
        finished = finish(prob, arrived)
        if is_memory:  # all, or nothing where memory is full
            self.memory.append(keys, values, temporary=not is_kept, given=given is not None)
            self._last_memory = turn.index if is_kept else self._last_memory
        self.arrived = arrived
        return finished

    def remember(self, seen: Seen, given: Given, pieces: Pieces) -> None:
        """In permanent memory. The first key frame's mask speaks for all objects; where a later one does not, they are
        predicted from the key frames remembered before."""
        prob, arrived = self._answer(seen, given, lambda: None, pieces)
        self.memory.append(*self._encoded(seen, prob, pieces), permanent=True)
        self.arrived = arrived

    def use(self) -> MemoryUse:
        return self.memory.use()

    def outlook(self, frames: int, per_frame: int) -> Outlook:
        return kept_frames(frames, self.config.mem_every, self.config.max_memory_frames, per_frame)

    def fill(self, elements: int) -> None:
        objects, model = len(self.arrived), self.model
        shapes = [(1, objects, channels, 1, elements) for channels in (KEY_CHANNELS, VALUE_CHANNELS)]
        keys, values = (torch.zeros(shape, device=model.device, dtype=model.dtype) for shape in shapes)
        self.memory.append(keys, values, permanent=True)

    def halved(self, distances: int | None) -> int | None:
        return self.memory.halved(distances, self.model.device)

    def save(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        tensors, values = self.memory.save()
        return tensors, {"memory": values, "arrived": self.arrived, "last_memory": self._last_memory}

    def load(self, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
        self.memory.load(tensors, values["memory"])
        self.arrived = [int(i) for i in values["arrived"]]
        self._last_memory = values["last_memory"]

    def _answer(
        self, seen: Seen, given: Given | None, read: Callable[[], object], pieces: Pieces
    ) -> tuple[Tensor, list[int]]:
        """Probabilities [1, O + 1, H', W'] of the frame, and the ids of their channels: predicted, given, or both."""
        if given:
            self._check(given.ids)
        is_read = any(given is None or i not in given.ids for i in self.arrived)
        readout = self.memory.read(seen.key, pieces) if is_read else None
        read()
        if given is not None and readout is None:  # what is given for all objects is taken as it is
            return torch.cat([1 - given.masks.sum(1, keepdim=True), given.masks], 1), self.arrived or given.ids
        assert readout is not None  # known objects, of which a mask does not speak
        image_part = seen.image_part or self.model.image_part(seen.features)
        logits = self.model.decode(image_part, readout, pieces)
        prob = self._aggregated(torch.sigmoid(logits.float()))
        if given:
            prob = self._aggregated(merge_given(prob, given, self.arrived)[0])
        return prob, self.arrived

    def _aggregated(self, prob: Tensor) -> Tensor:
        """Soft aggregation [1, O, H', W'] -> [1, O + 1, H', W'] over K channels, of which those without an object,
        whose odds are 1e-7 each, are left out."""
        unused = max(self.config.channels - 1 - prob.shape[1], 0)
        return soft_aggregate(F.pad(prob, (0, 0, 0, 0, 0, unused)))[:, : 1 + prob.shape[1]]

    def _encoded(self, seen: Seen, prob: Tensor, pieces: Pieces) -> tuple[Tensor, Tensor]:
        """Keys and values of the frame; what a network sees of its objects ends where the frame does."""
        height, width = self.size
        left, _, top, _ = padding_to_stride(height, width)
        masks = torch.zeros_like(prob[:, 1:])
        inside = (..., slice(top, top + height), slice(left, left + width))
        masks[inside] = prob[:, 1:][inside]
        return self.model.encode_memory(seen.image, masks.to(seen.image.dtype), pieces)

    def _check(self, ids: list[int]) -> None:
        late = [i for i in ids if i not in self.arrived] if self.arrived else []
        if late:
            raise InputError(
                f"STM cannot take object {late[0]} late: give all objects with the first mask, or choose another model."
            )
        most = self.config.channels - 1
        if len(ids) > most:
            raise InputError(
                f"STM takes {most} objects, not {len(ids)}: give fewer, or raise `channels`, or choose another model."
            )


def released(**settings: Any) -> STMConfig:
    """Settings by the released names. Raises InputError for others."""
    return STMConfig(**renamed(settings, {name: name for name in ("mem_every", "channels")}, "STM"))


STM_FAMILY = Family(
    name="stm",
    title="STM",
    network=STM,
    config=STMConfig,
    released=released,
    recognises=lambda state: "KV_M_r4.Key.weight" in state,
    build=load_state,
    open=STMState,
    untrained=STM,
    grid=Grid(pad_before_normalising=True, hard_masks=True),
    good_at="comparing: where the line began; objects must all be painted on the first frame",
    settings=(
        Setting("mem_every", "Remember every r-th frame (r)", 1, 30),
        KEPT_FRAMES,
        Setting("channels", "Channels of the softmax over objects (K)", 2, 65),
    ),
    limit="a limit of the frames kept in memory ends that",
)
