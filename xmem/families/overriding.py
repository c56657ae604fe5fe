"""How given masks override what was predicted, in every family whose memory takes probabilities."""

from __future__ import annotations

import torch
from torch import Tensor

from xmem.families.base import Given


def merge_given(prob: Tensor | None, given: Given, arrived: list[int]) -> tuple[Tensor, list[int]]:
    """Objects of which the mask speaks take it; others keep their probability, but not where a given mask claims the
    pixel; ids that are new join at the end.

    prob [1, O + 1, H', W'] of background and `arrived`, None where nothing needed to be predicted
    -> independent probabilities of all objects [1, O', H', W'], and their ids.
    """
    arrived = arrived + [i for i in given.ids if i not in arrived]
    claimed = given.masks.sum(1) > 0.5  # [1, H', W']

    def merged(channel: int, i: int) -> Tensor:
        if i in given.ids:
            return given.masks[:, given.ids.index(i)]
        assert prob is not None  # known, and not spoken for: it was predicted
        return prob[:, channel].masked_fill(claimed, 0)

    return torch.stack([merged(channel, i) for channel, i in enumerate(arrived, start=1)], 1), arrived
