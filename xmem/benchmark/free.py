"""A network that costs nothing, as it knows its probabilities beforehand: so all the rest of a run can be measured."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xmem.benchmark.clips import stand_in
from xmem.errors import InputError
from xmem.families import FAMILIES, Family, Given, Turn, VideoState
from xmem.families.base import Finish
from xmem.memory import MemoryUse
from xmem.networks import Network
from xmem.networks.xmem import soft_aggregate
from xmem.pieces import Pieces

NAME = "free"
KNOWN = 8  # frames after which its probabilities repeat
_EDGE = 3.2  # logits, inside and outside
_NOISE = 1.5  # logits at stride 4, as a decoder's last layer gives them: what files of probabilities have to hold


class FreeNetwork(Network):
    """known: probabilities float32 [KNOWN, O + 1, H', W'], background first, on the grid."""

    def __init__(self, known: Tensor):
        super().__init__()
        self.known = nn.Parameter(known, requires_grad=False)


@dataclass(frozen=True)
class FreeConfig:
    """There is nothing to set."""


class FreeState(VideoState):
    """Gives what is known, and remembers which frame it is."""

    model: FreeNetwork

    def encode(self, image: Tensor, ahead: bool = False) -> None:
        return None

    def step(self, seen: None, given: Given | None, turn: Turn, pieces: Pieces, finish: Finish) -> Tensor:
        arrived = sorted({*self.arrived, *(given.ids if given else ())})
        prob = finish(self.model.known[turn.index % KNOWN][None], arrived)
        self.arrived = arrived
        return prob

    def remember(self, seen: None, given: Given, pieces: Pieces) -> None:
        raise InputError("A network that costs nothing remembers nothing: give one key frame.")

    def use(self) -> MemoryUse:
        return MemoryUse(0, 0, 0, 0)

    def save(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        return {}, {"arrived": self.arrived}

    def load(self, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
        self.arrived = [int(i) for i in values["arrived"]]


@contextmanager
def free_network(height: int, width: int, objects: int, device: torch.device) -> Generator[FreeNetwork, None, None]:
    """A network for frames of that size and objects 1 and up, whose family is known within the context."""
    with_family = Family(
        name=NAME,
        title="A network that costs nothing",
        network=FreeNetwork,
        config=FreeConfig,
        released=lambda: FreeConfig(),
        recognises=lambda _: False,
        build=_not_built,
        open=FreeState,
    )
    FAMILIES[NAME] = with_family
    try:
        yield FreeNetwork(_known(height, width, objects).to(device)).eval()
    finally:
        del FAMILIES[NAME]


def _not_built(_: Mapping[str, Any]) -> Network:
    raise InputError("A network that costs nothing has no weights.")


def _known(height: int, width: int, objects: int) -> Tensor:
    """Discs side by side that drift, as soft and as uneven as a decoder gives them, on the padded grid."""
    sides = [-(-side // 16) * 16 for side in (height, width)]
    discs = torch.from_numpy(stand_in(sides[1], sides[0], objects))
    masks = torch.stack([discs == i for i in range(1, objects + 1)])[None].float()
    masks = F.interpolate(masks, scale_factor=0.25, mode="area")
    noise = torch.Generator().manual_seed(0)
    known = []
    for shift in range(KNOWN):
        logits = _EDGE * (2 * masks.roll(shift, 3) - 1) * 2
        logits = logits + _NOISE * torch.randn(logits.shape, generator=noise)
        logits = F.interpolate(logits, scale_factor=4, mode="bilinear", align_corners=False)
        known.append(soft_aggregate(torch.sigmoid(logits))[0])
    return torch.stack(known)
