"""XMem: sensory, working and long-term memory (Cheng and Schwing, ECCV 2022, section 3)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from xmem.config import LITE_INTERVAL, LITE_INTERVAL_FROM, RELEASED_INTERVAL, MemoryConfig, interval_of
from xmem.families.base import Family, Finish, Given, Outlook, Setting, Turn, VideoState, consolidated, renamed
from xmem.families.overriding import merge_given
from xmem.memory import Memory, MemoryUse
from xmem.networks.xmem import ImagePart, XMem, load_state, soft_aggregate, xmem_sizes
from xmem.pieces import Pieces

# The released names of settings, and those of the field.
RELEASED_NAMES = {
    "mem_every": "mem_every",
    "deep_update_every": "deep_update_every",
    "top_k": "top_k",
    "enable_long_term": "long_term",
    "min_mid_term_frames": "min_working_frames",
    "max_mid_term_frames": "max_working_frames",
    "num_prototypes": "prototypes",
    "max_long_term_elements": "max_long_term",
}
READ_OFF_THE_WEIGHTS = ("hidden_dim", "key_dim", "value_dim")
ALWAYS = {"enable_long_term_count_usage": True}


INTERVALS = f"{RELEASED_INTERVAL}; {LITE_INTERVAL} for xmem-lite from {LITE_INTERVAL_FROM} pixels on"


class Seen(NamedTuple):
    """A frame as the networks take it, what `encode_key` makes of it, and the decoder's part of it where it was made
    ahead."""

    image: Tensor
    key: Tensor
    shrinkage: Tensor
    selection: Tensor
    features: tuple[Tensor, Tensor, Tensor]
    image_part: ImagePart | None

    @property
    def grid(self) -> tuple[int, int]:
        """Height and width at stride 16."""
        return self.key.shape[-2], self.key.shape[-1]


class XMemState(VideoState):
    """The memories of one video, and when they are written to."""

    model: XMem
    config: MemoryConfig

    def __init__(self, model: XMem, config: MemoryConfig):
        super().__init__(model, config)
        self.memory = Memory(config)
        self._last_memory: int | None = None  # the last memory frame, and the last one with a deep update
        self._last_deep: int | None = None

    @property
    def interval(self) -> int:
        return self.config.mem_every or interval_of(self.model.variant, min(self.size))

    def encode(self, image: Tensor, ahead: bool = False) -> Seen:
        key, shrinkage, selection, features = self.model.encode_key(image)
        return Seen(
            image, key, shrinkage, selection, features, self.model.decoder.image_part(features) if ahead else None
        )

    def step(self, seen: Seen, given: Given | None, turn: Turn, pieces: Pieces, finish: Finish) -> Tensor:
        config, memory = self.config, self.memory
        due = turn.remember and _passed(self._last_memory, turn.index) >= self.interval
        is_memory = not turn.last and (given is not None or due)
        synchronised = config.deep_update_every < 0
        beat = synchronised or _passed(self._last_deep, turn.index) >= config.deep_update_every
        is_deep = config.sensory and is_memory and beat

        prob: Tensor | None = None
        sensory, use, arrived = memory.sensory, None, self.arrived
        is_read = any(given is None or i not in given.ids for i in arrived)
        if is_read:
            readout, use = memory.read(seen.key, seen.selection, pieces)
        turn.read()
        if is_read:
            update = config.sensory and not turn.last and not (synchronised and is_deep)  # that would replace it unread
            prob, sensory = self._decode(seen, readout, update, pieces)
        if given:
            prob, sensory, arrived = self._override(prob, given, sensory, seen.grid)
        assert prob is not None and sensory is not None  # there are objects, known ones or given ones
        if is_memory:
            objects = prob[:, 1:].to(seen.image.dtype)
            values, deep = self.model.encode_value(seen.image, seen.features[0], objects, sensory, is_deep, pieces)
        finished = finish(prob, arrived)
        if is_memory:
            memory.append(seen.key, seen.shrinkage, seen.selection, values)  # all, or nothing where memory is full

        self._last_memory = turn.index if is_memory else self._last_memory
        self._last_deep = turn.index if is_deep else self._last_deep
        self.arrived, memory.sensory = arrived, deep if is_deep else sensory
        memory.count(use)
        return finished

    def remember(self, seen: Seen, given: Given, pieces: Pieces) -> None:
        """In permanent memory (as in XMem++, Bekuzarov et al., ICCV 2023). Known objects for which the mask does not
        speak are predicted from the key frames remembered before."""
        known: Tensor | None = None
        before, use = self.memory.sensory, None
        if any(i not in given.ids for i in self.arrived):
            readout, use = self.memory.read(seen.key, seen.selection, pieces)
            known, before = self._decode(seen, readout, False, pieces)
        prob, sensory, arrived = self._override(known, given, before, seen.grid)
        objects = prob[:, 1:].to(seen.image.dtype)
        values, _ = self.model.encode_value(seen.image, seen.features[0], objects, sensory, False, pieces)
        self.memory.append(seen.key, seen.shrinkage, seen.selection, values, permanent=True)
        self.arrived, self.memory.sensory = arrived, sensory
        self.memory.count(use)

    def settle(self) -> None:
        self.memory.consolidate()

    def use(self) -> MemoryUse:
        return self.memory.use()

    def outlook(self, frames: int, per_frame: int) -> Outlook:
        return consolidated(self.config, self.interval, frames, per_frame)

    def fill(self, elements: int) -> None:
        sizes, device = self.model.sizes, self.model.device
        key = torch.rand((1, sizes.key_channels, 1, elements), device=device)
        shape = (1, len(self.arrived), sizes.value_channels, 1, elements)
        values = torch.zeros(shape, device=device, dtype=self.model.dtype)
        self.memory.append(key, torch.ones_like(key[:, :1]), torch.rand_like(key), values, permanent=True)

    def halved(self, distances: int | None) -> int | None:
        return self.memory.halved(distances, self.model.device)

    def save(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        tensors, values = self.memory.save()
        own = {"arrived": self.arrived, "last_memory": self._last_memory, "last_deep": self._last_deep}
        return tensors, {"memory": values, **own}

    def load(self, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
        self.memory.load(tensors, values["memory"])
        self.arrived = [int(i) for i in values["arrived"]]
        self._last_memory, self._last_deep = values["last_memory"], values["last_deep"]

    def _decode(self, seen: Seen, readout: Tensor, update_sensory: bool, pieces: Pieces) -> tuple[Tensor, Tensor]:
        """Predict all known objects: probabilities [1, O + 1, H', W'], and the sensory memory that follows."""
        assert self.memory.sensory is not None
        logits, sensory = self.model.decode(
            seen.features, readout, self.memory.sensory, update_sensory, seen.image_part, pieces
        )
        return soft_aggregate(torch.sigmoid(logits.float())), sensory

    def _override(
        self, prob: Tensor | None, given: Given, sensory: Tensor | None, grid: tuple[int, int]
    ) -> tuple[Tensor, Tensor, list[int]]:
        """Given masks override: others keep their probability, but not where a given mask claims the pixel.

        Returns the probabilities [1, O + 1, H', W'], the sensory memory and the ids with those that are new.
        """
        merged, arrived = merge_given(prob, given, self.arrived)
        new = arrived[len(self.arrived) :]
        if new:
            zeros = self.model.initial_sensory(1, len(new), *grid)
            sensory = zeros if sensory is None else torch.cat([sensory, zeros], 1)
        assert sensory is not None  # of known objects, of new ones, or both
        return soft_aggregate(merged), sensory, arrived


def released(**settings: Any) -> MemoryConfig:
    """Settings by the released names; sizes that are read off the weights are passed over. Raises InputError."""
    given = {
        name: value
        for name, value in settings.items()
        if name not in READ_OFF_THE_WEIGHTS and (name, value) not in ALWAYS.items()
    }
    return MemoryConfig(**renamed(given, RELEASED_NAMES, "XMem"))


def _passed(since: int | None, now: int) -> float:
    """Frames from one that may never have been."""
    return float("inf") if since is None else now - since


XMEM = Family(
    name="xmem",
    title="XMem",
    network=XMem,
    config=MemoryConfig,
    released=released,
    recognises=lambda state: "key_proj.d_proj.weight" in state and "key_proj.pix_feat_proj.weight" not in state,
    build=load_state,
    open=XMemState,
    untrained=lambda: XMem(xmem_sizes()),
    good_at="long videos and several objects: three memories, bounded by design",
    settings=(
        Setting(
            "mem_every",
            "Remember every r-th frame (r)",
            1,
            30,
            none="auto",
            note=INTERVALS,
            first=RELEASED_INTERVAL,
        ),
        Setting("min_working_frames", "Frames kept when working memory is full (T_min)", 1, 30),
        Setting("max_working_frames", "Frames that fill working memory (T_max)", 2, 60),
        Setting("prototypes", "Prototypes per consolidation (P)", 16, 512, 16),
        Setting("max_long_term", "Size of long-term memory (LT_max)", 512, 20_000, 32),
        Setting("top_k", "Memories read per position (k)", 1, 100),
        Setting("deep_update_every", "Frames between deep updates", -1, 20, note="-1: one with every remembered frame"),
        Setting("long_term", "Long-term memory", note="without it, memory grows with the video"),
        Setting("sensory", "Sensory memory", note="what moves from frame to frame"),
    ),
    limit="long-term memory ends that",
)
