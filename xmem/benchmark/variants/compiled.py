"""torch.compile for the key, value and decoder networks; it compiles anew for each number of objects."""

from __future__ import annotations

import copy

import torch

from xmem.benchmark.variants.graphs import METHODS
from xmem.networks.xmem import XMem


def compiled(model: XMem, backend: str = "inductor") -> XMem:
    """A copy of a network whose three methods are compiled when they are first called."""
    model = copy.deepcopy(model)
    for name in METHODS:
        setattr(model, name, torch.compile(getattr(model, name), dynamic=False, backend=backend))
    return model
