"""A small Cutie of weights drawn by name, for tests of everything around the network."""

import torch
from reference_weights import draw

from xmem.networks.cutie import Cutie, CutieSizes

TINY_SIZES = CutieSizes("resnet18", 32, 16, 4, 2, 32, (32, 16, 16))


def tiny_state(salt: int = 0) -> dict[str, torch.Tensor]:
    with torch.device("meta"):
        shapes = {name: tuple(value.shape) for name, value in Cutie(TINY_SIZES).state_dict().items()}
    return {name: torch.from_numpy(draw(name, shape, salt)) for name, shape in shapes.items()}
