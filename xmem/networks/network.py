"""What the networks of all families have in common."""

from __future__ import annotations

import torch
from torch import nn


class Network(nn.Module):
    """Weights only, without state between frames: videos share it, and nobody changes it once it is loaded.

    shapes_at_once: of inputs that come by turns, for which weights lie ready on a CPU.
    """

    shapes_at_once = 1

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """The precision of weights and features."""
        return next(self.parameters()).dtype

    @property
    def variant(self) -> str:
        """Which of its family's networks it is, where there are several: their checkpoints do not fit each other."""
        return ""

    @property
    def is_small(self) -> bool:
        """Whether its layers are too small for several cores to share: see `xmem.engine.halves`."""
        return False


def padding_to_stride(height: int, width: int, stride: int = 16) -> tuple[int, int, int, int]:
    """Zero padding in pixels (left, right, top, bottom) to multiples of `stride`; the odd one goes right or below."""
    down, right = -height % stride, -width % stride
    return right // 2, right - right // 2, down // 2, down - down // 2
