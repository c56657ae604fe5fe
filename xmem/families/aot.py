"""AOT: ten objects at the price of one, each known by an identity (Yang, Wei and Yang, NeurIPS 2021), as R50-AOTL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
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
from xmem.memory import MemoryUse
from xmem.memory.attention import SMALLEST_CHUNK_ELEMENTS
from xmem.memory.layers import LayeredMemory, LayerRows
from xmem.networks.aot import AOT, IDENTITIES, STRIDE, Features, LayerMemory, LayerTrace, load_state
from xmem.pieces import Pieces

LONGEST = 1040  # pixels of the longer side, above which the released evaluation makes frames smaller
LEAST = 1e-5  # probability that a channel keeps where those of several memories are merged


@dataclass(frozen=True)
class AOTConfig:
    """When frames are remembered, and how many; defaults are the released ones.

    mem_every: frames between those that join long-term memory.
    short_term_delay: the short-term memory of a frame is the one so many before it, or the last with a given mask if
        that is later.
    max_memory_frames: frames that long-term memory keeps, None = all, as released: for every ten objects it then grows
        by HW elements of 1,536 numbers each mem_every frames (at 480x854 in float32 10.3 MB, or 2 MB a frame), and
        every position of a frame reads all of it: at that size a frame takes twice as long with ten frames in memory as
        with one, and five times with forty. Of more, those in the middle are dropped: the first one, those with a given
        mask and the latest stay.

    Raises InputError for a combination that cannot work.
    """

    mem_every: int = 5
    short_term_delay: int = 1
    max_memory_frames: int | None = None

    def __post_init__(self) -> None:
        for name in ("mem_every", "short_term_delay"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, not {getattr(self, name)}.")
        if self.max_memory_frames is not None and self.max_memory_frames < 2:
            raise InputError(
                f"max_memory_frames must be at least 2, the first frame and the latest, not {self.max_memory_frames}."
            )


class AOTState(VideoState):
    """The memories of one video, one for every ten objects, and when they are written to.

    What is remembered are labels, the most probable object of each pixel. They are of the inference size, to which
    logits are enlarged in one step: the frame's own where no size is asked for, however small the network sees it.
    A frame that may not be remembered is kept out of long-term memory; the next ones read it as short-term memory.
    As released, a frame with a given mask attends to itself alone, and is the short-term memory that follows. Beyond
    what is released, a mask may be given for objects that are known. There, the number of objects became the largest
    label that was left on a frame with a mask, so that objects out of sight were lost for good; here they are not.
    """

    model: AOT
    config: AOTConfig

    def __init__(self, model: AOT, config: AOTConfig):
        super().__init__(model, config)
        self.memories: list[LayeredMemory] = []  # of objects 1 to 10, 11 to 20, ... in order of arrival
        self._last_memory: int | None = None  # the last frame that joined long-term memory

    @property
    def long_term_elements(self) -> list[int]:
        """Elements of long-term memory, of every ten objects."""
        return [len(memory) for memory in self.memories]

    def encode(self, image: Tensor, ahead: bool = False) -> Features:
        return self.model.encode(image)

    def step(self, seen: Features, given: Given | None, turn: Turn, pieces: Pieces, finish: Finish) -> Tensor:
        since = self.config.mem_every if self._last_memory is None else turn.index - self._last_memory
        is_long = given is not None or (turn.remember and since >= self.config.mem_every)
        prob, traces, arrived = self._answer(seen, given, pieces)
        turn.read()
        frames = None if turn.last else self._rows(seen, prob, traces, pieces)
        finished = finish(prob[None], arrived)
        if frames is not None:
            self._commit(frames, given is not None, is_long)
            self._last_memory = turn.index if is_long else self._last_memory
        self.arrived = arrived
        return finished

    def remember(self, seen: Features, given: Given, pieces: Pieces) -> None:
        """In long-term memory, outside all limits. Known objects for which the mask does not speak are predicted from
        the key frames remembered before."""
        prob, traces, arrived = self._answer(seen, given, pieces)
        self._commit(self._rows(seen, prob, traces, pieces), given=True, long_term=True, permanent=True)
        self.arrived = arrived

    def use(self) -> MemoryUse:
        """As working memory: frames that are, or may yet be, read as short-term memory."""
        permanent = sum(memory.permanent_size for memory in self.memories)
        short_term = sum(memory.short_term_size for memory in self.memories)
        size = sum(memory.bytes for memory in self.memories)
        return MemoryUse(permanent, short_term, sum(self.long_term_elements) - permanent, size)

    def outlook(self, frames: int, per_frame: int) -> Outlook:
        return kept_frames(frames, self.config.mem_every, self.config.max_memory_frames, per_frame)

    def fill(self, elements: int) -> None:
        for memory in self.memories:
            memory.fill(elements // len(self.memories))

    def smaller(self, pieces: Pieces, objects: int) -> Pieces | None:
        """Fewer affinities at a time, which only some devices hold; objects are never taken apart."""
        positions = self.memories[0].short_term_size if self.memories else 0
        now = pieces.distances or positions * max(self.long_term_elements, default=0)
        return replace(pieces, distances=now // 2) if now > SMALLEST_CHUNK_ELEMENTS else None

    def save(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        tensors: dict[str, Tensor] = {}
        memories = []
        for i, memory in enumerate(self.memories):
            own, values = memory.save()
            tensors |= {f"{i}.{name}": tensor for name, tensor in own.items()}
            memories.append(values)
        return tensors, {"memories": memories, "arrived": self.arrived, "last_memory": self._last_memory}

    def load(self, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
        for i, own in enumerate(values["memories"]):
            prefix = f"{i}."
            named = {name.removeprefix(prefix): x for name, x in tensors.items() if name.startswith(prefix)}
            self.memories.append(self._new_memory())
            self.memories[-1].load(named, own)
        self.arrived = [int(i) for i in values["arrived"]]
        self._last_memory = values["last_memory"]

    def _answer(
        self, seen: Features, given: Given | None, pieces: Pieces
    ) -> tuple[Tensor, list[list[LayerTrace]] | None, list[int]]:
        """Probabilities [O + 1, H, W] at the inference size: predicted, given, or both; what the layers left of the
        prediction, for each memory, or None where a mask is given; and the objects that there are then."""
        if given is None:
            prob, traces = self._predicted(seen, pieces)
            return prob, traces, self.arrived
        arrived = self.arrived + [i for i in given.ids if i not in self.arrived]
        is_read = any(i not in given.ids for i in self.arrived)
        known = self._predicted(seen, pieces)[0] if is_read else None
        index = torch.from_numpy(np.ascontiguousarray(given.index, dtype=np.int32)).to(self.model.device)
        return overridden(known, nearest(index, self.size), given.ids, arrived), None, arrived

    def _predicted(self, seen: Features, pieces: Pieces) -> tuple[Tensor, list[list[LayerTrace]]]:
        probs, traces = [], []
        for i, memory in enumerate(self.memories):
            objects = min(len(self.arrived) - i * IDENTITIES, IDENTITIES)
            logits, trace = self.model.propagate(seen, [LayerMemory(*rows) for rows in memory.read()], pieces)
            logits = logits[:, : 1 + objects].float()  # identities without an object take no part in the softmax
            logits = F.interpolate(logits, size=self.size, mode="bilinear", align_corners=True)
            probs.append(torch.softmax(logits[0], 0))
            traces.append(trace)
        return merged(probs), traces

    def _rows(
        self, seen: Features, prob: Tensor, traces: list[list[LayerTrace]] | None, pieces: Pieces
    ) -> list[LayerRows]:
        """What is remembered of a frame, for each memory; without traces, the frame attends to itself."""
        labels = nearest(most_probable(prob), [(n - 1) * STRIDE + 1 for n in seen.grid])
        frames: list[LayerRows] = []
        for i, first in enumerate(range(0, len(prob) - 1, IDENTITIES)):
            inside = (labels > first) & (labels <= first + IDENTITIES)
            identity = self.model.identity(torch.where(inside, labels - first, 0))
            own = self.model.refer(seen, identity, pieces) if traces is None else traces[i]
            frames.append(self.model.remembered(own, identity))
        return frames

    def _commit(self, frames: list[LayerRows], given: bool, long_term: bool, permanent: bool = False) -> None:
        """Remember a frame in every memory: all, or nothing where there is no room."""
        memories = [*self.memories, *(self._new_memory() for _ in frames[len(self.memories) :])]
        if long_term:
            for memory, layers in zip(memories, frames, strict=True):
                memory.reserve(layers)
        for memory, layers in zip(memories, frames, strict=True):
            memory.append(layers, given, long_term, permanent)
        self.memories = memories

    def _new_memory(self) -> LayeredMemory:
        return LayeredMemory(self.config.short_term_delay, self.config.max_memory_frames)


def merged(probs: Sequence[Tensor]) -> Tensor:
    """Of background and ten objects each (the last: as many as there are), [1 + O_i, H, W], those of background and all
    objects, [1 + O, H, W]: odds over their sum, in which identities without an object have the least share, too."""
    if len(probs) == 1:
        return probs[0]
    background = torch.stack([prob[0] for prob in probs]).prod(0, keepdim=True)
    prob = torch.cat([background, *(prob[1:] for prob in probs)]).clamp_(LEAST, 1 - LEAST)
    odds = prob / (1 - prob)
    unused = len(probs) * IDENTITIES - (len(prob) - 1)
    return odds / (odds.sum(0) + unused * LEAST / (1 - LEAST))


def nearest(labels: Tensor, size: Sequence[int]) -> Tensor:
    """Labels int32 [H, W] -> [*size], by nearest neighbour."""
    return F.interpolate(labels[None, None].float(), size=tuple(size), mode="nearest")[0, 0].int()


def overridden(prob: Tensor | None, index: Tensor, ids: Sequence[int], arrived: Sequence[int]) -> Tensor:
    """Pixels of a given mask are of their object for certain; on others, those of which the mask does not speak share
    what there is.

    prob [O + 1, H, W] of the objects there were, None for none; index: index mask [H, W], which speaks for `ids`
    -> [O' + 1, H, W] of `arrived`.
    """
    out = torch.zeros((1 + len(arrived), *index.shape), device=index.device)
    held = 1 if prob is None else len(prob)
    out[:held] = 1 if prob is None else prob
    channels = {1 + arrived.index(i): index == i for i in ids}
    known = [channel for channel in channels if channel < held]
    if known:
        out[known] = 0
        rest = out.sum(0)
        out[0] += rest == 0
        out /= rest + (rest == 0)
    out.masked_fill_(torch.stack([*channels.values()]).any(0), 0)
    for channel, own in channels.items():
        out[channel].masked_fill_(own, 1)
    return out


def most_probable(prob: Tensor) -> Tensor:
    """The channel of the highest probability, of equal ones the first: [O + 1, H, W] -> int32 [H, W]."""
    best, labels = prob[0], torch.zeros(prob.shape[1:], dtype=torch.int32, device=prob.device)
    for channel in range(1, len(prob)):  # a running maximum: argmax over the first axis is ten times slower
        labels = torch.where(prob[channel] > best, channel, labels)
        best = torch.maximum(best, prob[channel])
    return labels


def released(max_obj_num: int = IDENTITIES, align_corners: bool = True, **settings: Any) -> AOTConfig:
    """Settings by the released names; max_obj_num and align_corners are those of the weights. Raises InputError for
    others."""
    if max_obj_num != IDENTITIES or not align_corners:
        raise InputError(
            f"R50-AOTL was trained with max_obj_num {IDENTITIES} and align_corners on: leave them so; more objects are "
            "followed all the same."
        )
    names = {"long_term_mem_gap": "mem_every", "short_term_mem_skip": "short_term_delay"}
    return AOTConfig(**renamed(settings, names, "AOT"))


AOT_FAMILY = Family(
    name="aot",
    title="AOT",
    network=AOT,
    config=AOTConfig,
    released=released,
    recognises=lambda state: "LSTT.layers.0.linear_Q.weight" in state,
    build=load_state,
    open=AOTState,
    untrained=AOT,
    grid=Grid(plus_one=True, longest=LONGEST),
    good_at="many objects in a short clip: ten cost no more than one",
    settings=(
        Setting("mem_every", "Frames between those that join long-term memory", 1, 30),
        KEPT_FRAMES,
        Setting("short_term_delay", "Short-term memory is the frame so many before", 1, 20),
    ),
    limit="a limit of the frames kept in memory ends that",
)
