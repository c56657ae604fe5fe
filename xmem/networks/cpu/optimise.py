"""The layers of a network that is loaded for a CPU."""

from __future__ import annotations

import torch
from torch import nn

from xmem.networks.cpu.lite import use_lite
from xmem.networks.cpu.packed import use_packed
from xmem.networks.cpu.winograd_layer import use_winograd


def optimise_for_cpu(model: nn.Module, is_small: bool, winograd: bool = True) -> nn.Module:
    """Let `model`, which is on a CPU with its batch norms folded and in its precision, compute the same faster.

    Its weights must not change any more. is_small: a network of layers so small that re-ordering weights at each call
    counts (xmem-lite): they are packed. winograd: let a larger one in float32 compute large 3x3 convolutions with fewer
    products, which rounds otherwise (outputs within 1e-5).
    """
    if is_small:
        use_packed(model)
        use_lite(model)
    elif winograd and next(model.parameters()).dtype == torch.float32:
        use_winograd(model)
    return model
