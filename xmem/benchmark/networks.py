"""The network of a case: released weights where they are at hand, else random ones of the same sizes."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from xmem import checkpoints
from xmem.errors import InputError
from xmem.networks.xmem import ModelSizes, XMem, xmem_sizes

RESIDUAL_SCALE = 0.25  # of the last batch norm in a residual branch: random features then stay within half precision


def load(name: str, device: str, precision: str) -> tuple[XMem, str]:
    """The network, and what its weights are: "embedded", "released", "own file" or "random". Nothing is fetched."""
    record = checkpoints.REGISTRY.get(name)
    source: str | Path | dict[str, Tensor] = name if record else Path(name).expanduser()
    weights = "own file" if record is None else "released" if record.url else "embedded"
    if record and checkpoints.find(name) is None:
        source, weights = random_state(sizes_of(name)), "random"
    model = checkpoints.load_model(source, device, precision)
    if not isinstance(model, XMem):
        raise InputError(f"The arithmetic of {name} is not known: only networks of XMem's family are measured.")
    return model, weights


def sizes_of(name: str) -> ModelSizes:
    """The sizes of a checkpoint, fetched or not. Raises InputError for a file that is none."""
    path = checkpoints.find(name) if name in checkpoints.REGISTRY else Path(name).expanduser()
    if path is not None:
        return ModelSizes.of(checkpoints.read_state(path))
    return xmem_sizes(0 if "no-sensory" in name else 64)


def random_state(sizes: ModelSizes) -> dict[str, Tensor]:
    """Weights that compute finite numbers of no meaning: speed and memory do not depend on them."""
    torch.manual_seed(0)
    model = XMem(sizes)
    for name, module in model.named_modules():
        if isinstance(module, nn.BatchNorm2d) and name.endswith(("bn2", "bn3")):
            nn.init.constant_(module.weight, RESIDUAL_SCALE)
    return model.state_dict()
