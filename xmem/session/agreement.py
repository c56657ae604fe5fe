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
        old, now = _winners(1 - objects.sum(0), objects), _winners(new[0], new[1:])
        agree = all(_alike(old == channel, now == channel) for channel in range(1, len(new)))
        self.frames = self.frames + 1 if agree else 0


def _winners(background: Tensor, objects: Tensor) -> Tensor:
    """The channel of the highest probability: [h, w] and [O, h, w] -> uint8 [h, w]; argmax takes ten times as long."""
    best, found = background, torch.zeros(background.shape, dtype=torch.uint8, device=background.device)
    for channel, own in enumerate(objects, start=1):
        found = torch.where(own > best, channel, found)
        best = torch.maximum(best, own)
    return found


def _alike(one: Tensor, other: Tensor) -> bool:
    """Whether two masks, bool [h, w], agree."""
    differing = int(torch.count_nonzero(one ^ other))
    return differing <= _PIXELS or differing <= (1 - LEAST) * int(torch.count_nonzero(one | other))
