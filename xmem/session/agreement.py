"""When a correction has been carried far enough: new masks have come to agree with those from before."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

# Chosen on ten corrections (docs/benchmark.md): more frames in a row, or a larger overlap, cost twice as much.
FRAMES = 3  # in a row
LEAST = 0.95  # overlap of every object's masks
_PIXELS = 16  # in which two masks may differ however small they are, at inference size


class Agreement:
    """Counts frames in a row on which two sets of masks agree. frames: how many there are already."""

    def __init__(self, frames: int = 0) -> None:
        self.frames = frames

    @property
    def is_reached(self) -> bool:
        return self.frames >= FRAMES

    def see(self, new: Tensor, before: np.ndarray) -> None:
        """new: probabilities [O + 1, h, w]; before: [O, h, w], background left out."""
        objects = torch.from_numpy(before).to(new.device)
        old = torch.cat([1 - objects.sum(0, keepdim=True), objects]).argmax(0)  # [h, w]
        now = new.argmax(0)
        agree = True
        for channel in range(1, len(new)):
            one, other = old == channel, now == channel
            union = int((one | other).sum())
            differing = int((one ^ other).sum())
            agree = agree and (differing <= _PIXELS or union - differing >= LEAST * union)
        self.frames = self.frames + 1 if agree else 0
