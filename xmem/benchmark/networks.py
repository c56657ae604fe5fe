"""The network of a case: released weights where they are at hand, else random ones of the same sizes."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from xmem import checkpoints
from xmem.checkpoints import Checkpoint
from xmem.checkpoints.load import ready
from xmem.device import choose_precision, select_device
from xmem.errors import InputError
from xmem.families import FAMILIES
from xmem.networks import Network
from xmem.networks.xmem import ModelSizes, XMem, xmem_sizes

RESIDUAL_SCALE = 0.25  # of the last batch norm in a residual branch: random features then stay within half precision


def load(name: str, device: str, precision: str) -> tuple[Network, str]:
    """The network, and what its weights are: "embedded", "released", "own file" or "random". Nothing is fetched."""
    record = checkpoints.REGISTRY.get(name)
    if record and checkpoints.find(name) is None:
        place = select_device(device)
        return ready(random_network(record), place, choose_precision(precision, place)), "random"
    weights = "own file" if record is None else "released" if record.url else "embedded"
    return checkpoints.load_model(name if record else Path(name).expanduser(), device, precision), weights


def sizes_of(name: str) -> ModelSizes:
    """The sizes of a checkpoint, fetched or not; of another family XMem's, which are near. Raises InputError for a file
    that is none."""
    record = checkpoints.REGISTRY.get(name)
    path = checkpoints.find(name) if record else Path(name).expanduser()
    if path is not None and checkpoints.family_in(path).network is XMem:
        return ModelSizes.of(checkpoints.read_state(path))
    return xmem_sizes(0 if "no-sensory" in name else 64)


def random_network(record: Checkpoint) -> Network:
    """Of a checkpoint's sizes, with weights that compute finite numbers of no meaning: speed and memory do not depend
    on them. Raises InputError where the family makes none."""
    torch.manual_seed(0)
    family = FAMILIES[record.family]
    if family.untrained is None:
        raise InputError(f"{record.name} is not at hand: fetch it before it is measured.")
    model = XMem(sizes_of(record.name)) if family.network is XMem else family.untrained()
    for name, module in model.named_modules():
        if isinstance(module, nn.BatchNorm2d) and name.endswith(("bn2", "bn3")):
            nn.init.constant_(module.weight, RESIDUAL_SCALE)
    return model.eval().requires_grad_(False)
