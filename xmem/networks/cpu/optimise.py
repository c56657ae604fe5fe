"""The layers of a network that is loaded for a CPU."""

from __future__ import annotations

import torch
from torch import nn

from xmem.networks.cpu.lite import use_lite
from xmem.networks.cpu.packed import use_packed
from xmem.networks.cpu.residual import use_residual
from xmem.networks.cpu.winograd_layer import use_winograd


def optimise_for_cpu(model: nn.Module, is_small: bool, winograd: bool = True) -> nn.Module:
    """Let `model`, which is on a CPU with its batch norms folded and in its precision, compute the same faster.

    Its weights must not change any more. Convolutions are packed, and residual blocks take what follows into their
    pass. is_small: a network of layers as small as xmem-lite's. winograd: let a larger one in float32 compute large 3x3
    convolutions with fewer products, which rounds otherwise (outputs within 1e-5).
    """
    if winograd and not is_small and next(model.parameters()).dtype == torch.float32:
        use_winograd(model)
    use_packed(model)
    use_lite(model)
    use_residual(model)
    return model
