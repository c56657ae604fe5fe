"""A network that costs nothing, as it knows its probabilities beforehand: so all the rest of a run can be measured."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xmem.benchmark.clips import stand_in
from xmem.checkpoints import load_model
from xmem.engine import propagator, segment
from xmem.engine.masks import index_of
from xmem.engine.preparing import Preparing
from xmem.engine.propagator import Propagator
from xmem.engine.transfers import at_hand
from xmem.errors import InputError
from xmem.families import FAMILIES, Family, Given, Turn, VideoState
from xmem.families.base import Finish
from xmem.memory import MemoryUse
from xmem.networks import Network, padding_to_stride
from xmem.pieces import Pieces
from xmem.session import passes
from xmem.session.probabilities import sixteen_bits
from xmem.video import FrameReader

NAME = "free"
KNOWN = 8  # frames after which its probabilities repeat


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
def free_network(known: Tensor) -> Generator[FreeNetwork, None, None]:
    """A network whose family is known within the context. known: as `FreeNetwork` has them, on the device to run on."""
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
        yield FreeNetwork(known).eval()
    finally:
        del FAMILIES[NAME]


def _not_built(_: Mapping[str, Any]) -> Network:
    raise InputError("A network that costs nothing has no weights.")


def recorded(clip: Path, objects: int) -> Tensor:
    """What xmem-lite gives on the first KNOWN frames of a clip from stand-in objects: as a `FreeNetwork` knows it.

    So files of probabilities have to hold what those of a real network do.
    """
    engine, known = Propagator(load_model("xmem-lite", "cpu", "float32")), []
    with FrameReader(clip) as reader:
        height, width = reader.info.height, reader.info.width
        mask = stand_in(width, height, objects)
        for number, frame in enumerate(islice(reader, KNOWN)):
            known.append(engine.step(frame.image, mask if number == 0 else None))
    padded = F.pad(torch.stack(known), padding_to_stride(height, width))
    return padded[torch.arange(KNOWN) % len(known)]


@contextmanager
def host_alone(known: Tensor, frame_shape: tuple[int, int]) -> Generator[FreeNetwork, None, None]:
    """A network with which nothing is left to do but what the host of a device does, in runs within the context.

    All that a device computes of a frame of (H, W) is asked for as ever, but on 16x16 pixels, so that it costs its
    calls alone; what would be fetched lies there. A copy to the device costs nothing: it makes that itself.
    """
    with free_network(known[..., :16, :16].contiguous()) as network, ExitStack() as stack:
        grid, ids = FAMILIES[NAME].grid, list(range(1, known.shape[1]))
        whole = Preparing(network, grid, None, frame_shape).crop(known).contiguous()
        there = {
            torch.uint8: cycle([index_of(prob, ids).numpy() for prob in whole]),
            torch.int16: cycle([sixteen_bits(prob[1:]).numpy() for prob in whole]),
        }
        small, frame = Preparing(network, grid, None, (16, 16)), np.zeros((16, 16, 3), np.uint8)
        to_device = Preparing.image
        stack.enter_context(patch.object(Preparing, "image", lambda *_: to_device(small, frame)))
        for module in (passes, segment):
            stack.enter_context(patch.object(module, "index_of", lambda prob, objects, given: index_of(prob, objects)))
            stack.enter_context(patch.object(module, "fetch", lambda tensor: at_hand(next(there[tensor.dtype]))))
        for module in (passes, propagator):
            stack.enter_context(patch.object(module, "resize_to_frame", lambda prob, shape: prob))
        stack.enter_context(patch.object(passes, "room_near", lambda _: lambda shape: np.empty(shape, np.uint8)))
        yield network
