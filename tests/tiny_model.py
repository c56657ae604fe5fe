"""The smallest network that the engine loads, with random weights: for tests of everything around it."""

from pathlib import Path

import torch
from safetensors.torch import save_file

from xmem.networks.xmem import ModelSizes, XMem

TINY_SIZES = ModelSizes("lite", 16, 16, 8, (16, 16, 16), 16, 1)


def tiny_state(seed: int = 0) -> dict[str, torch.Tensor]:
    torch.manual_seed(seed)
    return {name: value.clone() for name, value in XMem(TINY_SIZES).state_dict().items()}


def write_tiny_model(path: Path) -> Path:
    save_file(tiny_state(), path)
    return path
